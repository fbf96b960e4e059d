"""Draining, the signals that end cleatd, and another configuration while sessions run."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading

import pytest

from cleat_harness import BUILD, ApiError, Cleatd, alive, in_parallel, poll
from peer_help import Peer
from test_store import refuses_to_start

PROGRAM = BUILD / "cleat"
STRANGER = 65530


def cli(cleatd, *arguments):
    return subprocess.run([PROGRAM, "--socket", cleatd.socket, *arguments], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"})


def refused(cleatd, **fields):
    with pytest.raises(ApiError) as caught:
        cleatd.api.create(**fields)
    assert (caught.value.status, caught.value.code) == (503, "draining"), caught.value
    assert caught.value.error["retryable"] and not caught.value.error["admitted"]


def log_has(cleatd, *words):
    return [line for line in cleatd.log_lines() if all(w in line for w in words)]


def test_a_drain_refuses_new_sessions_and_lets_the_open_ones_go_on(start):
    cleatd = start.cleatd(max_sessions=1)
    first = cleatd.api.ready(request_id="first")["session_id"]
    waiting = cleatd.api.create(request_id="waiting")
    assert waiting["state"] == "QUEUED"
    answer = cleatd.api.call("POST", "/v1/drain", {})
    assert answer["all"] and answer["sessions"] == 1
    ended = cleatd.api.wait(waiting["session_id"], "closed")
    assert ended["state"] == "FAILED" and ended["error"]["code"] == "draining"
    assert ended["stop_reason"] == "drained"
    refused(cleatd)
    assert cleatd.api.create(request_id="first")["session_id"] == first, "what there is, is given"
    assert cleatd.api.execute(first, "print(6*7)")["stdout"] == "42\n"
    assert cleatd.api.raw("GET", "/readyz")[0] == 503

    cleatd.kill()  # a crash does not end it
    cleatd.start()
    refused(cleatd)
    poll(lambda: cleatd.api.session(first)["state"] == "READY", 30, "the session after the crash")
    assert cleatd.api.call("DELETE", "/v1/drain")["all"] is False
    cleatd.api.close(first)
    again = cleatd.api.ready()
    cleatd.api.close(again["session_id"])


def test_one_tenant_is_drained_and_no_other(start):
    cleatd = start.cleatd()
    a = cleatd.api.ready(tenant="a")["session_id"]
    b = cleatd.api.ready(tenant="b")["session_id"]
    assert cli(cleatd, "drain", "--tenant", "a", "--no-wait").returncode == 0
    refused(cleatd, tenant="a")
    c = cleatd.api.ready(tenant="b")["session_id"]
    short = cli(cleatd, "drain", "--tenant", "a", "--timeout", "1")
    assert short.returncode == 4 and "1 session is still open" in short.stderr, short
    drained = cli(cleatd, "drain", "--tenant", "a", "--now")
    assert (drained.returncode, drained.stdout) == (0, "drained\n"), drained
    closed = cleatd.api.session(a)
    assert closed["state"] == "CLOSED" and closed["stop_reason"] == "drained"
    assert [cleatd.api.session(s)["state"] for s in (b, c)] == ["READY", "READY"]
    assert cli(cleatd, "drain", "--end", "--tenant", "a").returncode == 0
    cleatd.api.close(cleatd.api.ready(tenant="a")["session_id"])


def test_a_drain_waits_for_the_sessions_to_end(start):
    cleatd = start.cleatd()
    open_ones = [s["session_id"] for s in in_parallel(lambda _: cleatd.api.ready(), range(3))]
    waiter = subprocess.Popen([PROGRAM, "--socket", cleatd.socket, "drain"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    poll(lambda: cleatd.api.call("GET", "/v1/drain")["all"], 30, "the drain")
    assert waiter.poll() is None
    in_parallel(cleatd.api.close, open_ones)
    out, err = waiter.communicate(timeout=60)
    assert (waiter.returncode, out) == (0, "drained\n"), err
    assert "3 sessions are still open" in err


@pytest.mark.parametrize("whose", [(), ("--tenant", "default")], ids=["all", "tenant"])
def test_a_drain_that_somebody_ends_is_not_done(module_cleatd, whose):
    session = module_cleatd.api.ready()["session_id"]
    waiter = subprocess.Popen([PROGRAM, "--socket", module_cleatd.socket, "drain", *whose],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    poll(lambda: module_cleatd.api.call("GET", "/v1/drain")["sessions"], 30, "the drain")
    assert cli(module_cleatd, "drain", "--end", *whose).returncode == 0
    out, err = waiter.communicate(timeout=60)
    module_cleatd.api.close(session)
    assert (waiter.returncode, out) == (4, "") and err.endswith("cleat: drain: the drain was ended\n"), (out, err)


@pytest.mark.parametrize("body", ['{"now": 1}', '{"tenant": ""}', '{"tenant": 5}', '{"else": true}', '[]', '{'])
def test_a_drain_that_makes_no_sense_is_refused(module_cleatd, body):
    status, answer = module_cleatd.api.raw("POST", "/v1/drain", body, {"Content-Type": "application/json"})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert not module_cleatd.api.call("GET", "/v1/drain")["all"]


@pytest.fixture(scope="module")
def module_cleatd(module_start):
    return module_start.cleatd()


# ---- SIGTERM


def test_sigterm_drains_when_told_so(start):
    cleatd = start.cleatd(on_sigterm="drain")
    ids = [s["session_id"] for s in in_parallel(lambda _: cleatd.api.ready(), range(4))]
    for i in ids:
        cleatd.api.execute(i, "import os; os.makedirs('artifacts', exist_ok=True); open('artifacts/f', 'w').write('kept')")
    cleatd.terminate()
    assert not cleatd.containers_alive() and not cleatd.leftovers()
    assert all(cleatd.file_of(i, "artifacts/f") == b"kept" for i in ids)
    assert log_has(cleatd, "event=cleatd.drained")
    cleatd.start()  # and is no drain of the next one
    assert [cleatd.api.session(i)["stop_reason"] for i in ids] == ["drained"] * 4
    cleatd.api.close(cleatd.api.ready()["session_id"])


def slow_to_close(cleatd):
    """A session whose container does not answer: its cleanup waits for it."""
    session = cleatd.api.ready()["session_id"]
    cleatd.api.execute(session, "print(1)")
    cleatd.stop_process(session)
    return session


def test_a_second_sigterm_leaves_at_once(start):
    cleatd = start.cleatd(on_sigterm="drain")
    session = slow_to_close(cleatd)
    cleatd.process.send_signal(signal.SIGTERM)
    poll(lambda: log_has(cleatd, "event=drain.begin"), 30, "the drain")
    refused(cleatd)  # the API still answers
    assert cleatd.process.poll() is None
    cleatd.terminate()
    assert not log_has(cleatd, "event=cleatd.drained")
    cleatd.start()
    cleatd.continue_process(session)
    assert cleatd.api.wait(session, "closed")["state"] == "CLOSED"


def test_a_drain_that_takes_too_long_leaves_the_rest(start):
    cleatd = start.cleatd(on_sigterm="drain", drain_timeout_s=1)
    session = slow_to_close(cleatd)
    cleatd.terminate()
    assert log_has(cleatd, "event=cleatd.drain_timeout")
    cleatd.start()
    cleatd.continue_process(session)
    assert cleatd.api.wait(session, "closed")["state"] == "CLOSED"


# ---- SIGHUP


def test_what_is_drained_is_told(start):
    cleatd = start.cleatd()
    assert cli(cleatd, "drain", "--no-wait").returncode == 0
    assert cli(cleatd, "drain", "--no-wait", "--tenant", "a").returncode == 0
    assert cleatd.api.status()["drain"] == {"all": True, "sessions": 0, "queued": 0,
                                            "tenants": {"a": {"sessions": 0, "queued": 0}}}
    for query in ("tenent=a", "tenant="):  # a slip of the pen does not end the drain of all
        assert cleatd.api.raw("DELETE", f"/v1/drain?{query}")[0] == 400
    assert cleatd.api.status()["drain"]["all"]
    ended = cli(cleatd, "drain", "--end")
    assert ended.returncode == 0 and "tenant a is still drained" in ended.stderr
    assert cli(cleatd, "drain", "--end", "--tenant", "a").stderr == ""
    assert cleatd.api.status()["drain"] == {"all": False, "sessions": 0, "queued": 0, "tenants": {}}


def reread(cleatd, event="reload.done"):
    before = len(log_has(cleatd, f"event={event}"))
    cleatd.process.send_signal(signal.SIGHUP)
    poll(lambda: len(log_has(cleatd, f"event={event}")) > before, 30, event)


def reload(cleatd, event="reload.done", **changes):
    """Writes the changes into the file; a key with a dot is that of a class."""
    for key, value in changes.items():
        cleatd.options[key] = value
    cleatd.config_path.write_text(cleatd._config())
    reread(cleatd, event)


def test_sighup_takes_over_limits_without_a_session_noticing(start):
    cleatd = start.cleatd(max_sessions=1)
    running = cleatd.api.ready()["session_id"]
    pid = cleatd.pid_of(running)
    answers = []
    busy = threading.Thread(target=lambda: answers.append(
        cleatd.api.execute(running, "import sys\nprint(sys.stdin.read() if 0 else 'through', flush=True)\n"
                                    "import time; time.sleep(2); print('end')")))
    busy.start()
    poll(lambda: cleatd.api.session(running)["state"] == "BUSY", 30, "the execution")
    waiting = cleatd.api.create()["session_id"]
    assert cleatd.api.session(waiting)["state"] == "QUEUED"
    cleatd.classes["default"]["idle_timeout_s"] = 77
    reload(cleatd, max_sessions=2)
    assert cleatd.api.wait(waiting)["state"] == "READY", "the place that the reload made"
    assert log_has(cleatd, "event=reload.changed", "option=max_sessions", "from=1", "to=2")
    assert log_has(cleatd, "event=reload.changed", "class=default", "option=idle_timeout_s", "to=77")
    busy.join()
    assert answers[0]["stdout"] == "through\nend\n" and cleatd.pid_of(running) == pid
    cleatd.api.close(running)
    cleatd.api.close(waiting)


def test_sighup_says_what_needs_a_restart(start):
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    cleatd.classes["default"]["port"] = 8081
    cleatd.classes["more"] = {**cleatd.classes["default"]}
    reload(cleatd, owner="another", max_body_kb=64)
    told = log_has(cleatd, "event=reload.needs_restart")
    assert len(told) == 4, told
    for words in (("option=owner", "to=another"), ("option=max_body_kb", "to=64"),
                  ("class=default", "option=port", "to=8081"), ("class=more", 'option="a new class"')):
        assert [l for l in told if all(w in l for w in words)], (words, told)
    assert "need_restart=4" in log_has(cleatd, "event=reload.done")[-1]
    assert cleatd.api.execute(session, "print(1)")["stdout"] == "1\n"
    cleatd.options["owner"] = "cleat"
    reload(cleatd, owner="cleat")


def test_another_engine_or_owner_waits_for_the_last_container(start):
    """Nothing is known there of one that runs: taken for dead, it would live on for ever."""
    cleatd = start.cleatd()
    api, process = cleatd.api, cleatd.classes["default"]
    sessions = [api.ready()["session_id"] for _ in range(2)]
    pids = [cleatd.pid_of(s) for s in sessions]
    docker = {**process, "runtime": "docker", "docker_socket": "/nonexistent/docker.sock", "image": "i"}
    elsewhere = {**process, "workspace_dir": start.root / "elsewhere"}
    for owner, options, words in (("another", process, ["owner cleat, and owner is another now"]),
                                  ("cleat", docker, ['"process"', '"docker at /nonexistent/docker.sock" now']),
                                  ("cleat", elsewhere, ['"process"', 'default is of "process in /'])):
        cleatd.classes["default"] = options
        reload(cleatd, owner=owner)
        cleatd.terminate()
        before = len(log_has(cleatd, "event=journal.row"))
        refuses_to_start(cleatd, sessions[0], *words, "put it back", "cleat drain")
        told = log_has(cleatd, "event=journal.row")[before:]
        assert len(told) == 2 and all(s in line for s, line in zip(sessions, told)), told
        cleatd.classes["default"], cleatd.options["owner"] = process, "cleat"
        cleatd.config_path.write_text(cleatd._config())
        cleatd.start()
        for session, pid in zip(sessions, pids):
            assert api.wait(session)["state"] == "READY"
            assert api.execute(session, "print(1)")["stdout"] == "1\n"
            assert cleatd.pid_of(session) == pid and alive(pid)
    assert cli(cleatd, "drain", "--now").returncode == 0
    assert cli(cleatd, "drain", "--end").returncode == 0
    cleatd.terminate()
    cleatd.classes["default"], cleatd.options["owner"] = elsewhere, "another"
    cleatd.config_path.write_text(cleatd._config())
    cleatd.start()
    assert [api.session(s)["state"] for s in sessions] == ["CLOSED", "CLOSED"]
    assert api.execute(api.ready()["session_id"], "print(2)")["stdout"] == "2\n"


def test_a_file_with_a_mistake_changes_nothing(start):
    cleatd = start.cleatd(max_sessions=1)
    session = cleatd.api.ready()["session_id"]
    reload(cleatd, "reload.refused", max_sessions=0)
    assert re.search(r"max_sessions: 0 is not within", log_has(cleatd, "event=reload.refused")[-1])
    cleatd.options["max_sessions"] = 2
    cleatd.classes["default"]["input_sources"] = ["*=s3://bucket/in"]  # needs artifacts in S3
    reload(cleatd, "reload.refused")
    assert "input_sources" in log_has(cleatd, "event=reload.refused")[-1]
    waiting = cleatd.api.create()
    assert waiting["state"] == "QUEUED", "max_sessions is still 1"
    del cleatd.classes["default"]["input_sources"]
    reload(cleatd)
    assert cleatd.api.wait(waiting["session_id"])["state"] == "READY"
    cleatd.api.close(session)


def with_default_file(root):
    """A cleatd that reads the file of its build, and where that is: in a mount namespace of its own the
    directory is one of ours."""
    usage = subprocess.run([BUILD / "cleatd", "--help"], capture_output=True, text=True, check=True).stdout
    path = pathlib.Path(re.search(r"FILE is (/.*/cleatd\.conf),", usage).group(1))
    place = next(p for p in path.parents if p.exists())
    shutil.copytree(place, root / "etc", symlinks=True, ignore_dangling_symlinks=True)
    ours = root / "etc" / path.relative_to(place)
    ours.parent.mkdir(parents=True, exist_ok=True)
    program = root / "cleatd-of-the-default"
    program.write_text("#!/bin/sh\n[ $1 = --config ] && shift 2\nexec unshare -m sh -c 'mount --bind \"$0\" "
                       f"{place} && exec \"$@\"' {root / 'etc'} {BUILD / 'cleatd'} \"$@\"\n")
    program.chmod(0o755)
    return program, ours


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
@pytest.mark.parametrize("named", [True, False], ids=["named", "default"])
def test_a_file_that_is_gone_or_empty_changes_nothing(start, named):
    program, path = (None, None) if named else with_default_file(start.root)
    cleatd = start.add(Cleatd(start.root / "cleatd", program=program, socket_mode="0666",
                              peers=[f"uid:{STRANGER + 1}=tenant:blue"], max_sessions=1))
    cleatd.config_path = path or cleatd.config_path
    cleatd.config_path.write_text(cleatd._config())
    cleatd.start()
    stranger = start.add(Peer(cleatd.socket, STRANGER))
    session = cleatd.api.ready()["session_id"]
    cleatd.config_path.rename(start.root / "aside")
    reread(cleatd, "reload.refused")
    for text in ("", "# nothing\n"):
        cleatd.config_path.write_text(text)
        reread(cleatd, "reload.refused")
        assert stranger.raw("GET", "/v1/sessions")[0] == 403, "peers still holds"
        assert cleatd.api.create()["state"] == "QUEUED", "max_sessions is still 1"
    assert not log_has(cleatd, "event=reload.changed")
    (start.root / "aside").rename(cleatd.config_path)
    reload(cleatd, max_sessions=3)
    cleatd.api.close(session)
