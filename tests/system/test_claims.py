"""Who gets a warm container: limits and turns are the same as without, whatever holds up a launch holds up no
claim, and nobody sees anything of who was there before."""

import os
import pathlib
import signal

from cleat_harness import alive, haproxy_class, poll
from test_warm import identity, no_pool_is_left, pids_by_session, pool, set_options, wait_for_pool, warm_ones  # noqa: F401

LOOK = ("import os, pathlib\n"
        "print(sorted(str(p) for p in pathlib.Path('.').rglob('*') if p.is_file()))\n"
        "print(os.environ.get('SECRET_OF_ANN'))")


def job(api, code, **fields):
    answer = api.call("POST", "/v1/jobs", {"argv": ["python3", "-c", code], **fields})
    return answer["job_id"]


def ended(api, job_id):
    return poll(lambda: (lambda j: j if j["ended_at"] else None)(api.call("GET", f"/v1/jobs/{job_id}")), 60, "its end")


def output(api, job_id, stream):
    chunks = api.call("GET", f"/v1/jobs/{job_id}/logs?stream={stream}")["chunks"]
    return "".join(c["data"] for c in chunks)


def files(cleatd, session):
    place = pathlib.Path(session["artifacts"].removeprefix("file://"))
    assert place.parent == cleatd.artifacts
    return {p.name: p.read_text() for p in (place / "artifacts").rglob("*") if p.is_file()}


def test_a_job_takes_a_warm_container(start):
    """The second one has another container: nothing of the first is there, not even in the artifacts."""
    cleatd = start.cleatd(classes={"default": {"warm_min": 2, "warm_max": 2}})
    api = cleatd.api
    wait_for_pool(api, 2)
    set_options(cleatd, warm_min=0)
    poll(lambda: pool(api)["target"] == 0, 10, "the new configuration")
    pids = pids_by_session(cleatd)
    assert len(pids) == 2
    write = ("import os, pathlib, sys\n"
             "pathlib.Path('artifacts/ann.txt').write_text('of ann')\n"
             "pathlib.Path('left.txt').write_text('of ann')\n"
             "print('out', os.environ['SECRET_OF_ANN']); print('err', file=sys.stderr); sys.exit(7)")
    first = job(api, write, tenant="ann", env={"SECRET_OF_ANN": "s3cret"})
    done = ended(api, first)
    assert (done["state"], done["exit_code"]) == ("failed", 7)
    assert (output(api, first, "stdout"), output(api, first, "stderr")) == ("out s3cret\n", "err\n")
    second = job(api, LOOK + "\nopen('artifacts/bob.txt', 'w').write('of bob')", tenant="bob")
    done = ended(api, second)
    assert (done["state"], done["exit_code"]) == ("succeeded", 0)
    listed, secret = output(api, second, "stdout").splitlines()
    assert "ann" not in listed and "left" not in listed and secret == "None", listed
    sessions = [api.wait(j, "closed") for j in (first, second)]
    assert all(s["claimed"] for s in sessions)
    assert {identity(s) for s in sessions} == set(pids), "nothing was launched for them"
    assert [files(cleatd, s) for s in sessions] == [{"ann.txt": "of ann"}, {"bob.txt": "of bob"}]
    assert (pool(api)["hits"], pool(api)["misses"]) == (2, 0)
    poll(lambda: not any(alive(pid) for pid in pids.values()), 30, "the end of both containers")


def test_no_claim_jumps_the_queue_or_passes_a_limit(start):
    """More is warm than anybody may have."""
    cleatd = start.cleatd(classes={"default": {"warm_min": 6, "warm_max": 6}}, max_sessions=3, tenant_max_sessions=2,
                          max_queued=50)
    api = cleatd.api
    wait_for_pool(api, 6, timeout=120)
    held = [api.ready(tenant="flood")["session_id"] for _ in range(2)]
    flood = [api.create(tenant="flood")["session_id"] for _ in range(4)]
    held.append(api.ready(tenant="other")["session_id"])
    guests = [api.create(tenant=t)["session_id"] for t in ("guest", "late")]
    wait_for_pool(api, 6, timeout=120)
    waiting = {s["session_id"]: s for s in api.sessions() if s["state"] == "QUEUED"}
    assert set(waiting) == {*flood, *guests}, "a warm container gives no place"
    reasons = [waiting[s]["queue"]["reason"] for s in (flood[0], guests[0])]
    assert reasons == ["tenant_max_sessions", "max_sessions"]
    admitted, over = [], []

    def next_ready():
        states = {s["session_id"]: s for s in api.sessions() if s["session_id"] in waiting and not s["warm"]}
        running = [s for s in states.values() if s["state"] == "READY" and s["session_id"] not in over]
        assert sum(s["tenant"] == "flood" for s in running) + sum(h not in over for h in held[:2]) <= 2
        return next((s for s in running if s["session_id"] not in admitted), None)

    for leaves in [held[2], held[0], held[1]]:
        over.append(leaves)
        api.close(leaves)
        session = poll(next_ready, 60, "the next one's turn")
        assert session["claimed"], session
        admitted.append(session["session_id"])
    assert admitted[:2] == guests, "who had none for longest"
    assert admitted[2] == flood[0], "and each tenant's as they came"
    for leaves, comes in zip(flood, flood[1:]):
        over.append(leaves)
        api.close(leaves)
        session = poll(next_ready, 60, "the next one's turn")
        assert session["claimed"] and session["session_id"] == comes, session
        admitted.append(comes)
    api.close_all()


def test_a_claim_needs_no_room(start):
    """Two addresses: one is warm, one has a session that stays. The next finds no room, and may live too long to
    have the warm one; who comes after it may."""
    cleatd = start.cleatd(classes={"default": {"warm_min": 1, "warm_max": 1, "max_lifetime_s": 600,
                                               "address_range": "127.93.7.0/30"}})
    api = cleatd.api
    wait_for_pool(api, 1)
    stays = api.ready(tenant="a", max_lifetime_s=601)["session_id"]
    waits = api.create(tenant="a", max_lifetime_s=601)["session_id"]
    poll(lambda: (api.session(waits)["queue"] or {}).get("reason") == "capacity", 30, "no room")
    claims = api.ready(tenant="a", no_queue=True)
    assert claims["claimed"] and api.session(waits)["state"] == "QUEUED"
    assert (pool(api)["hits"], api.session(stays)["state"]) == (1, "READY")
    api.close(claims["session_id"])
    poll(lambda: api.session(waits)["state"] == "READY", 60, "the room that was left")
    api.close_all()


def test_a_pool_takes_no_room_that_somebody_waits_for(start):
    """All addresses are shared with a class that has a pool of as many."""
    shared = {"address_range": "127.93.7.4/30"}
    cleatd = start.cleatd(classes={"default": {"warm_min": 2, "warm_max": 2, **shared}, "cold": shared})
    api = cleatd.api
    wait_for_pool(api, 2)
    waits = api.create(**{"class": "cold"})["session_id"]
    poll(lambda: (api.session(waits)["queue"] or {}).get("reason") == "capacity", 30, "no room")
    claims = api.ready()
    assert claims["claimed"]
    api.close(claims["session_id"])
    poll(lambda: api.session(waits)["state"] == "READY", 60, "the room that was left")
    assert pool(api)["ready"] + pool(api)["starting"] == 1
    assert not any("event=warm.paused" in line for line in cleatd.log_lines()), "nor does it try"
    api.close(waits)
    wait_for_pool(api, 2, timeout=90)


def test_who_waits_after_a_failed_launch_takes_one(start):
    """The only warm container is out of sight of its balancer, and launches fail: the session would launch again
    after a minute, and has the container as soon as it is seen again."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, warm_min=1, warm_max=2, backoff_base_ms=20000)})
    api = cleatd.api
    wait_for_pool(api, 1)
    [warm] = warm_ones(api)
    pid = cleatd.pid_of(warm["session_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        poll(lambda: any("container.doubt" in line for line in cleatd.log_lines()), 60, "doubts about it")
        good = cleatd.container_script()
        set_options(cleatd, command="/bin/false")
        poll(lambda: any("reload.done" in line for line in cleatd.log_lines()), 30, "the new configuration")
        waits = api.create()["session_id"]
        poll(lambda: any("attempt.failed" in line and waits in line for line in cleatd.log_lines()), 60, "a failure")
        assert api.session(waits)["state"] == "OPENING"
    finally:
        os.kill(pid, signal.SIGCONT)
    session = poll(lambda: (lambda s: s if s["state"] == "READY" else None)(api.session(waits)), 45, "a claim")
    assert session["claimed"] and identity(session) == warm["session_id"]
    set_options(cleatd, command=good)
    api.close(waits)


def test_a_class_is_removed_with_its_pool(start):
    cleatd = start.cleatd(classes={"default": {}, "gone": {"warm_min": 2, "warm_max": 2}})
    api = cleatd.api
    wait_for_pool(api, 2, "gone")
    options = cleatd.classes.pop("gone")
    cleatd.kill()
    cleatd.config_path.write_text(cleatd._config())
    cleatd.spawn()
    assert cleatd.process.wait(timeout=30) != 0
    refused = cleatd.log_tail()
    assert "class gone is not configured" in refused and "warm_max = 0" in refused
    cleatd.classes["gone"] = options
    cleatd.config_path.write_text(cleatd._config())
    cleatd.start()
    wait_for_pool(api, 2, "gone")
    cleatd.classes.pop("gone")
    cleatd.config_path.write_text(cleatd._config())
    cleatd.process.send_signal(signal.SIGHUP)
    poll(lambda: not warm_ones(api) and not cleatd.containers_alive(), 60, "the end of the pool")
    cleatd.kill()
    cleatd.start()
    assert list(api.status()["classes"]) == ["default"]
