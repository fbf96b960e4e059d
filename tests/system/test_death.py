"""Containers that die under their sessions, and others that only do not answer, on the runtime `process`."""

import concurrent.futures
import contextlib
import http.client
import os
import signal
import threading
import time

import pytest

from cleat_harness import ApiError, haproxy_class, in_parallel, poll
from death_help import check_closed, check_replaced, killed_during, make_source, open_session, options


@pytest.fixture(params=["direct", "haproxy"])
def where(request, start):
    """cleatd's factory with this balancer, and the input's URL."""
    node = start.haproxy() if request.param == "haproxy" else None
    source = make_source(start.root)

    def make(**values):
        chosen = {**(haproxy_class(node) if node else {}), **options(source, **values)}
        return start.cleatd(classes={"default": chosen})
    make.url, make.node = f"file://{source}", node
    return make


@pytest.mark.parametrize("policy", ["fail", "replace"])
def test_killed(where, policy):
    cleatd = where(on_death=policy)
    session = open_session(cleatd.api, where.url)
    with killed_during(cleatd.api, session,
                       lambda: os.kill(cleatd.pid_of(session), signal.SIGKILL), 10) as third:
        (check_closed if policy == "fail" else check_replaced)(cleatd.api, session, third)
    poll(lambda: len(cleatd.leftovers()) == 1, 20, "the end of what the container had started")
    assert not cleatd.containers_alive() and (where.node is None or where.node.servers() == {})
    if policy == "replace":
        assert cleatd.file_of(session, "artifacts/second") == b"y\n"


def test_busy_is_not_dead(where):
    """A stopped container answers nobody for longer than any probe waits. It is the same one that
    goes on, and what was asked of it meanwhile runs there."""
    cleatd = where(on_death="replace", dead_after_s=1)
    api = cleatd.api
    session = open_session(api, where.url)
    api.execute(session, "print('before')")
    cleatd.stop_process(session)

    def doubts():
        return [l for l in cleatd.log_lines() if "event=container.doubt" in l]

    def run(n):
        if n == 0:
            return api.execute(session, "print('asked meanwhile')", timeout_s=60)["stdout"]
        try:
            poll(doubts, 90, "a doubt")
            time.sleep(3)  # longer than dead_after_s: refused for as long it would be dead
        finally:
            cleatd.continue_process(session)
        return None
    assert in_parallel(run, range(2))[0] == "asked meanwhile\n"
    now = api.session(session)
    assert (now["attempt"], now["replacements"], len(cleatd.launches())) == (1, 0, 1), now
    assert api.execute(session, "print('after')")["total_executions"] == 3


def test_killed_while_cleatd_is_down(where):
    """The session has another container soon after the start."""
    cleatd = where(on_death="replace")
    api = cleatd.api
    session = open_session(api, where.url)
    api.execute(session, "open('artifacts/first', 'w').write('x')", execution_id="first")
    cleatd.kill()
    os.kill(cleatd.pid_of(session), signal.SIGKILL)
    cleatd.start()
    poll(lambda: api.session(session)["replacements"] == 1, 60, "another container")
    assert api.wait(session)["attempt"] == 2
    record = api.execute(session, "import os; print(os.environ['COLOUR'], len(os.listdir('input')))")
    assert record["stdout"] == "green 2\n"
    api.close(session)
    assert not cleatd.containers_alive()


@pytest.mark.parametrize("cleatd_lives", [True, False])
def test_a_repeat_after_the_end_does_not_say_that_it_never_ran(start, cleatd_lives):
    """Its caller was cut off while it ran, and its container died; one that was never sent did not run."""
    cleatd = start.cleatd()
    api = cleatd.api
    session, unused = api.ready()["session_id"], api.ready()["session_id"]
    code = "BASH:echo >artifacts/begun; sleep 600"

    def run():
        with contextlib.suppress(ApiError, OSError, http.client.HTTPException):
            api.execute(session, code, execution_id="first")
    threading.Thread(target=run, daemon=True).start()
    poll((cleatd.root / "state" / "workspaces" / f"cleat.{session}.1" / "home/artifacts/begun").exists, 20, "its begin")
    if not cleatd_lives:
        cleatd.kill()
    os.kill(cleatd.pid_of(session), signal.SIGKILL)
    if not cleatd_lives:
        cleatd.start()
    api.wait(session, "closed")
    api.close(unused)
    for id, ran in (session, "unknown"), (unused, "no"):
        with pytest.raises(ApiError) as refused:
            api.execute(id, code, execution_id="first")
        assert (refused.value.code, refused.value.error["ran"]) == ("session_closed", ran), refused.value


def test_a_repeat_that_was_not_sent_again_may_have_run(start):
    """cleatd dies while it runs; what is asked of the next one waits for the container, which dies, too."""
    cleatd = start.cleatd()
    api = cleatd.api
    session = api.ready()["session_id"]
    begun = cleatd.root / "state" / "workspaces" / f"cleat.{session}.1" / "home/artifacts/begun"

    def run():
        api.execute(session, "BASH:echo >artifacts/begun; sleep 600", execution_id="first")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        cut = pool.submit(run)
        poll(begun.exists, 20, "its begin")
        cleatd.kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            cut.result(30)
        cleatd.stop_process(session)
        cleatd.start()
        again = pool.submit(run)
        poll(lambda: api.session(session)["executions_queued"] == 1, 20, "the repeat")
        os.kill(cleatd.pid_of(session), signal.SIGKILL)
        with pytest.raises(ApiError) as failed:
            again.result(60)
    assert (failed.value.code, failed.value.error["ran"]) == ("container_died", "unknown"), failed.value


@pytest.mark.parametrize("policy", ["fail", "replace"])
def test_a_repeat_that_waits_or_finds_no_room_may_have_run(start, policy):
    """The first one runs, and its caller asks again: in the queue, and when that is full. Others, which
    surely were not sent, did not run."""
    cleatd = start.cleatd(classes={"default": {"on_death": policy}})
    api = cleatd.api
    session = api.ready()["session_id"]

    def run(id):
        name = {"execution_id": id} if id else {}
        with pytest.raises(ApiError) as failed:
            api.execute(session, "BASH:echo >artifacts/begun; sleep 600", **name)
        assert failed.value.error.get("reason") == ("max_executions" if failed.value.code == "full" else None)
        return failed.value.code, failed.value.error["ran"]

    def wait_for_queue(count):
        poll(lambda: api.session(session)["executions_queued"] == count, 20, f"{count} at once")
    api.execute(session, "print(1)", execution_id="earlier")
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        first = pool.submit(run, "first")
        poll((cleatd.root / "state" / "workspaces" / f"cleat.{session}.1" / "home/artifacts/begun").exists, 20,
             "its begin")
        repeats = [pool.submit(run, id) for id in ("first", "earlier")]
        wait_for_queue(3)
        others = [pool.submit(run, f"other-{i}") for i in range(61)]
        wait_for_queue(64)
        assert [run(id) for id in ("first", "earlier", "other-0", "another", None)] == [
            ("full", ran) for ran in ("unknown", "unknown", "unknown", "no", "no")]
        api.close(session)
        assert [f.result(60) for f in (first, *repeats)] == [("session_closed", "unknown")] * 3
        assert {f.result(60) for f in others} == {("session_closed", "no")}


def test_a_row_of_deaths_ends(where):
    """User code that kills its container each time: after launch_attempts the session is closed."""
    cleatd = where(on_death="replace", launch_attempts=3, backoff_base_ms=10)
    api = cleatd.api
    session = open_session(api, where.url)
    for _ in range(3):
        api.wait(session)
        os.kill(cleatd.pid_of(session), signal.SIGKILL)
        poll(lambda: api.session(session)["state"] not in ("READY", "BUSY"), 30, "the death to be seen")
    over = api.wait(session, "closed")
    assert (over["stop_reason"], len(cleatd.launches())) == ("container_died", 3), over


@pytest.mark.parametrize("cleatd_lives", [True, False])
def test_what_user_code_started_ends_with_its_container(start, cleatd_lives):
    """Without a sandbox, after setsid and a second fork, without environment: also while there is no
    cleatd."""
    cleatd = start.cleatd()
    api, mark = cleatd.api, str(600 + os.getpid())
    session = api.ready()["session_id"]

    def run():
        with contextlib.suppress(ApiError, OSError, http.client.HTTPException):
            api.execute(session, "BASH:(setsid env -i sleep %s <&- >&- 2>&- &); sleep 600" % mark)
    threading.Thread(target=run, daemon=True).start()

    def remains():
        return [e for e in os.listdir("/proc") if e.isdigit() and arguments(e) == ["sleep", mark]]
    poll(remains, 20, "what the execution started")
    if not cleatd_lives:
        cleatd.kill()
    os.kill(cleatd.pid_of(session), signal.SIGKILL)
    poll(lambda: not remains(), 20, "the end of what it started")
    if not cleatd_lives:
        cleatd.start()
    assert api.wait(session, "closed")["stop_reason"] == "container_died"


def arguments(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().rstrip("\0").split("\0")
    except OSError:
        return None
