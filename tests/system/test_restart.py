"""cleatd killed and started again: the same containers, the same sessions, nothing doubled."""

import concurrent.futures
import os
import signal
import uuid

import pytest

from cleat_harness import BUILD, HERE, PYTHON, ApiError, Cleatd, haproxy_class, in_parallel, poll


def gated_executor(root):
    """Becomes the executor when GATE/USER exists, where the class's environment cannot help: one
    gate for all containers that were started while it was closed."""
    script = root / "gated"
    script.write_text(
        "#!/bin/sh\n"
        f'if [ -e "{root}/closed" ]; then\n'
        f'    while [ -e "{root}/closed" ]; do sleep 0.05; done\n'
        "fi\n"
        f'exec "{BUILD}/cleat-executor"\n')
    script.chmod(0o755)
    return script


def attempt_states(api):
    return {s["session_id"]: (s["state"], s["attempt_state"]) for s in api.sessions()}


def test_killed_in_every_state(start):
    """One session in each state, SIGKILL, a new cleatd: every session goes on from where it was with
    the container it had."""
    haproxy = start.haproxy()
    (start.root / "plain").mkdir()
    health, info = start.root / "health-gate", start.root / "info-gate"
    plain = [PYTHON, HERE / "plain_container.py", "--dir", start.root / "plain"]
    common = haproxy_class(haproxy, backoff_base_ms=100)
    other = start.haproxy("haproxy-plain")
    third = start.haproxy("haproxy-gated")
    cleatd = start.cleatd(max_sessions=6, classes={
        "default": {**common, "command": [gated_executor(start.root)]},
        "checked": {**haproxy_class(other, backoff_base_ms=100), "proof": "none",
                    "command": [*plain, "--health-gate", health]},
        "routed": {**haproxy_class(third, backoff_base_ms=100), "proof": "none",
                   "command": [*plain, "--info-gate", info]},
    })
    api = cleatd.api
    names = {}

    def reach(name, state, attempt_state=None, **fields):
        fields["request_id"] = f"{name}-{uuid.uuid4()}"
        session = api.create(**fields)["session_id"]
        names[name] = (session, fields)
        poll(lambda: (lambda s: s["state"] == state and attempt_state in (None, s["attempt_state"]))(
            api.session(session)), 20, f"{name}: {state} {attempt_state}")
        return session

    done = api.close(reach("closed", "READY"))["session_id"]
    ready = reach("ready", "READY")
    api.execute(ready, "open('data/kept', 'w').write('kept')")
    busy = reach("busy", "READY")
    closing = reach("closing", "READY")
    api.execute(closing, "open('artifacts/a', 'w').write('a')")
    checking = reach("checking", "OPENING", "CHECKING", **{"class": "checked"})
    routing = reach("routing", "OPENING", "ROUTING", **{"class": "routed"})
    (start.root / "closed").touch()
    opening = reach("opening", "OPENING")
    queued = reach("queued", "QUEUED")
    cleatd.stop_process(closing)
    api.close(closing, wait=False)
    begun, go_on = start.shared / "begun", start.shared / "go-on"
    code = (f"open('{begun}', 'w').close()\nimport os, time\n"
            f"while not os.path.exists('{go_on}'): time.sleep(0.02)\nprint('done')")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lost = pool.submit(api.execute, busy, code, execution_id="across")
        poll(begun.exists, 20, "the execution")
        before = attempt_states(api)
        print({name: before[s] for name, (s, _) in names.items()})
        poll(lambda: len(cleatd.launches()) == 7, 10, "seven containers")
        launches = cleatd.launches()
        cleatd.kill()
        with pytest.raises(Exception):
            lost.result(timeout=20)
    assert len(cleatd.containers_alive()) == 6, "containers outlive cleatd"

    cleatd.start()
    for name in ("ready", "busy", "checking", "opening", "queued"):
        session, fields = names[name]
        again = api.create(**fields)
        assert (again["session_id"], again["created"]) == (session, False), name
    with pytest.raises(ApiError) as refused:
        api.create(**names["closed"][1])
    assert refused.value.status == 410
    assert cleatd.launches() == launches, "nothing was launched again"
    assert api.session(done)["state"] == "CLOSED"

    health.touch()
    info.touch()
    (start.root / "closed").unlink()
    cleatd.continue_process(closing)
    go_on.touch()
    api.wait(closing, "closed")
    assert cleatd.file_of(closing, "artifacts/a") == b"a"
    for session in (ready, busy, checking, routing, opening, queued):
        assert api.wait(session)["state"] in ("READY", "BUSY")
    assert api.execute(ready, "print(open('data/kept').read())")["stdout"].strip() == "kept"
    record = api.execute(busy, code, execution_id="across")
    assert record["stdout"].strip() == "done" and record["total_executions"] == 1, "it ran once"
    for session in (opening, queued):
        assert session in api.execute(session, "import os; print(os.getcwd())")["stdout"]
    by_session = {}
    for l in cleatd.launches():
        by_session.setdefault(l.session, []).append(l.pid)
    assert {s: len(pids) for s, pids in by_session.items()} == {s: 1 for s, _ in names.values()}
    assert api.isolation()["address_conflicts"] == 0


def test_an_execution_waits_for_one_from_before_the_restart(start):
    cleatd = start.cleatd()
    api = cleatd.api
    session = api.ready()["session_id"]
    begun, go_on = start.shared / "begun", start.shared / "go-on"
    code = (f"open('{begun}', 'w').close()\nimport os, time\n"
            f"while not os.path.exists('{go_on}'): time.sleep(0.02)\nopen('data/first', 'w').write('ended')")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(api.execute, session, code, execution_id="first")
        poll(begun.exists, 20, "the execution")
        cleatd.kill()
        with pytest.raises(Exception):
            first.result(timeout=20)
        cleatd.start()
        second = pool.submit(api.execute, session, "print(open('data/first').read())", execution_id="second")
        poll(lambda: second.done() or any("execution.waits" in line for line in cleatd.log_lines()), 20,
             "the container to have refused it")
        assert api.session(session)["state"] == "BUSY"
        go_on.touch()
        record = second.result(timeout=60)
    assert (record["stdout"], record["execution_num"]) == ("ended\n", 2), "in their order"
    assert api.execute(session, code, execution_id="first")["execution_num"] == 1, "its record is there"


def test_killed_again_and_again_while_sessions_open(start):
    """Five crashes at arbitrary moments of sixteen openings: sixteen sessions, one container each."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, backoff_base_ms=100)})
    requests = [f"r-{uuid.uuid4()}" for _ in range(16)]

    def ask(request_id):
        try:
            return cleatd.api.create(request_id=request_id)["session_id"]
        except (ApiError, OSError, ValueError):
            return None
        except Exception as e:  # http.client has many ways to say that the answer was cut off
            if type(e).__module__ != "http.client":
                raise
            return None

    for crash in range(5):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(ask, r) for r in requests]
            poll(lambda: len(cleatd.launches()) >= 3 * crash or all(a.done() for a in asked), 20, "some way")
            cleatd.kill()
        cleatd.start()
    sessions = in_parallel(lambda r: cleatd.api.ready(request_id=r), requests)
    assert len({s["session_id"] for s in sessions}) == 16
    assert len({s["address"] for s in sessions}) == 16
    alive = cleatd.containers_alive()
    assert sorted(l.session for l in alive) == sorted(s["session_id"] for s in sessions)
    for s in sessions:
        record = cleatd.api.execute(s["session_id"], "import os; print(os.getcwd())")
        assert s["session_id"] in record["stdout"] and record["total_executions"] == 1
    assert len(cleatd.api.sessions()) == 16 and len(haproxy.servers()) == 16


def test_sigterm_leaves_sessions_for_the_next_start(start):
    cleatd = start.cleatd()
    s = cleatd.api.ready()
    pid = cleatd.pid_of(s["session_id"])
    cleatd.terminate()
    assert [l.pid for l in cleatd.containers_alive()] == [pid]
    cleatd.start()
    assert cleatd.api.session(s["session_id"])["address"] == s["address"]
    assert cleatd.api.execute(s["session_id"], "print('on')")["stdout"].strip() == "on"
    assert cleatd.pid_of(s["session_id"]) == pid


def test_a_container_that_died_while_cleatd_was_away(start):
    import os
    import signal
    cleatd = start.cleatd()
    dead, well = (cleatd.api.ready()["session_id"] for _ in range(2))
    cleatd.kill()
    os.kill(cleatd.pid_of(dead), signal.SIGKILL)
    cleatd.start()
    assert cleatd.api.wait(dead, "closed")["stop_reason"] == "container_died"
    assert cleatd.api.execute(well, "print('on')")["stdout"].strip() == "on"


def test_two_cleatds_on_one_state_directory(start):
    cleatd = start.cleatd()
    import subprocess
    second = subprocess.run([cleatd.program, "--config", cleatd.config_path, "--socket",
                             start.root / "second"], capture_output=True, text=True, timeout=30)
    assert second.returncode != 0 and "AddressSanitizer" not in second.stderr
    assert cleatd.api.execute(cleatd.api.ready()["session_id"], "print(1)")["status"] == "completed"


# ---- signals while it starts


def held_start(start):
    """A cleatd that reads its configuration until the pipe is written and closed."""
    cleatd = start.add(Cleatd(start.root / "cleatd", max_sessions=1))
    cleatd.config_path.unlink()
    os.mkfifo(cleatd.config_path)
    cleatd.spawn()
    pipe = open(cleatd.config_path, "w")  # when the other end is open, too
    cleatd.config_path.unlink()
    return cleatd, pipe


def test_a_reload_during_the_start_is_not_lost(start):
    cleatd, pipe = held_start(start)
    cleatd.process.send_signal(signal.SIGHUP)
    with pipe:
        pipe.write(cleatd._config())
        cleatd.config_path.write_text(cleatd._config().replace('max_sessions = "1"', 'max_sessions = "2"'))

    def answers():
        if cleatd.process.poll() is None:
            cleatd.process.send_signal(signal.SIGHUP)
        return cleatd._answers()

    poll(answers, 30, "cleatd's /healthz")
    poll(lambda: [l for l in cleatd.log_lines() if "event=reload.changed" in l and "option=max_sessions" in l], 30,
         "the reload")
    for session in [cleatd.api.ready()["session_id"] for _ in range(2)]:
        cleatd.api.close(session)


def test_sigterm_during_the_start_ends_it(start):
    cleatd, pipe = held_start(start)
    cleatd.process.terminate()
    with pipe:
        assert cleatd.process.wait(timeout=30) == -signal.SIGTERM
    cleatd.config_path.write_text(cleatd._config())
    cleatd.start()
    cleatd.api.close(cleatd.api.ready()["session_id"])
