"""Warm containers: a session takes one that is ready, nothing is launched for it, and the next one has
another. CLEAT_WARM=N: with a pool of N."""

import collections
import os
import pathlib
import signal
import subprocess
import time

import pytest

from cleat_harness import BUILD, ApiError, Cleatd, alive, haproxy_class, in_parallel, poll
from event_reader import read_all
from test_input import fill, input_class

COUNT = int(os.environ.get("CLEAT_WARM", 20))
LIST = "import os; print(sorted(os.listdir('input'))); print(os.environ.get('COLOUR'))"


def pool(api, name="default"):
    return api.status()["classes"][name]["warm"]


def wait_for_pool(api, ready, name="default", timeout=60):
    return poll(lambda: (lambda p: p if (p["ready"], p["starting"]) == (ready, 0) else None)(pool(api, name)),
                timeout, f"a pool of {ready}")


def warm_ones(api):
    return [s for s in api.sessions() if s["warm"] and s["closed_ms"] is None]


def set_options(cleatd, **values):
    cleatd.classes["default"].update(values)
    cleatd.config_path.write_text(cleatd._config())
    cleatd.process.send_signal(signal.SIGHUP)


def identity(session):
    return session["artifacts"].rsplit("/", 1)[1]


def pids_by_session(cleatd):
    return {l.session: l.pid for l in cleatd.launches()}


@pytest.fixture(autouse=True)
def no_pool_is_left(start):
    yield
    for cleatd in [c for c in Cleatd.everyone if c.root.parent == start.root and c.process.poll() is None]:
        for options in cleatd.classes.values():
            options.update(warm_min=0, warm_max=0)
        cleatd.config_path.write_text(cleatd._config())
        cleatd.process.send_signal(signal.SIGHUP)
        poll(lambda: not warm_ones(cleatd.api), 60, "the end of the pools")


# ---- claims


def milliseconds(values):
    values = sorted(values)
    return f"median {values[len(values) // 2]} ms, longest {values[-1]} ms"


def test_all_of_a_pool_are_claimed_at_once(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={
        "default": haproxy_class(haproxy, warm_min=COUNT, warm_max=COUNT), "cold": {}})
    api = cleatd.api
    wait_for_pool(api, COUNT, timeout=300)
    set_options(cleatd, warm_min=0)
    poll(lambda: pool(api)["target"] == 0, 10, "the new configuration")
    poll(lambda: time.time() % 10 < 2, 15, "the beginning of a slot: what is asked for in it counts at its end")
    before, launches = api.status()["launches"], len(cleatd.launches())
    assert before == launches == COUNT
    sessions = in_parallel(lambda n: api.ready(tenant=f"t{n % 3}"), range(COUNT), 16)
    assert api.status()["launches"] == before and len(cleatd.launches()) == launches
    assert all(s["claimed"] and not s["warm"] for s in sessions)
    assert len({s["session_id"] for s in sessions}) == COUNT
    assert len({s["address"] for s in sessions}) == COUNT
    assert {identity(s) for s in sessions} <= set(pids_by_session(cleatd))
    assert (pool(api)["hits"], pool(api)["misses"]) == (COUNT, 0)
    answers = in_parallel(lambda s: api.execute(s["session_id"], "import os; print(os.getcwd())"), sessions, 8)
    for s, answer in zip(sessions, answers):
        assert answer["session_id"] == s["session_id"] and identity(s) in answer["stdout"]
        assert answer["total_executions"] == 1
    isolation = api.isolation()
    assert isolation["address_conflicts"] == isolation["shared_connections"] == 0
    cold = api.ready(tenant="t0", **{"class": "cold"})
    assert not cold["claimed"] and "launch" in [p["name"] for p in cold["phases"]]
    print(f"\n{COUNT} claims at once: {milliseconds([s['ready_ms'] for s in sessions])}; "
          f"a cold start: {cold['ready_ms']} ms")


def test_a_claim_beside_a_cold_start(start):
    cleatd = start.cleatd(classes={"default": {}, "warm": {"warm_min": 1, "warm_max": 1}})
    api, claims, starts = cleatd.api, [], []
    for n in range(3):
        wait_for_pool(api, 1, "warm")
        claim = api.ready(**{"class": "warm"})
        assert claim["claimed"] and "launch" not in [p["name"] for p in claim["phases"]]
        claims.append(claim["ready_ms"])
        starts.append(api.ready()["ready_ms"])
    print(f"\nclaims: {claims} ms, cold starts: {starts} ms")
    assert sorted(claims)[1] < sorted(starts)[1]
    figures = api.status()["key_figures"]
    assert (figures["warm_hit_rate"], figures["warm_hits"], figures["warm_misses"]) == (1.0, 3, 0)


def test_environment_and_input_are_handed_over(start):
    source = fill(start.root / "source", {"ann/a.txt": "from ann", "bob/c.txt": "from bob"})
    cleatd = start.cleatd(classes={"default": input_class(source, warm_min=2, warm_max=2)})
    api = cleatd.api
    wait_for_pool(api, 2)
    for tenant, name, colour in (("ann", "a.txt", "red"), ("bob", "c.txt", "blue")):
        s = api.ready(tenant=tenant, input=f"file://{source}/{tenant}", env={"COLOUR": colour})
        assert s["claimed"]
        record = api.execute(s["session_id"], LIST + "\nopen('artifacts/out.txt', 'w').write('done')")
        assert record["stdout"].splitlines() == [f"['{name}']", colour], record
        api.close(s["session_id"])
        place = pathlib.Path(s["artifacts"].removeprefix("file://"))
        assert place.parent == cleatd.artifacts and (place / "artifacts/out.txt").read_text() == "done"


def test_who_may_not_live_as_long_takes_none(start):
    api = start.cleatd(classes={"default": {"warm_min": 1, "warm_max": 1, "max_lifetime_s": 100}}).api
    wait_for_pool(api, 1)
    s = api.ready(max_lifetime_s=101)
    assert not s["claimed"] and pool(api)["misses"] == 1 and pool(api)["ready"] == 1
    assert api.ready(max_lifetime_s=100, idle_timeout_s=86400)["claimed"]


# ---- who sees them


def test_operators_see_them_and_nobody_uses_them(start):
    cleatd = start.cleatd(classes={"default": {"warm_min": 1, "warm_max": 1}, "cold": {}})
    api = cleatd.api
    wait_for_pool(api, 1)
    [warm] = warm_ones(api)
    assert warm["state"] == "READY" and warm["tenant"] is None and warm["request_id"] is None
    assert api.status()["sessions"]["total"] == 0
    with pytest.raises(ApiError) as refused:
        api.execute(warm["session_id"], "print(1)")
    assert refused.value.status == 409 and refused.value.error["ran"] == "no"
    with pytest.raises(ApiError) as refused:
        api.route(warm["session_id"])
    assert (refused.value.status, refused.value.code) == (409, "conflict")
    with pytest.raises(ApiError) as refused:
        api.create(parent=warm["session_id"])
    assert refused.value.status == 404
    opened = api.ready(**{"class": "cold"})["session_id"]
    subprocess.run([BUILD / "cleat", "--socket", cleatd.socket, "kill", "--all", "--wait"], check=True, timeout=60)
    assert api.session(opened)["state"] == "CLOSED" and api.session(warm["session_id"])["state"] == "READY"
    assert api.close(warm["session_id"])["state"] == "CLOSED"
    poll(lambda: [w for w in warm_ones(api) if w["session_id"] != warm["session_id"] and w["state"] == "READY"],
         30, "another one")


# ---- what happens to a pool


def test_a_dead_one_is_replaced(start):
    cleatd = start.cleatd(classes={"default": {"warm_min": 2, "warm_max": 2, "backoff_base_ms": 100}})
    api = cleatd.api
    wait_for_pool(api, 2)
    victim = warm_ones(api)[0]["session_id"]
    os.kill(cleatd.pid_of(victim), signal.SIGKILL)
    poll(lambda: len(cleatd.launches()) == 3, 30, "another launch")
    wait_for_pool(api, 2)
    assert victim not in [w["session_id"] for w in warm_ones(api)]
    assert len(cleatd.containers_alive()) == 2

    # Operators are told of it all, tenants of nothing.
    taker = api.ready(tenant="acme")["session_id"]
    wait_for_pool(api, 2)
    told = [(c, d) for _, c, d in read_all(api, "/v1/events?after=0") if c.startswith("warm.")]
    assert collections.Counter(c for c, _ in told) == {"warm.new": 4, "warm.ready": 4, "warm.ended": 1,
                                                       "warm.paused": 1, "warm.claimed": 1}
    end = next(d for c, d in told if c == "warm.ended")
    assert end["warm"] == victim and end["cause"] and end["class"] == "default" and end["error"]
    assert next(d for c, d in told if c == "warm.claimed")["session"] == taker
    own = [c for _, c, _ in read_all(api, "/v1/events?after=0&tenant=acme")]
    assert own[0] == "session.queued" and not [c for c in own if c.startswith("warm.")]


def test_cleatd_is_killed_with_a_pool(start):
    """Neither a restart nor a crash makes more than warm_max, and what was taken stays so."""
    cleatd = start.cleatd(classes={"default": {"warm_min": 2, "warm_max": 3}})
    api = cleatd.api
    wait_for_pool(api, 2)
    taken = api.ready(tenant="ann", env={"COLOUR": "red"})
    for how in (cleatd.kill, cleatd.terminate):
        wait_for_pool(api, 2)
        pids = {l.pid for l in cleatd.containers_alive()}
        how()
        cleatd.start()
        wait_for_pool(api, 2)
        assert {l.pid for l in cleatd.containers_alive()} == pids, "the same containers, and no more"
        again = api.wait(taken["session_id"])
        assert again["address"] == taken["address"] and again["claimed"]
        assert api.execute(taken["session_id"], "import os; print(os.environ['COLOUR'])")["stdout"] == "red\n"
    cleatd.kill()
    cleatd.start()
    sessions = in_parallel(lambda n: api.ready(), range(4))
    assert len({s["address"] for s in [*sessions, taken]}) == 5


def test_more_and_fewer_and_another_class(start):
    cleatd = start.cleatd(classes={"default": {"warm_min": 1, "warm_max": 2}})
    api = cleatd.api
    wait_for_pool(api, 1)
    set_options(cleatd, warm_min=3, warm_max=4)
    wait_for_pool(api, 3)
    old = {w["session_id"] for w in warm_ones(api)}
    set_options(cleatd, open_files=2000)
    poll(lambda: not old & {w["session_id"] for w in warm_ones(api)}, 60, "a pool of the new class")
    wait_for_pool(api, 3)
    s = api.ready()
    assert s["claimed"]
    limit = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    assert api.execute(s["session_id"], limit)["stdout"] == "2000\n"
    wait_for_pool(api, 3)
    set_options(cleatd, warm_min=0, warm_max=1)
    poll(lambda: len(warm_ones(api)) == 1, 30, "the end of those that are too many")
    set_options(cleatd, warm_max=0)
    poll(lambda: not warm_ones(api), 30, "the end of the pool")


def test_old_ones_and_drains(start):
    cleatd = start.cleatd(classes={"default": {"warm_min": 1, "warm_max": 1, "warm_ttl_s": 2}})
    api = cleatd.api
    poll(lambda: len(cleatd.launches()) >= 3, 60, "the third of a row")
    assert len(cleatd.containers_alive()) <= 1
    reasons = collections.Counter(s["stop_reason"] for s in api.sessions() if s["state"] == "CLOSED")
    assert set(reasons) <= {"warm_ttl"}, reasons
    set_options(cleatd, warm_ttl_s=600)
    wait_for_pool(api, 1)
    api.call("POST", "/v1/drain", {})
    poll(lambda: not warm_ones(api) and not cleatd.containers_alive(), 30, "no warm container")
    api.call("DELETE", "/v1/drain")
    wait_for_pool(api, 1)


def test_launches_that_fail_become_rare(start):
    """Each pause is three times as long: 0.1, 0.3, 0.9 … s."""
    cleatd = start.cleatd(classes={"default": {
        "warm_min": 4, "warm_max": 4, "backoff_base_ms": 100, "start_timeout_s": 5, "command": ["/bin/false"]}})
    api = cleatd.api
    poll(lambda: sum("event=warm.paused" in line for line in cleatd.log_lines()) >= 3, 60, "three pauses")
    assert len(cleatd.launches()) <= 4 + 3
    assert not [pid for pid in cleatd.launches() if alive(pid.pid)]
    good = cleatd.container_script()
    set_options(cleatd, command=good)
    wait_for_pool(api, 4)
