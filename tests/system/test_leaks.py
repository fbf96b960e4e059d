"""Many lives: descriptors and memory return to where they were after a warm-up."""

import os
import secrets
import signal
import time

from cleat_harness import haproxy_class, in_parallel, poll
from event_reader import Reader
from executor_help import addresses, needs_root
from static_help import StaticHost

LIVES = int(os.environ.get("CLEAT_TEST_LIVES", "300"))
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


def set_pool(cleatd, size):
    cleatd.classes["pool"].update(warm_min=size, warm_max=size)
    cleatd.config_path.write_text(cleatd._config())
    cleatd.process.send_signal(signal.SIGHUP)


def live_among_many(cleatd, n):
    """A job, a parent that takes its child along, or a claim of a warm container, read by a stream that
    stays to the end."""
    api, context = cleatd.api, {"tenant": f"t{n % 5}", "user": f"u{n % 3}"}
    if n % 3 == 0:
        job = api.submit("/bin/echo", n, **context, **{"class": "batch"})["job_id"]
        assert api.ended(job)["state"] == "succeeded" and api.output(job) == b"%d\n" % n
        return
    parent = api.create(**context, **{"class": ("batch", "pool")[n % 3 - 1]})["session_id"]
    reader = Reader(cleatd.socket, f"/v1/sessions/{parent}/events")
    api.wait(parent)
    child = api.create(parent=parent, tenant=context["tenant"])["session_id"] if n % 3 == 1 else None
    assert api.close(parent)["state"] == "CLOSED"
    if child:
        poll(lambda: not [s for s in api.sessions() if s["session_id"] == child and s["closed_ms"] is None],
             30, "the end of the child")
    assert reader.result()[-1][2]["code"] == "end"
    assert api.raw("GET", "/metrics")[0] == 200


def test_many_lives_of_many_users(start):
    cleatd = start.cleatd(
        log_level="warning", asan="quarantine_size_mb=1:thread_local_quarantine_size_kb=64", retention_s=3,
        max_sessions=12, tenant_max_sessions=4, user_max_sessions=3,
        classes={"default": {}, "batch": {"max_parallel": 3}, "pool": {"warm_min": 0, "warm_max": 0}})
    measured = []
    for _ in range(3):
        set_pool(cleatd, 3)
        in_parallel(lambda n: live_among_many(cleatd, n), range(LIVES // 8), AT_ONCE)
        set_pool(cleatd, 0)
        measured.append(settled(cleatd))
    (fds, rss), after = measured[0], measured[1:]
    fds_after, rss_after = (min(values) for values in zip(*after))
    print(f"{LIVES // 8 * 3} lives of many users: descriptors {fds} → {fds_after}, resident {rss} → {rss_after} KB")
    assert fds_after <= fds + 2, descriptors(cleatd.process.pid)
    assert rss_after <= rss * 1.05 + 4096
    assert cleatd.api.status()["classes"]["pool"]["warm"]["hits"] > 0
    state = cleatd.root / "state"
    assert list((state / "workspaces").iterdir()) == []
    poll(lambda: not list((state / "jobs").iterdir()), 30, "the end of the logs of jobs")


@needs_root
def test_many_leases(start, root):
    """Hosts that are leased over and over have neither more descriptors nor more memory, and no files."""
    key, hosts = secrets.token_bytes(32), []
    for n in range(2):
        place = root / f"host{n}"
        place.mkdir(mode=0o755)
        hosts.append(start.add(StaticHost(next(addresses), str(place), key)).boot())
    cleatd = start.cleatd(log_level="warning", retention_s=1, classes={"default": {
        "runtime": "static", "static_key_file": hosts[0].key_file, "backoff_base_ms": 50,
        "static_hosts": [f"{h.address}:{h.port}" for h in hosts]}})

    def one(n):
        job = cleatd.api.submit("/bin/sh", "-c", f"echo {n} | tee data/file")["job_id"]
        assert cleatd.api.ended(job)["state"] == "succeeded" and cleatd.api.output(job) == b"%d\n" % n
        cleatd.api.wait(job, "closed")

    in_parallel(one, range(LIVES // 200), len(hosts))
    before = [(len(descriptors(h.process.pid)), resident_kb(h.process.pid)) for h in hosts]
    fds = len(descriptors(cleatd.process.pid))
    in_parallel(one, range(LIVES // 40), len(hosts))
    poll(lambda: len(descriptors(cleatd.process.pid)) <= fds + 2, 30, "as many descriptors as before")
    after = [(len(descriptors(h.process.pid)), resident_kb(h.process.pid)) for h in hosts]
    print(f"{LIVES // 40} leases: {before} → {after}")
    for host, (n, rss), (n_after, rss_after) in zip(hosts, before, after):
        assert n_after <= n + 2 and rss_after <= rss * 1.05 + 4096, descriptors(host.process.pid)
        assert set(os.listdir(host.workspace)) <= {"lease", "lock"} and not os.listdir(f"{host.home}/data")
