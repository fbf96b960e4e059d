"""Many lives: descriptors and memory return to where they were after a warm-up.

Of cleatd's memory that is every byte that it has allocated, but those of the events that it keeps, which may
be more the longer it runs, up to a limit.
"""

import os
import re
import secrets
import signal
import socket
import subprocess
import time

from cleat_harness import HERE, haproxy_class, in_parallel, poll
from event_reader import Reader
from executor_help import addresses, needs_root
from static_help import StaticHost

LIVES = int(os.environ.get("CLEAT_TEST_LIVES", "240"))
WARM_UP = LIVES * 2 // 5
AT_ONCE = 16
TABLES = 128 << 10  # of cleatd and its libraries, which grow in steps
A_LIFE = 1024  # of what its events take besides their own bytes: an allocator's, and places in two rings


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


def fewest_descriptors(pid):
    """Of some looks, since it may still be about to close a connection of the test's own."""
    looks = []
    return poll(lambda: looks.append(len(descriptors(pid))) or len(looks) == 20 and min(looks))


def live(api, n):
    """One life: mostly without an execution, every fifth with one, every seventh cut short, every other
    behind HAProxy."""
    s = api.create(user=f"u{n % 10}", **{"class": ("default", "balanced")[n % 2]})["session_id"]
    if n % 7:
        api.wait(s)
        if n % 10 < 2:
            assert api.execute(s, argv=["/bin/echo", str(n)])["stdout"].strip() == str(n)
    assert api.close(s)["state"] == "CLOSED"


def measured(start, **options):
    """A cleatd that tells what it has allocated. What is freed is free at once, without a quarantine."""
    library = start.root / "heap.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "heap.c"], check=True)
    return start.cleatd(
        log_level="warning", asan="verify_asan_link_order=0:quarantine_size_mb=0:thread_local_quarantine_size_kb=0:max_redzone=16",
        environment={"LD_PRELOAD": str(library), "CLEAT_TEST_HEAP": str(start.root / "heap")}, **options)


def allocated(start, cleatd):
    events = re.search(rb"^cleat_events_bytes (\d+)", cleatd.api.raw("GET", "/metrics")[1], re.M)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(start.root / "heap"))
        return int(s.recv(100)) - int(events[1])


def settled(start, cleatd):
    """How many descriptors and bytes it has when nothing goes on."""
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    poll(lambda: cleatd.api.status()["http"]["connections_open"] == 0, 30, "the end of all connections")
    poll(lambda: not cleatd.api.sessions(), 30, "the end of what is remembered of closed sessions")
    return fewest_descriptors(cleatd.process.pid), allocated(start, cleatd)


def assert_flat(cleatd, lives, before, after):
    """Each of them a number of descriptors and of bytes."""
    (fds, heap), (fds_after, heap_after) = before, after
    print(f"{lives} lives: descriptors {fds} → {fds_after}, allocated {heap} → {heap_after} bytes, "
          f"{(heap_after - heap) / lives:.0f} a life; resident {resident_kb(cleatd.process.pid)} KB")
    assert fds_after <= fds, descriptors(cleatd.process.pid)
    assert heap_after <= heap + TABLES + A_LIFE * lives


def test_many_lives(start):
    haproxy = start.haproxy()
    cleatd = measured(start, retention_s=1, classes={
        "default": {"check_interval_ms": 50},
        "balanced": haproxy_class(haproxy, check_interval_ms=50)})
    begin = time.monotonic()
    in_parallel(lambda n: live(cleatd.api, n), range(WARM_UP), AT_ONCE)
    before = settled(start, cleatd)
    in_parallel(lambda n: live(cleatd.api, n), range(LIVES - WARM_UP), AT_ONCE)
    assert_flat(cleatd, LIVES - WARM_UP, before, settled(start, cleatd))
    print(f"{LIVES} lives in {time.monotonic() - begin:.0f} s")
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
    cleatd = measured(
        start, retention_s=3, max_sessions=12, tenant_max_sessions=4, user_max_sessions=3,
        classes={"default": {}, "batch": {"max_parallel": 3}, "pool": {"warm_min": 0, "warm_max": 0}})
    states = []
    for lives in LIVES // 8, LIVES // 4:
        set_pool(cleatd, 3)
        in_parallel(lambda n: live_among_many(cleatd, n), range(lives), AT_ONCE)
        set_pool(cleatd, 0)
        states.append(settled(start, cleatd))
    assert_flat(cleatd, LIVES // 4, *states)
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
    pids = [p.process.pid for p in (cleatd, *hosts)]
    before = [(fewest_descriptors(p), resident_kb(p)) for p in pids]
    in_parallel(one, range(LIVES // 40), len(hosts))
    for p, (n, _) in zip(pids, before):
        poll(lambda: len(descriptors(p)) <= n, 30, "as few descriptors as before")
    after = [(len(descriptors(p)), resident_kb(p)) for p in pids]
    print(f"{LIVES // 40} leases: {before} → {after}")
    for (_, rss), (_, rss_after) in zip(before[1:], after[1:]):
        assert rss_after <= rss + 1024
    for host in hosts:
        assert set(os.listdir(host.workspace)) <= {"lease", "lock"} and not os.listdir(f"{host.home}/data")
