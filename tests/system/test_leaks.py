"""Many lives: descriptors and memory return to where they were after a warm-up."""

import os
import time

from cleat_harness import haproxy_class, in_parallel, poll

LIVES = int(os.environ.get("CLEAT_TEST_LIVES", "600"))
WARM_UP = LIVES * 2 // 5
BATCHES = 3
AT_ONCE = 16


def resident_kb(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def descriptors(pid):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found


def live(api, n):
    """One life: mostly without an execution, every fifth with one, every seventh cut short, every other
    behind HAProxy."""
    s = api.create(user=f"u{n % 10}", **{"class": ("default", "balanced")[n % 2]})["session_id"]
    if n % 7:
        api.wait(s)
        if n % 10 < 2:
            assert api.execute(s, argv=["/bin/echo", str(n)])["stdout"].strip() == str(n)
    assert api.close(s)["state"] == "CLOSED"


def settled(cleatd):
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    poll(lambda: cleatd.api.status()["http"]["connections_open"] == 0, 30, "the end of all connections")
    poll(lambda: not cleatd.api.sessions(), 30, "the end of what is remembered of closed sessions")
    return len(descriptors(cleatd.process.pid)), resident_kb(cleatd.process.pid)


def test_many_lives(start):
    haproxy = start.haproxy()
    # without its quarantine AddressSanitizer gives memory back as malloc does
    cleatd = start.cleatd(log_level="warning", asan="quarantine_size_mb=1:thread_local_quarantine_size_kb=64", retention_s=1, classes={
        "default": {"check_interval_ms": 50},
        "balanced": haproxy_class(haproxy, check_interval_ms=50)})
    begin = time.monotonic()
    in_parallel(lambda n: live(cleatd.api, n), range(WARM_UP), AT_ONCE)
    fds, rss = settled(cleatd)
    # what malloc cannot give back at once goes up and down; a leak only goes up
    after = []
    for _ in range(BATCHES):
        in_parallel(lambda n: live(cleatd.api, n), range((LIVES - WARM_UP) // BATCHES), AT_ONCE)
        after.append(settled(cleatd))
    fds_after, rss_after = (min(values) for values in zip(*after))
    print(f"{LIVES} lives in {time.monotonic() - begin:.0f} s: descriptors {fds} → {fds_after}, "
          f"resident {rss} → {rss_after} KB")
    assert fds_after <= fds + 2, descriptors(cleatd.process.pid)
    assert rss_after <= rss * 1.05 + 4096
    assert haproxy.servers() == {}
    workspaces = cleatd.root / "state" / "workspaces"
    assert list(workspaces.iterdir()) == [], "nothing of a closed session is left on disk"
