"""What happens when a container or the balancer fails under a session."""

import os
import signal
import time

import pytest

from cleat_harness import HERE, PYTHON, ApiError, haproxy_class, in_parallel, poll, shared_connections


def executions_in_container(cleatd, haproxy, session):
    """What the container itself counts, asked over the session's own route."""
    import http.client
    import json
    connection = http.client.HTTPConnection(*cleatd.api.session(session)["address"].split(":"), timeout=10)
    connection.request("GET", "/container-info")
    info = json.loads(connection.getresponse().read())
    connection.close()
    assert info["session_id"] == session
    return info["executions_completed"]


def execute_until_it_runs(api, session, code, timeout=30):
    """Repeats an execution that certainly did not run; returns the record and the failures."""
    failures = []

    def attempt():
        try:
            return api.execute(session, code)
        except ApiError as e:
            assert e.error.get("ran") == "no" and e.error["retryable"], e
            failures.append(e)
            return None

    return poll(attempt, timeout, "an execution"), failures


def test_silent_failover(start):
    """HAProxy routes a stopped container's session to another one without a word. The next
    execution is a misroute that ran nowhere; once the container is back, the session goes on."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)})
    api = cleatd.api
    stopped, other = (s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(2)))
    for session in (stopped, other):
        api.execute(session, "print('before')")
    address = api.session(stopped)["address"]
    cleatd.stop_process(stopped)
    poll(lambda: any(a == address and status.startswith("DOWN")
                     for a, status in haproxy.servers().values()), 20, "HAProxy to mark it down")
    begin = haproxy.mark()
    with pytest.raises(ApiError) as failed:
        api.execute(stopped, "print('must not run elsewhere')", timeout_s=20)
    assert failed.value.code == "misroute" and failed.value.error["ran"] == "no", failed.value
    assert failed.value.error["retryable"]
    strayed = [r for r in haproxy.requests(begin) if r.session == stopped]
    now = api.session(stopped)
    assert now["state"] in ("REROUTING", "READY") and now["address"] == address, now
    assert executions_in_container(cleatd, haproxy, other) == 1, "the other container is untouched"
    assert all(r.status == 403 for r in strayed if r.path == "/execute"), strayed
    assert api.execute(other, "print('fine')")["total_executions"] == 2

    cleatd.continue_process(stopped)
    record, _ = execute_until_it_runs(api, stopped, "print('after')")
    assert record["stdout"].strip() == "after" and record["total_executions"] == 2
    assert api.session(stopped)["misroutes"] >= 1 and api.session(other)["misroutes"] == 0
    assert len(cleatd.launches()) == 2, "no container was replaced"
    assert shared_connections(haproxy.requests()) == {}


@pytest.mark.parametrize("balancer", ["direct", "haproxy"])
def test_container_killed_during_an_execution(start, balancer):
    node = start.haproxy() if balancer == "haproxy" else None
    cleatd = start.cleatd(classes={"default": haproxy_class(node) if node else {}})
    api = cleatd.api
    s = api.ready()["session_id"]
    begun = start.shared / "begun"
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(api.execute, s, f"open('{begun}', 'w').close()\nimport time; time.sleep(300)")
        poll(begun.exists, 20, "the execution")
        killed_at = time.monotonic()
        os.kill(cleatd.pid_of(s), signal.SIGKILL)
        with pytest.raises(ApiError) as failed:
            running.result(timeout=20)
    assert time.monotonic() - killed_at < 10, "promptly, not at the execution's deadline"
    assert failed.value.code == "container_died" and failed.value.error["ran"] == "unknown", failed.value
    over = api.wait(s, "closed")
    assert over["stop_reason"] == "container_died", over
    assert {c["name"]: c["result"] for c in over["cleanup"]}["stop"] in ("ok", "skipped")
    poll(lambda: not [l for l in cleatd.leftovers() if l[0] != cleatd.process.pid], 20,
         "the end of what the container had started")
    assert node is None or node.servers() == {}
    with pytest.raises(ApiError) as refused:
        api.execute(s, "print(1)")
    assert refused.value.code == "session_closed"


def test_container_killed_while_idle(start):
    """Nobody executes: its death is noticed all the same, and the others go on."""
    cleatd = start.cleatd()
    api = cleatd.api
    dead, well = api.ready()["session_id"], api.ready()["session_id"]
    os.kill(cleatd.pid_of(dead), signal.SIGKILL)
    over = api.wait(dead, "closed")
    assert over["stop_reason"] == "container_died" and over["state"] in ("CLOSED", "FAILED")
    assert api.execute(well, "print('on')")["stdout"].strip() == "on"


def unhealthy(start, balancer, **options):
    """HAProxy, or None, and a cleatd whose containers answer 503 to each check."""
    node = start.haproxy() if balancer == "haproxy" else None
    (start.root / "seen").mkdir()
    command = [PYTHON, HERE / "plain_container.py", "--dir", start.root / "seen", "--health", 503]
    return node, start.cleatd(classes={"default": {
        **(haproxy_class(node) if node else {}), "command": command, "proof": "none", **options}})


@pytest.mark.parametrize("balancer", ["direct", "haproxy"])
def test_never_healthy(start, balancer):
    node, cleatd = unhealthy(start, balancer, start_timeout_s=2, launch_attempts=1)
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready()
    assert failed.value.code == "never_healthy" and failed.value.error["retryable"], failed.value
    assert failed.value.error["admitted"]
    (s,) = cleatd.api.sessions()
    over = cleatd.api.wait(s["session_id"], "closed")
    assert over["error"]["code"] == failed.value.code and over["executions"] == 0
    assert over["attempt_error"] == {"attempt": 1, **over["error"]}
    poll(lambda: not cleatd.containers_alive(), 20, "the unhealthy container's end")
    requests = (start.root / "seen" / "requests")
    assert not requests.exists() or b"/execute" not in requests.read_bytes()
    assert node is None or node.servers() == {}


@pytest.mark.parametrize("balancer", ["direct", "haproxy"])
def test_why_a_container_is_not_healthy(start, balancer):
    _, cleatd = unhealthy(start, balancer)
    api = cleatd.api
    session = api.create()["session_id"]
    reason = {"direct": "HTTP 503", "haproxy": "L7STS"}[balancer]
    seen = poll(lambda: (s := api.session(session))["target_reason"] == reason and s, 60, "a failed health check")
    assert seen["target"] == "checking" and seen["attempt_state"] == "CHECKING" and seen["attempt_error"] is None
    api.close(session)


def test_haproxy_restarted(start):
    """A HAProxy that restarts has forgotten servers and cookies: both come back."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)})
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(4))]
    for i in ids:
        api.execute(i, "print('before')")
    haproxy.kill()
    haproxy.start()
    poll(lambda: len([1 for _, status in haproxy.servers().values() if status.startswith("UP")]) == 4,
         30, "the targets' return")
    for i in ids:
        record, _ = execute_until_it_runs(api, i, "import os; print(os.getcwd())")
        assert i in record["stdout"] and record["total_executions"] == 2
    assert len(cleatd.launches()) == 4
    assert shared_connections(haproxy.requests()) == {}


def gaps_of_launches(session):
    starts = sorted({p["attempt"]: p["start_ms"] for p in session["phases"] if p["name"] == "launch"}.items())
    assert [n for n, _ in starts] == list(range(1, len(starts) + 1))
    times = [t for _, t in starts]
    return [b - a for a, b in zip(times, times[1:])]


@pytest.mark.parametrize("command", [["/bin/false"], ["/nonexistent/executor"]],
                         ids=["exits-at-once", "no-such-program"])
def test_backoff_grows_by_three(start, command):
    """Launch attempts that fail are repeated after base × 1, 3, 9, 27, and then it is over."""
    base = 60
    cleatd = start.cleatd(classes={"default": {
        "command": command, "launch_attempts": 5, "backoff_base_ms": base, "create_timeout_s": 60}})
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready()
    assert failed.value.code in ("launch_failed", "container_died"), failed.value
    (s,) = cleatd.api.sessions()
    s = cleatd.api.wait(s["session_id"], "closed")
    gaps = gaps_of_launches(s)
    assert len(gaps) == 4 and len(cleatd.launches()) == 5, s["phases"]
    for n, gap in enumerate(gaps):
        assert gap >= base * 3 ** n * 0.9, gaps  # the machine may add to it, never take away
    assert gaps == sorted(gaps) and gaps[3] > 2 * gaps[2] > 2 * gaps[1], gaps
    poll(lambda: not cleatd.containers_alive(), 10, "the end of the attempts")


def test_a_program_that_is_not_there(start):
    """posix_spawn itself fails: the class's own command, not a script around it."""
    cleatd = start.cleatd(classes={"default": {"launch_attempts": 2, "backoff_base_ms": 20}})
    cleatd.terminate()
    text = cleatd.config_path.read_text().replace(str(cleatd.classes["default"]["command"]), "/nonexistent/x")
    cleatd.config_path.write_text(text)
    try:
        cleatd.start()
    except AssertionError as refused:
        assert "/nonexistent/x" in str(refused), "refused at the start, with the reason"
        return
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready()
    assert failed.value.code == "launch_failed"
