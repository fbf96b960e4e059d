"""What must outlast a restart, a hang or a queue, and what the user handed over."""

import json
import os
import re
import resource
import signal
import time

import pytest

from cleat_harness import ApiError, haproxy_class, poll


def steps(session):
    return {c["name"]: c for c in session["cleanup"]}


def test_the_environment_reaches_user_code(start):
    api = start.cleatd().api
    session = api.ready(env={"TOKEN": "a b\nc", "EMPTY": ""})["session_id"]
    record = api.execute(session, "import os; print(repr(os.environ['TOKEN']), repr(os.environ['EMPTY']))")
    assert record["stdout"] == "'a b\\nc' ''\n"


def test_a_used_session_is_not_idle_after_a_restart(start):
    cleatd = start.cleatd()
    api = cleatd.api
    session = api.ready(idle_timeout_s=3)["session_id"]
    begin = time.monotonic()
    while time.monotonic() - begin < 4:  # longer than the idle time-out, in use all the time
        assert api.execute(session, "print(1)")["status"] == "completed"
    cleatd.terminate()
    cleatd.start()
    assert api.wait(session)["state"] == "READY"
    assert api.execute(session, "print(2)")["stdout"] == "2\n"
    assert len(cleatd.launches()) == 1


def test_waiting_in_the_queue_is_not_opening(start):
    cleatd = start.cleatd(max_sessions=1, queue_timeout_s=60)
    api = cleatd.api
    first = api.ready()["session_id"]
    second = api.create(create_timeout_s=2)["session_id"]
    with pytest.raises(ApiError) as e:  # longer than it may take to open
        api.wait(second, timeout_s=3)
    assert e.value.document["error"]["code"] == "wait_timeout"
    assert api.session(second)["state"] == "QUEUED"
    api.close(first)
    assert api.wait(second)["state"] == "READY"


def test_a_class_may_go_when_its_sessions_have_gone(start):
    cleatd = start.cleatd(classes={"default": {}, "old": {}})
    api = cleatd.api
    closed = api.ready(**{"class": "old", "request_id": "of-old", "user": "ann"})["session_id"]
    live = api.ready(request_id="of-default")["session_id"]
    api.close(closed)
    cleatd.terminate()
    config = cleatd.config_path.read_text()
    cleatd.config_path.write_text(config[:config.index("class old {")])
    cleatd.start()
    assert api.wait(live)["session_id"] == live
    remembered = api.session(closed)
    assert (remembered["state"], remembered["class"], remembered["user"]) == ("CLOSED", "old", "ann")
    with pytest.raises(ApiError) as e:
        api.create(request_id="of-old")
    assert e.value.status == 410
    assert len(cleatd.launches()) == 2


@pytest.mark.parametrize("balancer", ["direct", "haproxy"])
def test_a_container_that_hangs_at_the_end_holds_nothing_for_ever(start, balancer):
    """It accepts connections and answers nothing: several upload deadlines pass, then the salvage
    limit; the session ends and says what was lost."""
    classes = {"upload_timeout_s": 1, "salvage_limit_s": 4, "backoff_base_ms": 100}
    if balancer == "haproxy":
        classes = haproxy_class(start.haproxy(), direct_path="never", **classes)
    cleatd = start.cleatd(classes={"default": classes})
    api = cleatd.api
    session = api.ready()["session_id"]
    api.execute(session, "print(1)")
    cleatd.stop_process(session)
    closed = api.close(session, timeout_s=40)
    assert closed["state"] == "CLOSED"
    assert steps(closed)["upload"]["result"] == "lost"
    assert not cleatd.containers_alive()
    assert len([l for l in cleatd.log_lines() if "event=upload.retry" in l]) >= 2
    assert not [l for l in cleatd.log_lines() if "event=session.stuck" in l]


def test_an_upload_over_the_balancer_goes_on_after_a_crash(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, direct_path="never", upload_timeout_s=2, salvage_limit_s=60, backoff_base_ms=100)})
    api = cleatd.api
    session = api.ready()["session_id"]
    api.execute(session, "open('artifacts/kept', 'w').write('kept')")
    cleatd.stop_process(session)
    api.close(session, wait=False)
    poll(lambda: api.session(session)["attempt_state"] == "SALVAGING", 20, "salvaging")
    cleatd.kill()
    cleatd.continue_process(session)
    cleatd.start()
    assert steps(api.wait(session, "closed", timeout_s=40))["upload"]["result"] == "ok"
    assert cleatd.file_of(session, "artifacts/kept") == b"kept"


def test_a_mute_haproxy_does_not_hold_a_session_for_ever(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, step_timeout_s=1, salvage_limit_s=3, backoff_base_ms=100)})
    api = cleatd.api
    session = api.ready()["session_id"]
    haproxy.process.send_signal(19)  # SIGSTOP
    try:
        closed = api.close(session, timeout_s=40)
        assert steps(closed)["deregister"]["result"] == "lost"
        assert [l for l in cleatd.log_lines() if "event=target.left" in l]
        assert not cleatd.containers_alive()
    finally:
        haproxy.process.send_signal(18)  # SIGCONT


def test_a_mute_haproxy_keeps_an_address_only_as_long_as_it_lists_it(start):
    """Of two addresses one is kept after its session's end, also by the next cleatd, while a target that
    is left may lead to it; both are free when HAProxy answers again."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, address_range="/30", step_timeout_s=1, salvage_limit_s=3, backoff_base_ms=100)})
    api = cleatd.api

    def free():
        return api.status()["classes"]["default"]["runtime"]["addresses_free"]
    session = api.ready()["session_id"]
    haproxy.process.send_signal(signal.SIGSTOP)
    try:
        assert steps(api.close(session, timeout_s=40))["drain"]["result"] == "lost"
        assert free() == 1
        cleatd.kill()
        cleatd.start()
        assert (api.session(session)["state"], free()) == ("CLOSED", 1)
    finally:
        haproxy.process.send_signal(signal.SIGCONT)
    both = [api.ready()["session_id"] for _ in range(2)]
    assert len({api.session(s)["address"] for s in both}) == len(both) == len(haproxy.servers())


def test_plain_containers_are_not_shared_by_tenants(start):
    cleatd = start.cleatd(classes={"default": {}, "plain": {"proof": "none"}})
    api = cleatd.api
    session = api.create(**{"class": "plain", "tenant": "a"})["session_id"]
    with pytest.raises(ApiError) as e:
        api.create(**{"class": "plain", "tenant": "b"})
    assert e.value.status == 403
    api.close(session)
    other = api.create(**{"class": "plain", "tenant": "b"})["session_id"]
    api.close(other)


def test_a_lost_master_key_refuses_the_start(start):
    cleatd = start.cleatd()
    api = cleatd.api
    session = api.ready()["session_id"]
    key = cleatd.root / "state" / "master.key"
    kept = key.read_text()
    cleatd.terminate()
    key.unlink()
    with pytest.raises(AssertionError, match="master.key"):
        cleatd.start()
    assert not key.exists()
    key.write_text(kept)
    cleatd.start()
    assert api.wait(session)["state"] == "READY"


def test_without_a_store_nothing_is_called_uploaded(start):
    cleatd = start.cleatd(classes={"default": {"artifacts": ""}})
    api = cleatd.api
    session = api.ready()["session_id"]
    api.execute(session, "open('artifacts/gone', 'w').write('x')")
    assert steps(api.close(session))["upload"]["result"] == "skipped"
    assert api.status()["uploads"] == {"confirmed": 0, "lost": 0, "skipped": 1}


def test_not_ready_while_the_balancer_is_away(start):
    haproxy = start.haproxy()
    haproxy.kill()
    api = start.cleatd(classes={"default": haproxy_class(haproxy)}).api

    def answer():
        return api.raw("GET", "/readyz")

    poll(lambda: answer()[0] == 503 and "class default: " in str(answer()[1]), 20, "503 with the cause")
    haproxy.start()
    poll(lambda: answer()[0] == 200, 20, "200")


def test_descriptors_run_out(start):
    """None is left for what comes new; what there is stays, and all goes on when there are some again."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, backoff_base_ms=100)})
    api, pid = cleatd.api, cleatd.process.pid
    used = api.ready()["session_id"]
    api.execute(used, "BASH:echo kept >artifacts/kept")
    client, limit = api.connection(60), resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def call(method, path, body=None):
        client.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"} if body else {})
        answer = client.getresponse()
        assert answer.status in (201, 202), answer.status
        return json.loads(answer.read())["session_id"]
    first = call("POST", "/v1/sessions", {"request_id": "first"})  # over a connection that is there
    api.wait(first)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))  # those that it has stay
    try:
        second = call("POST", "/v1/sessions", {"request_id": "second"})
        poll(lambda: logged(cleatd, "code=no_capacity"), 20, "a launch for which there is none")
        call("DELETE", f"/v1/sessions/{used}")
        poll(lambda: logged(cleatd, f"session={used} .*to=CLOSING"), 20, "a cleanup that begins")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    assert api.wait(second)["state"] == "READY"
    assert api.execute(first, "print(1)")["stdout"] == "1\n"
    assert api.wait(used, "closed")["state"] == "CLOSED" and cleatd.file_of(used, "artifacts/kept") == b"kept\n"
    client.close()
    api.close_all()
    poll(lambda: not cleatd.containers_alive(), 20, "the end of all containers")
    assert haproxy.servers() == {} and not logged(cleatd, "artifacts.lost")


def test_what_is_remembered_is_bounded_and_not_forgotten_early(start):
    """With no room to remember another session none is opened, also after a crash; what was closed is
    refused until its time is over."""
    cleatd = start.cleatd(max_closed=2)
    api = cleatd.api
    for name in ("a", "b"):
        api.close(api.ready(request_id=name)["session_id"])

    def refusal(name):
        with pytest.raises(ApiError) as caught:
            api.create(request_id=name)
        assert "retry_after_s" not in caught.value.error, "nobody knows"
        return caught.value.status, caught.value.code, caught.value.error.get("reason")
    for _ in range(2):
        assert refusal("c") == (429, "full", "max_closed")
        assert [refusal(name)[:2] for name in ("a", "b")] == 2 * [(410, "request_id_closed")]
        cleatd.kill()
        cleatd.start()
    cleatd.options["retention_s"] = 1
    cleatd.config_path.write_text(cleatd._config())
    os.kill(cleatd.process.pid, signal.SIGHUP)
    poll(lambda: api.sessions() == [], 60, "the end of their time")
    for name in ("c", "a"):
        api.close(api.ready(request_id=name)["session_id"])


def logged(cleatd, pattern):
    return [line for line in cleatd.log_lines() if re.search(pattern, line)]
