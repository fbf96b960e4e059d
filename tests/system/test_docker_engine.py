"""Engines that hang, lie, die and come back, or are none. What is left is dockerd's own word."""

import contextlib
import os
import pathlib
import signal

import pytest

from cleat_harness import ApiError, alive, in_parallel, poll
from docker_fakes import FAULTS, LyingDockerd, MuteDirectory
from docker_harness import IMAGE, docker_class, dockerd, gone, without_docker  # noqa: F401

pytestmark = without_docker

CALLS = {"ping": "/_ping", "create": "/containers/create", "start": "/start", "inspect": "/json HTTP",
         "list": "/containers/json", "logs": "/logs", "stop": "/stop", "delete": "DELETE", "events": "/events"}


@pytest.fixture
def cleatd(start, dockerd):
    return start.cleatd(classes={"default": docker_class(dockerd)})


def test_no_engine(start):
    api = start.cleatd(classes={"default": {
        "runtime": "docker", "docker_socket": start.root / "nobody", "image": IMAGE,
        "launch_attempts": 2, "backoff_base_ms": 10}}).api
    with pytest.raises(ApiError) as failed:
        api.ready()
    assert (failed.value.code, failed.value.error["retryable"]) == ("launch_failed", True)
    assert api.status()["classes"]["default"]["runtime"]["connected"] is False


def test_lost_answers(start, dockerd):
    """Each call has its effect and its answer is lost, once: the session is ready all the same, has
    one container, and none is left afterwards."""
    lossy = start.add(LyingDockerd(dockerd, start.root / "lossy", {
        words: ("lose", 2 if words == "DELETE" else 1) for words in CALLS.values()
        if words not in ("/logs", "/events")}))
    cleatd = start.cleatd(classes={"default": docker_class(
        dockerd, docker_socket=lossy.socket, backoff_base_ms=100)})
    session = cleatd.api.ready()["session_id"]
    poll(lambda: len(dockerd.containers()) == 1, 30, "one container")
    assert [c["State"] for c in dockerd.of_session(session)] == ["running"]
    cleatd.api.close(session)
    gone(dockerd)
    assert len(lossy.seen) == 8 and {times for _, times in lossy.faults.values()} == {0}, lossy.seen


def test_every_fault_at_every_call(start, dockerd):
    """As long as it lasts a session is ready, or fails typed and soon; a close waits, a death may be
    seen late. When the engine is itself again all comes to its end and nothing is left."""
    liars = {f"{call}-{fault}": start.add(LyingDockerd(
        dockerd, start.root / f"{call}-{fault}", {words: (fault, 1000)}))
        for call, words in CALLS.items() for fault in FAULTS}
    hurt = {name for name in liars if name.split("-")[0] in ("ping", "create", "start", "inspect")}
    cleatd = start.cleatd(classes={"default": docker_class(dockerd), **{
        name: docker_class(dockerd, docker_socket=liar.socket, step_timeout_s=5 if name in hurt else 20,
                           stop_grace_s=1, launch_attempts=1) for name, liar in liars.items()}})
    api = cleatd.api
    sessions = in_parallel(lambda name: open_one(api, name), liars, workers=8)
    ready = {name: s for name, (s, code) in zip(liars, sessions) if code is None}
    codes = {name: code for name, (_, code) in zip(liars, sessions) if code}
    assert set(codes.values()) <= {"launch_failed"}, codes
    fine = {"create-cut", "create-huge", "start-cut"} & set(ready)
    assert set(codes) <= hurt and hurt - set(codes) == fine, (codes, hurt - set(codes))

    died = {name: s for name, s in ready.items() if name.split("-")[0] in ("logs", "events")}
    in_parallel(lambda s: dockerd.kill(s), died.values())
    for name, session in died.items():
        if name.startswith("logs"):
            assert api.wait(session, "closed", 30)["stop_reason"] == "container_died", name
    for session in ready.values():
        api.close(session, wait=False)
    for name in [n for n in ready if n.startswith(("stop", "delete"))]:
        poll(lambda: liars[name].seen, 30, f"a fault: {name}")
    assert all(liar.seen for name, liar in liars.items()), [n for n, l in liars.items() if not l.seen]
    for liar in liars.values():
        liar.heal()
    in_parallel(lambda s: api.wait(s, "closed"), ready.values())
    gone(dockerd)


def open_one(api, name):
    """Its session id and, when it failed, why."""
    try:
        return api.ready(**{"class": name, "timeout_s": 60})["session_id"], None
    except ApiError as e:
        return e.error.get("session_id"), e.code


def test_no_docker_there(start):
    """Whatever listens on that socket, it is no Engine API."""
    other = start.cleatd("other")
    api = start.cleatd(classes={"default": {
        "runtime": "docker", "docker_socket": other.socket, "image": IMAGE,
        "launch_attempts": 2, "backoff_base_ms": 10}}).api
    with pytest.raises(ApiError) as failed:
        api.ready()
    assert failed.value.code == "launch_failed"
    assert "no Docker Engine" in failed.value.error["message"]


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_engine_restarts(cleatd, dockerd, how):
    """Its containers end with it; that is said when it is there again, and new ones can start."""
    api = cleatd.api
    sessions = [api.ready()["session_id"] for _ in range(3)]
    dockerd.end() if how == "SIGTERM" else dockerd.kill_process()
    poll(lambda: not runtime_of(api)["connected"], 10, "the end of the event stream")
    dockerd.launch()
    assert {api.wait(s, "closed")["stop_reason"] for s in sessions} == {"container_died"}
    again = api.ready()["session_id"]
    assert api.execute(again, "BASH:echo again")["stdout"] == "again\n"
    assert runtime_of(api)["connected"] and runtime_of(api)["reconnects"] > 0
    api.close(again)
    for c in dockerd.containers():
        assert c["State"] == "exited"  # kept: its upload was never confirmed
        dockerd.remove(c["Id"])


def test_engine_stands_still(start, dockerd):
    """A dockerd that is stopped in its tracks: sessions that are open go on, a new one fails soon, and
    when it goes on all is as it should be."""
    api = start.cleatd(classes={"default": docker_class(
        dockerd, step_timeout_s=1, launch_attempts=1, stop_grace_s=1)}).api
    session = api.ready()["session_id"]
    dockerd.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(ApiError) as failed:
            api.ready(timeout_s=20)
        assert failed.value.code == "launch_failed", failed.value
        assert api.execute(session, "BASH:echo fine")["stdout"] == "fine\n"
        api.close(session, wait=False)
    finally:
        dockerd.process.send_signal(signal.SIGCONT)
    api.wait(session, "closed")
    gone(dockerd)


def test_one_container_cannot_be_stopped(start, dockerd):
    """Nothing is said of the engine, which knows all others: they end meanwhile."""
    liar = start.add(LyingDockerd(dockerd, start.root / "liar", {}))
    api = start.cleatd(classes={"default": docker_class(
        dockerd, docker_socket=liar.socket, step_timeout_s=1, stop_grace_s=1, backoff_base_ms=10)}).api
    hung, other = (api.ready()["session_id"] for _ in range(2))
    liar.faults = {f"{hung}.1/stop": ("hang", 1000)}
    api.close(hung, wait=False)
    poll(lambda: len(liar.seen) >= 6, 100, "the sixth try")
    breaker = api.status()["classes"]["default"]["breakers"]["stop"]
    assert (breaker["state"], breaker["failures"]) == ("closed", 0), breaker
    api.close(other)
    assert api.session(hung)["state"] == "CLOSING"
    liar.heal()
    api.wait(hung, "closed")
    gone(dockerd)


def test_engine_is_away(start, dockerd):
    """15 sessions open while no dockerd is there: its breaker opens, they wait and use no attempt up, and
    when it is back all are ready. Meanwhile cleatd says that it is not."""
    cleatd = start.cleatd(classes={"default": docker_class(dockerd, backoff_base_ms=100)})
    api = cleatd.api
    dockerd.kill_process()
    sessions = in_parallel(lambda _: api.create()["session_id"], range(15))
    launches = poll(lambda: (now := api.status())["classes"]["default"]["breakers"]["launch"]["state"] == "open"
                    and now["launches"], 20, "the open breaker")
    assert api.raw("GET", "/readyz")[0] == 503
    poll(lambda: all((api.session(s)["waiting_for"] or "").startswith("the engine:") for s in sessions), 20,
         "all to wait for the engine")
    dockerd.launch()
    in_parallel(lambda s: api.wait(s, timeout_s=100), sessions)
    status = api.status()
    breaker = status["classes"]["default"]["breakers"]["launch"]
    assert (breaker["state"], breaker["failures"], breaker["error"]) == ("closed", 0, None), breaker
    assert launches <= 15 + 4 and status["launches"] <= launches + 15 + 4, (launches, status["launches"])
    assert api.raw("GET", "/readyz")[0] == 200
    events = [line.split("event=")[1].split()[0] for line in cleatd.log_lines() if "event=breaker." in line
              and "call=launch" in line]
    assert events[:2] == ["breaker.open", "breaker.half_open"] and events[-1] == "breaker.closed", events
    in_parallel(lambda s: api.close(s, timeout_s=100), sessions)
    gone(dockerd)


def test_mute_artifacts(start, dockerd):
    """A store whose file system does not answer fails the launches that need it, in their time, and holds
    up nobody else; no process is left there."""
    mute = start.add(MuteDirectory(start.root / "mute"))
    cleatd = start.cleatd(classes={
        "default": docker_class(dockerd),
        "mute": docker_class(dockerd, artifacts=f"file://{mute.path}/store", step_timeout_s=10,
                             launch_attempts=1)})
    api = cleatd.api
    waiting = api.create(**{"class": "mute"})["session_id"]
    makers = poll(lambda: processes_that_name(mute.path), 10, "the process that makes the directory")
    assert api.raw("GET", "/healthz", timeout=5)[0] == 200
    assert api.wait(api.create()["session_id"])["state"] == "READY"
    ended = api.wait(waiting, "closed")
    assert ended["stop_reason"] == "launch_failed", ended
    assert "has not answered for 10000 ms" in ended["error"]["message"], ended
    poll(lambda: not any(alive(pid) for pid in makers), 10, "the end of that process")
    assert not [line for line in cleatd.log_lines() if "loop.long_turn" in line]
    api.close_all()
    gone(dockerd)


def processes_that_name(path):
    found = []
    for each in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(path) + b"/" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


def test_artifacts_that_cannot_be_made(start, dockerd):
    """What the system says of it is told; nothing is left in the engine."""
    (start.root / "file").write_text("")
    api = start.cleatd(classes={"default": docker_class(
        dockerd, artifacts=f"file://{start.root}/file/store", launch_attempts=1)}).api
    with pytest.raises(ApiError) as failed:
        api.ready()
    assert failed.value.code == "launch_failed", failed.value
    assert "Not a directory" in failed.value.error["message"], failed.value
    gone(dockerd)


def runtime_of(api):
    return api.status()["classes"]["default"]["runtime"]


def doubts(cleatd):
    """Containers that a busy machine kept from an answer for long: each is asked for once more."""
    return sum("event=container.doubt" in line and "cause=timeout" in line for line in cleatd.log_lines())


def test_endpoint_cache(start, dockerd):
    """One inspect for each container; a stream that was away puts all in doubt, and one listing
    confirms them."""
    liar = start.add(LyingDockerd(dockerd, start.root / "liar", {}))
    cleatd = start.cleatd(classes={"default": docker_class(dockerd, docker_socket=liar.socket)})
    api = cleatd.api
    sessions = in_parallel(lambda _: api.ready()["session_id"], range(4))
    cache = poll(lambda: (c := runtime_of(api)["endpoint_cache"])["entries"] == 4 and c, 10, "four that hold")
    assert 4 <= cache["misses"] <= 4 + doubts(cleatd)
    before = runtime_of(api)["reconnects"]
    liar.drop("/events")
    poll(lambda: runtime_of(api)["reconnects"] > before and runtime_of(api)["connected"], 10, "a reconnect")
    cache = poll(lambda: (c := runtime_of(api)["endpoint_cache"])["entries"] == 4 and c, 10, "four that hold")
    assert 4 <= cache["misses"] <= 4 + doubts(cleatd) and cache["hits"] >= 4
    assert cache["hit_rate"] == cache["hits"] / (cache["hits"] + cache["misses"])
    cleatd.kill()
    cleatd.start()
    in_parallel(lambda s: api.wait(s, "ready"), sessions)
    cache = poll(lambda: (c := runtime_of(api)["endpoint_cache"])["entries"] == 4 and c, 10, "four that hold")
    assert cache["misses"] <= doubts(cleatd) and cache["hits"] >= 4
    api.close_all()
    gone(dockerd)


def test_restarted_by_a_stranger(cleatd, dockerd):
    """Another life of a container is not the one that the session had."""
    api = cleatd.api
    session = api.ready()["session_id"]
    [c] = dockerd.of_session(session)
    assert dockerd.ask("POST", f"/containers/{c['Id']}/restart?t=0")[0] == 204
    assert api.wait(session, "closed")["stop_reason"] == "container_died"
    gone_or_kept(dockerd, session)


def gone_or_kept(dockerd, session):
    poll(lambda: not [c for c in dockerd.of_session(session) if c["State"] == "running"], 30, "its end")
    for c in dockerd.of_session(session):
        dockerd.remove(c["Id"])
