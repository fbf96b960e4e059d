"""The container's contract against real cleat-executor processes, mostly as root in bubblewrap."""

import fcntl
import hashlib
import itertools
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import threading

import pytest

from executor_client import Client, DEADLINE_S, Executor, build_dir, wait_for

NOBODY = 65534
addresses = ("127.0.22.%d" % n for n in itertools.count(1))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def executors(tmp_path):
    """Makes executors that end with the test."""
    made = []

    def make(name="x", **options):
        root = tmp_path / name
        root.mkdir()
        root.chmod(0o755)
        made.append(Executor(next(addresses), str(root), **options))
        return made[-1]

    os.chmod(tmp_path, 0o755)
    for parent in list(tmp_path.parents)[:2]:  # pytest closes them for other users
        os.chmod(parent, 0o755)
    yield make
    for executor in made:
        executor.stop()


@pytest.fixture
def x(executors):
    return executors(CLEAT_SANDBOX_UID=str(NOBODY)).boot()


@pytest.fixture(params=["bwrap", "none"])
def each(request, executors):
    """One executor with each kind of sandbox."""
    return executors(CLEAT_SANDBOX=request.param, CLEAT_SANDBOX_UID=str(NOBODY)).boot()


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry) as line:
                    if int(line.read().rsplit(")", 1)[1].split()[1]) == pid:
                        found.append(int(entry))
            except (OSError, IndexError):
                pass
    return found


def descendants(pid):
    below = children(pid)
    return below + [deeper for child in below for deeper in descendants(child)]


def in_thread(function):
    result = {}
    thread = threading.Thread(target=lambda: result.update(value=function()), daemon=True)
    thread.start()

    def value():
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        return result["value"]
    return value


def write_file(path, content, owner=None):
    with open(path, "w") as file:
        file.write(content)
    if owner is not None and os.geteuid() == 0:
        os.chown(path, owner, owner)


# ---- start


def test_container_info(x):
    info = x.get("/container-info").json
    assert info["private_ip"] == x.address
    assert info["hostname"] == socket.gethostname()
    assert info["session_id"] == "s-1" and info["known_sessions"] == ["s-1"]
    assert info["attempt"] == 1 and info["busy"] is False
    assert info["executions_completed"] == 0
    assert info["executor"].startswith("cleat-executor/")
    assert info["sandbox"] in ("bwrap", "none")


def test_public_routes_need_no_proof_but_give_one(x):
    nonce = secrets.token_hex(16)
    for path in "/health", "/container-info":
        answer = x.raw("GET", path, headers={"X-Cleat-Nonce": nonce})
        assert answer.status == 200
        x.check(answer, nonce)
    bare = x.raw("GET", "/container-info")
    assert bare.status == 200 and bare.headers["X-Cleat-Proof"] is None
    assert bare.headers["X-Cleat-Session"] == "s-1"


@pytest.mark.parametrize("change, message", [
    ({"CLEAT_SECRET": None}, "CLEAT_SECRET is not set"),
    ({"CLEAT_SECRET": "zz"}, "64 hexadecimal digits"),
    ({"SESSION_ID": ""}, "SESSION_ID"),
    ({"SESSION_ID": "../x"}, "SESSION_ID"),
    ({"CLEAT_LISTEN": "8080"}, "CLEAT_LISTEN"),
    ({"CLEAT_LISTEN": "127.0.22.1:99999"}, "CLEAT_LISTEN"),
    ({"CLEAT_LISTEN": "192.0.2.1:8080"}, "192.0.2.1"),
    ({"CLEAT_WORKSPACE": "relative"}, "CLEAT_WORKSPACE"),
    ({"CLEAT_ARTIFACTS": "s3://bucket"}, "CLEAT_ARTIFACTS"),
    ({"CLEAT_SANDBOX": "jail"}, "auto | bwrap | none"),
    ({"CLEAT_MEMORY_MB": "-1"}, "CLEAT_MEMORY_MB"),
    ({"CLEAT_WORKSPACE": "/proc/nowhere"}, "/proc/nowhere"),
])
def test_refuses_to_start(executors, change, message):
    x = executors()
    for name, value in change.items():
        if value is None:
            del x.environment[name]
        else:
            x.environment[name] = value
    x.spawn()
    assert x.wait_exit() == 1
    assert message in x.log
    assert x.secret.hex() not in x.log


def test_refuses_arguments():
    done = subprocess.run([os.path.join(build_dir(), "cleat-executor"), "--what"],
                          capture_output=True, text=True, env={}, timeout=DEADLINE_S)
    assert done.returncode == 2 and "usage" in done.stderr


# ---- proof


def test_requests_without_proof_are_refused(x):
    body = json.dumps({"session_id": "s-1", "code": "open('ran', 'w')"}).encode()
    for method, path in (("POST", "/execute"), ("POST", "/session/complete"), ("GET", "/executions/a"),
                         ("POST", "/session/claim"), ("GET", "/session/complete"),
                         ("POST", "/file-sync"), ("GET", "/nothing")):
        answer = x.raw(method, path, body if method == "POST" else b"")
        assert answer.status == 403 and answer.code == "forbidden", path
        assert answer.headers["X-Cleat-Session"] == "s-1"
    assert x.get("/container-info").json["executions_completed"] == 0
    assert not os.path.exists(x.home + "/ran")


def test_forged_requests_are_refused(x):
    body = json.dumps({"session_id": "s-1", "code": "pass"}).encode()
    good = x.request_headers("POST", "/execute", body)
    forged = [
        dict(good, **{"X-Cleat-Proof": "0" * 64}),
        dict(good, **{"X-Cleat-Proof": good["X-Cleat-Proof"][:-1]}),
        dict(good, **{"X-Cleat-Nonce": secrets.token_hex(16)}),
        dict(good, **{"X-Cleat-Nonce": "short"}),
        dict(good, **{"X-Cleat-Attempt": "2"}),
        dict(good, **{"X-Cleat-Attempt": "1 1"}),
        x.request_headers("GET", "/execute", body),
        x.request_headers("POST", "/execute?x=1", body),
        x.request_headers("POST", "/execute", body + b" "),
        {name: value for name, value in good.items() if name != "X-Cleat-Nonce"},
    ]
    for headers in forged:
        answer = x.raw("POST", "/execute", body, headers)
        assert answer.status == 403, headers
        assert x.secret.hex().encode() not in answer.body
    assert x.get("/container-info").json["executions_completed"] == 0
    assert x.raw("POST", "/execute", body, good).status == 200


def test_another_sessions_request_is_refused_and_told_who_we_are(x):
    stranger = Client(x.address, x.port, "s-2", 1, secrets.token_bytes(32))
    nonce = secrets.token_hex(16)
    headers = stranger.request_headers("GET", "/container-info", b"", nonce)
    answer = x.raw("GET", "/container-info", headers=headers)
    assert answer.status == 403
    assert answer.headers["X-Cleat-Session"] == "s-1"
    x.check(answer, nonce)


def test_info_with_headers_must_have_them_right(x):
    good = x.request_headers("GET", "/container-info", b"")
    assert x.raw("GET", "/container-info", headers=good).status == 200
    bad = dict(good, **{"X-Cleat-Proof": "f" * 64})
    assert x.raw("GET", "/container-info", headers=bad).status == 403
    only_session = {"X-Cleat-Session": "s-1"}
    assert x.raw("GET", "/container-info", headers=only_session).status == 403


def test_replayed_request_does_nothing(x):
    body = json.dumps({"session_id": "s-1", "code": "print(1)"}).encode()
    headers = x.request_headers("POST", "/execute", body)
    assert x.raw("POST", "/execute", body, headers).status == 200
    again = x.raw("POST", "/execute", body, headers)
    assert again.status == 403 and "nonce" in again.json["error"]["message"]
    assert x.get("/container-info").json["executions_completed"] == 1


def test_body_of_another_session(x):
    assert x.post("/execute", {"session_id": "s-2", "code": "pass"}).status == 403
    assert x.call("POST", "/execute", {"code": "pass"}).status == 400
    assert x.post("/session/complete", {"session_id": "s-2"}).status == 403
    assert x.get("/health").json["executions_completed"] == 0


def test_secret_is_gone(each):
    secret = each.secret.hex()
    with open("/proc/%d/environ" % each.process.pid, "rb") as environ:
        assert secret.encode() not in environ.read()
    look = ("import glob, os\n"
            "seen = repr(dict(os.environ))\n"
            "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
            "    try: seen += open(path).read()\n"
            "    except OSError: pass\n"
            "print(len(seen))\n"
            "print('SECRET' if '%s' in seen else 'nothing')" % secret[:20].replace(secret[5], "'+'" + secret[5]))
    assert each.run(look)["stdout"].endswith("nothing\n")
    for folder, _, names in os.walk(each.workspace):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert secret.encode() not in file.read()
    assert secret not in each.log


def test_not_dumpable(x):
    """For another user the process' own files belong to root when it is not dumpable."""
    assert os.stat("/proc/%d/environ" % x.process.pid).st_uid == 0


def test_non_root_executor_is_not_readable_by_its_own_user(executors):
    x = non_root(executors)
    assert os.stat("/proc/%d/mem" % x.process.pid).st_uid == 0


# ---- execute


def test_python(each):
    result = each.run("import os\nprint('hello', os.getcwd() == os.environ['HOME'])")
    assert result["stdout"] == "hello True\n" and result["stderr"] == ""
    assert result["status"] == "completed" and result["error"] is None
    assert result["exit_code"] == 0 and result["signal"] is None
    assert result["execution_num"] == 1 and result["total_executions"] == 1
    assert result["timed_out"] is False and result["cancelled"] is False
    assert result["truncated"] == {"stdout": False, "stderr": False}
    assert result["execution_time_ms"] >= 0 and result["session_id"] == "s-1"
    assert each.run("print(2)")["execution_num"] == 2


def test_python_failure(each):
    result = each.run("def f():\n    raise ValueError('no luck')\nf()")
    assert result["status"] == "failed" and result["exit_code"] == 1
    assert result["error"] == "ValueError: no luck"
    assert "line 3, in <module>" in result["stderr"]
    assert "raise ValueError('no luck')" in result["stderr"]  # the source is found


def test_python_exit_codes(x):
    result = x.run("import sys; sys.exit(7)")
    assert (result["status"], result["exit_code"], result["error"]) == ("failed", 7, "exit code 7")
    assert x.run("import sys; sys.exit(0)")["status"] == "completed"
    assert x.run("syntax error here")["error"].startswith("SyntaxError")


def test_modules_are_found_in_home(each):
    each.run("open('mine.py', 'w').write('value = 42')")
    assert each.run("import mine; print(mine.value)")["stdout"] == "42\n"


def test_bash(each):
    result = each.run("BASH:echo $BASH_VERSION | wc -l; echo bad >&2; yes | head -1; exit 3")
    assert result["stdout"] == "1\ny\n" and result["stderr"] == "bad\n"
    assert result["exit_code"] == 3 and result["error"] == "exit code 3"
    assert result["status"] == "failed"


def test_argv(each):
    result = each.run(argv=["printf", "%s|", "a b", "", "c"])
    assert result["stdout"] == "a b||c|" and result["status"] == "completed"
    missing = each.run(argv=["no-such-program-here"])
    assert missing["status"] == "failed" and "no-such-program-here" in missing["stderr"]


def test_huge_argument_is_a_failed_execution(x):
    result = x.run(argv=["echo", "x" * 200000])
    assert result["status"] == "failed" and result["error"].startswith("could not start")
    assert result["exit_code"] is None
    assert x.run("print(1)")["stdout"] == "1\n"


def test_large_code(x):
    result = x.run("value = '%s'\nprint(len(value))" % ("x" * 2000000))
    assert result["stdout"] == "2000000\n"


def test_environment(x):
    result = x.run("import os; print(sorted(os.environ))", env={"MINE": "1", "LANG": "C"})
    for name in "HOME", "LANG", "MINE", "PATH", "SESSION_ID":
        assert "'%s'" % name in result["stdout"]
    assert "CLEAT" not in result["stdout"]
    assert x.run("import os; print(os.environ['MINE'])", env={"MINE": "a=b\nc"})["stdout"] == "a=b\nc\n"


@needs_root
def test_preloaded_library_is_loaded_by_user_code_only(executors):
    """A loader variable from the request must not act in what runs before the sandbox."""
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    result = x.run(argv=["true"], env={"LD_PRELOAD": "/workspace/none.so", "LD_DEBUG": "libs"})
    assert result["status"] == "completed"
    assert "cleat-executor" not in result["stderr"] and "libjansson" not in result["stderr"]


def test_signal(each):
    result = each.run("BASH:kill -SEGV $$")
    assert result["signal"] == signal.SIGSEGV and result["exit_code"] is None
    assert result["error"] == "killed by signal 11" and result["status"] == "failed"


def test_stdin_is_empty(x):
    assert x.run("import sys; print(repr(sys.stdin.read()))")["stdout"] == "''\n"


def test_deadline(each):
    result = each.run("import time\nprint('on')\ntime.sleep(600)", timeout_s=1)
    assert result["timed_out"] is True and result["status"] == "failed"
    assert result["error"] == "timed out after 1 s" and result["stdout"] == "on\n"
    assert result["signal"] == signal.SIGTERM


def test_deadline_gives_time_to_clean_up(each):
    result = each.run(
        "import signal, sys, time\n"
        "def stop(*_):\n    print('tidy'); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "time.sleep(600)", timeout_s=1)
    assert result["stdout"] == "tidy\n" and result["exit_code"] == 5 and result["timed_out"]


def test_deadline_kills_who_does_not_listen(each):
    result = each.run("BASH:trap '' TERM; while :; do read -t 1 < <(:); done", timeout_s=1)
    assert result["timed_out"] and result["signal"] == signal.SIGKILL
    assert result["execution_time_ms"] >= 3000


DAEMON = """
import os, time
for i in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            {action}
            time.sleep(600)
        os._exit(0)
print('started', flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["pass", "time.sleep(600)"])
def test_what_was_left_behind_is_ended(each, end):
    result = each.run(DAEMON.format(action="pass", end=end), timeout_s=2)
    assert "started" in result["stdout"]
    assert descendants(each.process.pid) == []
    assert each.run("print(1)")["stdout"] == "1\n"


def test_daemon_that_holds_the_output_does_not_hold_the_answer(each):
    result = each.run(DAEMON.format(action="print('mine', flush=True)", end="pass"), timeout_s=60)
    assert result["execution_time_ms"] < 30000 and result["timed_out"] is False


# ---- output


def test_output_limit(each):
    result = each.run("import sys\nsys.stdout.write('a' * 5000)\nsys.stderr.write('b' * 10)",
                      output_limit=1000)
    assert result["stdout"] == "a" * 1000 + "\n[output truncated: kept 1000 of 5000 bytes]\n"
    assert result["stderr"] == "b" * 10
    assert result["truncated"] == {"stdout": True, "stderr": False}


def test_fast_writer_does_not_fill_the_disk(x):
    result = x.run("BASH:yes | head -c 200000000")
    assert "kept 1048576 of 200000000 bytes" in result["stdout"][-80:]
    kept = os.path.join(x.workspace, "debug/executions/1.stdout")
    assert os.path.getsize(kept) == 1 << 20
    assert result["status"] == "completed"


def test_bytes_that_are_not_text(x):
    result = x.run("import sys; sys.stdout.buffer.write(b'a\\xff\\xe2\\x82\\xc3\\xa4\\x00b')")
    assert result["stdout"] == "a\ufffd\ufffd\ufffd\u00e4\ufffdb"


def test_record_on_disk(x):
    result = x.run("print('kept')", execution_id="e-1")
    with open(os.path.join(x.workspace, "debug/executions/1.json")) as record:
        saved = json.load(record)
    for key in "execution_id", "status", "exit_code", "execution_num", "execution_time_ms":
        assert saved[key] == result[key]
    with open(os.path.join(x.workspace, "debug/executions/1.stdout")) as kept:
        assert kept.read() == "kept\n"


def test_output_while_it_runs(x):
    ident = x.start("import sys, time\nsys.stdout.write('abc\\n')\n"
                    "sys.stderr.write('bad\\n')\nsys.stdin.read()\ntime.sleep(600)")
    first = x.output(ident, wait_s=20)
    assert first.body == b"abc\n" and first.headers["X-Cleat-Offset"] == "4"
    assert first.headers["X-Cleat-End"] == "false"
    assert first.headers["Content-Type"] == "application/octet-stream"
    assert x.output(ident, "stderr", wait_s=20).body == b"bad\n"
    assert x.output(ident, offset=2).body == b"c\n"
    assert x.output(ident, offset=4).body == b""
    assert x.record(ident)["status"] == "running" and x.record(ident)["stdout"] == "abc\n"
    assert x.get("/container-info").json["busy"] is True
    waits = in_thread(lambda: x.output(ident, offset=4, wait_s=60))
    x.post("/executions/%s/cancel" % ident)
    end = waits()
    assert end.body == b"" and end.headers["X-Cleat-End"] == "true"


def test_output_wait_expires(x):
    ident = x.start("import time; time.sleep(600)")
    answer = x.output(ident, wait_s=1)
    assert answer.status == 200 and answer.body == b"" and answer.headers["X-Cleat-End"] == "false"


def test_output_comes_in_pieces(x):
    ident = x.run("print('x' * 700000)")["execution_id"]
    seen, answer = b"", None
    while answer is None or answer.headers["X-Cleat-End"] == "false":
        answer = x.output(ident, offset=len(seen))
        assert 0 < len(answer.body) <= 262144
        seen += answer.body
    assert seen == b"x" * 700000 + b"\n"


def test_bad_output_requests(x):
    ident = x.run("pass")["execution_id"]
    for query in ("", "?stream=x", "?stream=stdout&offset=-1", "?stream=stdout&offset=x",
                  "?stream=stdout&wait_s=61", "?stream=stdout&offset=99999999999999999999"):
        assert x.get("/executions/%s/output%s" % (ident, query)).status == 400, query
    assert x.get("/executions/none/output?stream=stdout").status == 404
    assert x.get("/executions/none").status == 404
    assert x.post("/executions/none/cancel").status == 404
    assert x.get("/executions/").status == 404
    assert x.get("/nothing").status == 404


# ---- once


def test_same_id_runs_once(x):
    first = x.run("open('log', 'a').write('x'); print('done')", execution_id="e-1")
    again = x.run("open('log', 'a').write('x'); print('done')", execution_id="e-1")
    assert first == again
    assert x.run("print(open('log').read())")["stdout"] == "x\n"


def test_same_id_at_the_same_time_runs_once(x):
    code = "import time\nopen('log', 'a').write('x')\nprint('in', flush=True)\ntime.sleep(1)"
    answers = [in_thread(lambda: x.run(code, execution_id="e-1")) for _ in range(4)]
    documents = [answer() for answer in answers]
    assert all(document == documents[0] for document in documents)
    assert documents[0]["status"] == "completed"
    assert x.run("print(open('log').read())")["stdout"] == "x\n"


def test_same_id_other_body(x):
    x.run("print(1)", execution_id="e-1")
    answer = x.execute("print(2)", execution_id="e-1")
    assert answer.status == 409 and answer.code == "conflict"
    assert x.execute("print(1)", execution_id="e-1", timeout_s=5).status == 409
    assert x.execute("print(1)", execution_id="e-1", wait_s=5).status == 200


def test_another_id_while_one_runs(x):
    x.start("import time; time.sleep(600)", execution_id="e-1")
    answer = x.execute("print(2)", execution_id="e-2")
    assert answer.status == 409 and "e-1" in answer.json["error"]["message"]
    assert x.get("/executions/e-2").status == 404
    assert x.post("/executions/e-1/cancel").status == 200
    assert x.execute("print(2)", execution_id="e-2").status == 200


def test_wait_gives_202_then_the_record(x):
    answer = x.execute("import time\ntime.sleep(2)\nprint('late')", execution_id="e-1", wait_s=1)
    assert answer.status == 202
    assert answer.json["status"] == "running" and answer.json["execution_id"] == "e-1"
    assert answer.json["execution_time_ms"] >= 1000
    again = x.execute("import time\ntime.sleep(2)\nprint('late')", execution_id="e-1", wait_s=30)
    assert again.status == 200 and again.json["stdout"] == "late\n"


def test_client_that_goes_away_changes_nothing(x):
    body = json.dumps({"session_id": "s-1", "execution_id": "e-1",
                       "code": "import time\nprint('in', flush=True)\ntime.sleep(1)\nprint('out')"})
    headers = x.request_headers("POST", "/execute", body.encode())
    connection = x.connect()
    connection.request("POST", "/execute", body, headers)
    wait_for(lambda: x.get("/executions/e-1").status == 200, "the start")
    connection.close()
    assert x.ended("e-1")["stdout"] == "in\nout\n"


def test_cancel(each):
    ident = each.start("import time\nprint('in', flush=True)\ntime.sleep(600)")
    each.wait_output(ident, "in")
    waits = in_thread(lambda: each.execute(
        "import time\nprint('in', flush=True)\ntime.sleep(600)", execution_id=ident))
    cancelled = each.post("/executions/%s/cancel" % ident)
    assert cancelled.status == 200
    document = cancelled.json
    assert document["cancelled"] is True and document["status"] == "failed"
    assert document["error"] == "cancelled" and document["stdout"] == "in\n"
    assert waits().json == document
    assert each.post("/executions/%s/cancel" % ident).json == document
    assert descendants(each.process.pid) == []


def test_cancel_at_once(each):
    ident = each.start("import time\ntime.sleep(600)")
    assert each.post("/executions/%s/cancel" % ident).json["cancelled"] is True


@pytest.mark.parametrize("fields", [
    {}, {"code": "pass", "argv": ["true"]}, {"code": 5}, {"argv": []}, {"argv": [1]}, {"argv": [""]},
    {"argv": "ls"}, {"code": "pass", "timeout_s": 0}, {"code": "pass", "timeout_s": 86401},
    {"code": "pass", "timeout_s": "5"}, {"code": "pass", "timeout_s": 1.5},
    {"code": "pass", "output_limit": 67108865}, {"code": "pass", "output_limit": -1},
    {"code": "pass", "wait_s": 61}, {"code": "pass", "env": {"A": 1}}, {"code": "pass", "env": []},
    {"code": "pass", "env": {"A=B": "1"}}, {"code": "pass", "env": {"": "1"}},
    {"code": "pass", "env": {"A": "x" * 70000}}, {"code": "pass", "execution_id": ""},
    {"code": "pass", "execution_id": "a/b"}, {"code": "pass", "execution_id": "x" * 129},
    {"code": "a\0b"},
])
def test_bad_execute(x, fields):
    answer = x.execute(**fields)
    assert answer.status == 400 and answer.code == "invalid_request", answer.body
    assert x.get("/health").json["executions_completed"] == 0


def test_unknown_fields_are_ignored(x):
    assert x.run("print(1)", language="python", user="u")["stdout"] == "1\n"


def test_body_that_is_no_object(x):
    for body in (b"", b"[]", b"{", b'{"session_id": "s-1", "session_id": "s-1"}', b"\xff\xfe"):
        headers = x.request_headers("POST", "/execute", body)
        assert x.raw("POST", "/execute", body, headers).status == 400, body


def test_health_answers_while_busy(x):
    ident = x.start("while True: pass")
    for _ in range(20):
        assert x.raw("GET", "/health", timeout=5).status == 200
    x.post("/executions/%s/cancel" % ident)


# ---- sandbox


@needs_root
def test_user_code_has_another_uid_outside(each):
    ident = each.start("import time; print('in', flush=True); time.sleep(600)")
    each.wait_output(ident, "in")
    for pid in descendants(each.process.pid):
        with open("/proc/%d/status" % pid) as status:
            fields = dict(line.split(":", 1) for line in status)
        assert fields["Uid"].split() == [str(NOBODY)] * 4
        assert fields["Gid"].split() == [str(NOBODY)] * 4
        assert fields["Groups"].split() == []
    assert descendants(each.process.pid)


@needs_root
def test_cannot_read_what_root_can(each):
    for path in "/etc/shadow", each.workspace + "/debug/executions/1.stdout", each.workspace + "/lock":
        with open(each.workspace + "/lock", "w"):
            os.chmod(each.workspace + "/lock", 0o600)
        result = each.run("print(open(%r).read())" % path)
        assert result["status"] == "failed"
        assert result["error"].startswith(("PermissionError", "FileNotFoundError"))


def need_bwrap(x):
    if x.get("/container-info").json["sandbox"] != "bwrap":
        pytest.skip("bubblewrap does not work here")


def test_sees_only_its_own_workspace(executors):
    one, two = (executors(name, CLEAT_SANDBOX_UID=str(NOBODY)).boot() for name in ("one", "two"))
    need_bwrap(one)
    write_file(two.home + "/private", "two's", NOBODY)
    result = one.run("import os\n"
                     "print(sorted(os.listdir('/')), sorted(os.listdir('/workspace')), os.listdir('/tmp'))\n"
                     "print(os.path.exists(%r), os.path.exists(%r))" % (two.home, one.workspace))
    top, seen = result["stdout"].splitlines()
    assert "'workspace'" in top and "'root'" not in top and "'home'" not in top
    assert "['artifacts', 'data', 'input']" in top
    assert seen == "False False"


def test_system_is_read_only(x):
    need_bwrap(x)
    for path in "/usr/x", "/etc/x", "/run/cleat/execution-1.py", "/bin/x":
        result = x.run("open(%r, 'w')" % path)
        assert result["status"] == "failed", path
    assert not os.path.exists("/usr/x")


def test_process_and_ipc_namespaces(x):
    need_bwrap(x)
    ident = x.start("import os, time\n"
                    "print(len([p for p in os.listdir('/proc') if p.isdigit()]), flush=True)\n"
                    "time.sleep(600)")
    x.wait_output(ident, "\n")
    assert int(x.output(ident).body) <= 3
    inner = descendants(x.process.pid)[-1]
    for space in "pid", "mnt", "ipc", "net", "user":
        outside = os.readlink("/proc/%d/ns/%s" % (x.process.pid, space))
        assert os.readlink("/proc/%d/ns/%s" % (inner, space)) != outside


LIST_NETWORK = "import socket; print([name for _, name in socket.if_nameindex()])"


def test_network_none(x):
    need_bwrap(x)
    assert x.run(LIST_NETWORK)["stdout"] == "['lo']\n"
    reach = "import socket; socket.create_connection((%r, 8080), 5)" % x.address
    assert x.run(reach)["status"] == "failed"
    assert x.get("/container-info").json["network"] == "none"


def test_network_host(executors):
    x = executors(CLEAT_NETWORK="host", CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    need_bwrap(x)
    names = str([name for _, name in socket.if_nameindex()])
    assert x.run(LIST_NETWORK)["stdout"] == names + "\n"
    reach = "import socket; socket.create_connection((%r, 8080), 5)" % x.address
    assert x.run(reach)["status"] == "completed"


def non_root(executors, name="user", **more):
    """An executor that is no root: its tree belongs to that user."""
    x = executors(name, user=NOBODY if os.geteuid() == 0 else 0, **more)
    if os.geteuid() == 0:
        os.makedirs(x.workspace)
        os.makedirs(x.artifacts)
        for path in os.path.dirname(x.workspace), x.workspace, x.artifacts:
            os.chown(path, NOBODY, NOBODY)
        os.chmod(x.workspace, 0o700)
        with open(x.log_path, "w"):
            os.chown(x.log_path, NOBODY, NOBODY)
    return x.boot()


@pytest.mark.parametrize("sandbox", ["bwrap", "none"])
def test_executor_that_is_not_root(executors, sandbox):
    x = non_root(executors, CLEAT_SANDBOX=sandbox)
    assert x.run("open('artifacts/a', 'w').write('A'); print('ok')")["stdout"] == "ok\n"
    assert x.run(DAEMON.format(action="pass", end="pass"))["status"] == "completed"
    assert descendants(x.process.pid) == []
    assert x.complete().json["upload_completed"] is True
    assert "artifacts/a" in [file["path"] for file in x.manifest()["files"]]


@needs_root
@pytest.mark.parametrize("sandbox", ["auto", "bwrap"])
def test_without_bubblewrap(executors, sandbox):
    x = executors(CLEAT_SANDBOX=sandbox, CLEAT_SANDBOX_UID=str(NOBODY))
    libc = __import__("ctypes").CDLL(None, use_errno=True)
    before = x._before_exec

    def without_bwrap():  # /dev/null in place of the program, in a mount namespace of its own
        assert libc.unshare(0x00020000) == 0
        assert libc.mount(None, b"/", None, (1 << 18) | 16384, None) == 0
        assert libc.mount(b"/dev/null", b"/usr/bin/bwrap", None, 4096, None) == 0
        before()

    x._before_exec = without_bwrap
    if sandbox == "bwrap":
        x.spawn()
        assert x.wait_exit() == 1
        assert "CLEAT_SANDBOX=bwrap does not work here" in x.log
    else:
        x.boot()
        info = x.get("/container-info").json
        assert info["sandbox"] == "none" and info["network"] == "host"
        assert "sandbox.none" in x.log
        assert x.run("print(1)")["stdout"] == "1\n"


@needs_root
def test_unreachable_home_is_said_at_start(executors, tmp_path):
    x = executors(CLEAT_SANDBOX="none", CLEAT_SANDBOX_UID=str(NOBODY))
    os.chmod(os.path.dirname(x.workspace), 0o700)
    x.spawn()
    assert x.wait_exit() == 1
    assert "cannot use" in x.log and "home" in x.log


@needs_root
def test_closed_parents_do_not_matter_to_bubblewrap(executors):
    x = executors(CLEAT_SANDBOX="bwrap", CLEAT_SANDBOX_UID=str(NOBODY))
    os.chmod(os.path.dirname(x.workspace), 0o700)
    x.boot()
    assert x.run("open('f', 'w').write('1'); print(open('f').read())")["stdout"] == "1\n"
    assert os.stat(x.home + "/f").st_uid == NOBODY


def test_lock_is_not_held_by_user_code(executors, tmp_path):
    path = tmp_path / "lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    x = executors(CLEAT_SANDBOX="none", lock_fd=lock).boot()
    os.close(lock)
    ident = x.start("import os, time\nprint(os.listdir('/proc/self/fd'), flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "]")
    left = descendants(x.process.pid)
    for pid in left:
        fds = [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)]
        assert str(path) not in fds
    probe = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    x.process.kill()
    x.process.wait()
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)  # though user code may still run
    finally:
        os.close(probe)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def test_user_code_dies_with_the_executor_in_bubblewrap(x):
    need_bwrap(x)
    ident = x.start(DAEMON.format(action="pass", end="time.sleep(600)"))
    x.wait_output(ident, "started")
    left = descendants(x.process.pid)
    assert len(left) >= 8
    x.process.kill()
    x.process.wait()
    wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in left), "their end")


def test_user_code_dies_with_the_executor_without_sandbox(executors):
    x = executors(CLEAT_SANDBOX="none", CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    ident = x.start("import time\nprint('in', flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "in")
    left = descendants(x.process.pid)
    x.process.kill()
    x.process.wait()
    wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in left), "their end")


# ---- limits


def test_waiters_are_bounded(x):
    ident = x.start("import time; time.sleep(600)")
    target = "/executions/%s/output?stream=stdout&wait_s=60" % ident
    waiting = []
    for _ in range(128):
        waiting.append(x.connect())
        waiting[-1].request("GET", target, headers=x.request_headers("GET", target, b""))
    refused = wait_for(lambda: (lambda a: a.status == 429 and a)(x.output(ident, wait_s=1)), "429")
    assert refused.code == "full" and refused.json["error"]["retryable"] is True
    x.post("/executions/%s/cancel" % ident)
    for connection in waiting:  # the one that had to wait a second may have held a place
        assert connection.getresponse().status in (200, 429)
        connection.close()


def test_records_that_cannot_be_written(x):
    directory = x.workspace + "/debug/executions"
    os.rename(directory, directory + "-away")
    result = x.run("print(1)")
    assert result["status"] == "failed" and result["error"].startswith("could not start")
    assert "execution.record_lost" in x.log
    os.rename(directory + "-away", directory)
    assert x.run("print(1)")["stdout"] == "1\n"


def test_limits(executors):
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY), CLEAT_MEMORY_MB="300", CLEAT_FILE_SIZE_MB="2",
                  CLEAT_OPEN_FILES="64", CLEAT_CPU_S="50").boot()
    assert x.run("x = bytearray(600 << 20)")["error"].startswith("MemoryError")
    big = x.run("open('big', 'wb').write(b'x' * (3 << 20))")
    assert big["status"] == "failed" and "File too large" in big["error"]
    assert os.path.getsize(x.home + "/big") <= 2 << 20
    many = x.run("files = [open('/dev/null') for _ in range(100)]")
    assert "Too many open files" in many["error"]
    shown = x.run("BASH:ulimit -t; ulimit -n; ulimit -v; ulimit -c")["stdout"].split()
    assert shown == ["50", "64", str(300 * 1024), "0"]
    assert x.run("print('x' * 3000000)", output_limit=4000000)["stdout"] == "x" * 3000000 + "\n"


def test_cpu_limit(executors):
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY), CLEAT_CPU_S="1").boot()
    result = x.run("while True: pass", timeout_s=60)
    assert result["signal"] in (signal.SIGXCPU, signal.SIGKILL) and not result["timed_out"]


@needs_root
def test_process_limit(executors):
    x = executors(CLEAT_SANDBOX_UID="54321", CLEAT_PROCESSES="20").boot()
    result = x.run("import os, time\n"
                   "try:\n"
                   "    for n in range(100):\n"
                   "        if os.fork() == 0: time.sleep(600)\n"
                   "except OSError as e: print('stopped', n, e)")
    assert result["stdout"].startswith("stopped") and int(result["stdout"].split()[1]) < 20
    assert descendants(x.process.pid) == []


def test_temporary_files_are_bounded(executors):
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY), CLEAT_MEMORY_MB="200").boot()
    need_bwrap(x)
    for place in "/tmp", "/dev/shm":
        code = "with open('%s/x', 'wb') as f:\n  for _ in range(300): f.write(b'x' * (1 << 20))" % place
        assert "No space left" in x.run(code)["error"]


# ---- complete


def make_artifacts(x):
    x.run("import os\n"
          "open('artifacts/a.txt', 'w').write('alpha')\n"
          "os.makedirs('artifacts/deep/er')\n"
          "open('artifacts/deep/er/b.bin', 'wb').write(bytes(range(256)) * 5000)\n"
          "open('data/d.csv', 'w').write('1,2')\n"
          "open('artifacts/empty', 'w')\n"
          "open('elsewhere', 'w').write('stays')")


def test_complete(each):
    make_artifacts(each)
    answer = each.complete()
    assert answer.status == 200
    done = answer.json
    assert done["upload_completed"] is True and done["session_id"] == "s-1"
    assert done["manifest"] == each.store + "/manifest.json"
    manifest = each.manifest()
    assert manifest["session_id"] == "s-1" and manifest["attempt"] == 1
    assert manifest["nonce"] == "n-1" and manifest["skipped"] == []
    files = {file["path"]: file for file in manifest["files"]}
    assert {"artifacts/a.txt", "artifacts/deep/er/b.bin", "artifacts/empty", "data/d.csv",
            "debug/session_status.json", "debug/executions/1.json"} <= set(files)
    assert "elsewhere" not in str(files)
    assert done["files"] == len(files) and done["bytes"] == manifest["bytes"]
    assert manifest["bytes"] == sum(file["size"] for file in manifest["files"])
    for path, file in files.items():
        with open(os.path.join(each.store, path), "rb") as copy:
            content = copy.read()
        assert hashlib.sha256(content).hexdigest() == file["sha256"] and len(content) == file["size"]
    on_disk = [os.path.relpath(os.path.join(folder, name), each.store)
               for folder, _, names in os.walk(each.store) for name in names]
    assert sorted(on_disk) == sorted(list(files) + ["manifest.json"])  # no temporary name is left


def test_complete_is_idempotent_and_closes(x):
    make_artifacts(x)
    first = x.complete().json
    stamp = os.stat(x.store + "/manifest.json")
    assert x.complete().json == first
    again = os.stat(x.store + "/manifest.json")
    assert (stamp.st_ino, stamp.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)
    refused = x.execute("print(1)")
    assert refused.status == 409 and refused.code == "session_closed"
    assert x.post("/session/claim").status == 409
    health = x.raw("GET", "/health")
    assert health.status == 503 and health.json["status"] == "complete"
    assert health.json["session_id"] == "s-1"


def test_records_can_be_read_after_complete(x):
    first = x.run("print(1)", execution_id="e-1")
    x.complete()
    assert x.run("print(1)", execution_id="e-1") == first


def test_complete_async(x):
    make_artifacts(x)
    assert x.get("/session/complete").json["state"] == "none"
    answer = x.complete(headers={"Prefer": "respond-async, wait=10"})
    assert answer.status == 202 and answer.json == {"state": "running"}

    def done():
        assert x.raw("GET", "/health").status == 200  # nobody read the confirmation yet
        state = x.get("/session/complete").json
        assert state["state"] in ("running", "done")
        return state["state"] == "done" and state
    state = wait_for(done, "the upload")
    assert state["upload_completed"] is True and state["files"] == state["files_done"] > 0
    assert state["bytes"] == state["bytes_done"] > 0
    assert x.raw("GET", "/health").status == 503


def test_completes_share_one_upload(x):
    make_artifacts(x)
    answers = [in_thread(x.complete) for _ in range(4)]
    documents = [answer().json for answer in answers]
    assert all(document == documents[0] for document in documents)
    assert x.log.count("upload.done") == 1


def test_complete_ends_the_running_execution_first(x):
    ident = x.start("import signal, sys, time\n"
                    "def stop(*_):\n"
                    "    time.sleep(0.5); open('artifacts/last', 'w').write('whole'); sys.exit(0)\n"
                    "signal.signal(signal.SIGTERM, stop)\n"
                    "print('in', flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "in")
    assert x.complete().status == 200
    assert x.record(ident)["cancelled"] is True
    with open(x.store + "/artifacts/last") as copy:
        assert copy.read() == "whole"
    with open(x.store + "/debug/executions/1.json") as copy:
        assert json.load(copy)["cancelled"] is True


def test_failed_complete_can_be_asked_again(executors):
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY))
    write_file(x.artifacts, "a file where a directory must be")
    x.boot()
    make_artifacts(x)
    answer = x.complete()
    assert answer.status == 500 and answer.json["upload_completed"] is False
    assert x.artifacts in answer.json["error"]
    assert x.get("/session/complete").json["state"] == "failed"
    assert x.raw("GET", "/health").status == 200
    assert x.execute("print(1)").status == 409
    os.unlink(x.artifacts)
    again = x.complete()
    assert again.status == 200 and again.json["upload_completed"] is True
    assert x.raw("GET", "/health").status == 503


def test_upload_that_dies_can_be_repeated(x):
    x.run("open('artifacts/big', 'w').truncate(800 << 20)")
    assert x.complete(headers={"Prefer": "respond-async"}).status == 202

    def upload():
        for pid in children(x.process.pid):
            with open("/proc/%d/cmdline" % pid) as line:
                if "--upload" in line.read():
                    return pid
    pid = wait_for(upload, "the upload's process")
    wait_for(lambda: x.get("/session/complete").json["bytes_done"] > 1 << 20, "the big file")
    os.kill(pid, signal.SIGSTOP)
    assert ".upload.new" in os.listdir(x.store)  # it is in the middle of it
    waits = in_thread(x.complete)
    assert x.get("/session/complete").json["state"] == "running"
    assert x.raw("GET", "/health").status == 200
    assert not os.path.exists(x.store + "/manifest.json")
    os.kill(pid, signal.SIGKILL)
    failed = waits()
    assert failed.status == 500 and "status 9" in failed.json["error"]
    assert x.get("/session/complete").json["error"] == failed.json["error"]
    assert x.complete().json["upload_completed"] is True
    assert sorted(os.listdir(x.store)) == ["artifacts", "debug", "manifest.json"]
    assert sorted(os.listdir(x.store + "/artifacts")) == ["big"]


def test_complete_without_a_store(executors):
    x = executors(CLEAT_ARTIFACTS="").boot()
    x.run("print(1)")
    done = x.complete().json
    assert done["upload_completed"] is True and done["files"] == 0 and done["manifest"] is None


def test_nothing_but_plain_files_is_uploaded(each):
    write_file(each.artifacts + "-secret", "private")
    os.chmod(each.artifacts + "-secret", 0o600)
    each.run("import os, socket\n"
             "os.chdir('artifacts')\n"
             "os.symlink('/etc/shadow', 'link')\n"
             "os.symlink('/etc', 'directory')\n"
             "os.symlink('../../debug', 'up')\n"
             "os.mkfifo('pipe')\n"
             "socket.socket(socket.AF_UNIX).bind('socket')\n"
             "open('plain', 'w').write('1')\n"
             "os.rename('../data', '../was-data'); os.symlink('/etc', '../data')\n")
    assert each.complete().status == 500  # data itself is a link now
    os.unlink(each.home + "/data")
    assert each.complete().status == 200
    skipped = {entry["path"]: entry["why"] for entry in each.manifest()["skipped"]}
    assert skipped == {
        "artifacts/link": "symbolic link", "artifacts/directory": "symbolic link",
        "artifacts/up": "symbolic link", "artifacts/pipe": "special file",
        "artifacts/socket": "special file"}
    assert sorted(os.listdir(each.store + "/artifacts")) == ["plain"]


@needs_root
def test_files_of_others_are_not_uploaded(x):
    """A hard link to somebody else's file carries its owner with it."""
    secret = x.workspace + "/secret"
    write_file(secret, "root's")
    os.link(secret, x.home + "/artifacts/stolen")
    x.run("print(1)")
    assert x.complete().status == 200
    assert {"path": "artifacts/stolen", "why": "another owner"} in x.manifest()["skipped"]
    assert not os.path.exists(x.store + "/artifacts/stolen")


def test_odd_names(x):
    x.run("import os\n"
          "open(b'artifacts/\\xff\\xfe', 'w')\n"
          "open('artifacts/new\\nline', 'w')\n"
          "open('artifacts/.upload.new', 'w').write('mine')\n"
          "path = 'artifacts'\n"
          "for _ in range(80):\n"
          "    path += '/d'; os.mkdir(path)\n"
          "open(path + '/f', 'w')")
    assert x.complete().status == 200
    manifest = x.manifest()
    paths = [file["path"] for file in manifest["files"]]
    assert "artifacts/\ufffd\ufffd" in paths and "artifacts/new\nline" in paths
    assert "artifacts/.upload.new" in paths
    assert [entry["why"] for entry in manifest["skipped"]] == ["too deep"]


# ---- claim, file-sync


def test_claim(x, tmp_path):
    given = tmp_path / "given"
    (given / "sub").mkdir(parents=True)
    (given / "sub" / "f").write_text("input")
    (given / "link").symlink_to("/etc/shadow")
    claim = {"env": {"WHO": "me", "LANG": "de"}, "input": "file://%s" % given}
    assert x.post("/session/claim", claim).status == 200
    assert x.post("/session/claim", claim).status == 200
    assert x.post("/session/claim", {"env": {"WHO": "other"}}).status == 409
    result = x.run("import os\nprint(os.environ['WHO'], os.environ['LANG'], open('input/sub/f').read())\n"
                   "print(os.listdir('input'))\nopen('input/sub/f', 'w').write('mine')")
    assert result["stdout"] == "me de input\n['sub']\n" and result["status"] == "completed"
    assert x.run("import os; print(os.environ['WHO'])", env={"WHO": "her"})["stdout"] == "her\n"


def test_claim_that_fails_can_be_repeated(x, tmp_path):
    given = tmp_path / "later"
    claim = {"input": "file://%s" % given}
    assert x.post("/session/claim", claim).status == 500
    given.mkdir()
    (given / "f").write_text("1")
    assert x.post("/session/claim", claim).status == 200
    assert os.path.exists(x.home + "/input/f")


@pytest.mark.parametrize("fields", [
    {"env": {"A": 1}}, {"env": "x"}, {"input": 5}, {"input": "s3://b/p"}, {"input": "file://relative"}])
def test_bad_claim(x, fields):
    assert x.post("/session/claim", fields).status == 400
    assert x.post("/session/claim", {}).status == 200


def sync(x, action, prefix, path):
    return x.call("POST", "/file-sync", {"action": action, "bucket_name": "any", "s3_key_prefix": prefix,
                                         "local_path": path})


def test_file_sync(x):
    x.run("import os; os.makedirs('data/out'); open('data/out/r', 'w').write('result')")
    up = sync(x, "upload", "shared/run1", "/workspace/data/out")
    assert up.status == 200 and up.json == {"status": "success", "files_count": 1}
    with open(x.artifacts + "/shared/run1/r") as copy:
        assert copy.read() == "result"
    down = sync(x, "download", "shared/run1", "back")
    assert down.json == {"status": "success", "files_count": 1}
    assert x.run("print(open('back/r').read()); open('back/r', 'a').write('!')")["stdout"] == "result\n"
    assert sync(x, "download", "shared/none", "back").json["files_count"] == 0


def test_file_sync_stays_below_its_roots(x):
    for prefix, path in (("../x", "data"), ("a/../../x", "data"), ("/abs", "data"), ("", "data"),
                         ("a", "../x"), ("a", "/etc"), ("a", "/workspace/../x"), ("a", "data//x"),
                         ("a", "/workspacex")):
        for action in "upload", "download":
            assert sync(x, action, prefix, path).status == 400, (prefix, path)
    assert sync(x, "move", "a", "data").status == 400
    x.run("import os; os.symlink('/etc', 'way'); os.symlink('/tmp', 'data/way')")
    assert sync(x, "upload", "a", "way").json["status"] == "error"
    os.makedirs(x.artifacts + "/b")
    write_file(x.artifacts + "/b/cleat-test-file", "1")
    assert sync(x, "download", "b", "way").json["status"] == "error"
    assert sync(x, "download", "b", "data/way").json["status"] == "error"
    assert not os.path.exists("/etc/cleat-test-file") and not os.path.exists("/tmp/cleat-test-file")


# ---- the end


def test_sigterm_uploads(each):
    make_artifacts(each)
    ident = each.start("import time\nprint('in', flush=True)\ntime.sleep(600)")
    each.wait_output(ident, "in")
    each.process.send_signal(signal.SIGTERM)
    assert each.wait_exit() == 0
    assert "artifacts/a.txt" in [file["path"] for file in each.manifest()["files"]]
    assert descendants(each.process.pid) == []


def test_sigterm_with_nothing_run_uploads_nothing(x):
    x.process.send_signal(signal.SIGTERM)
    assert x.wait_exit() == 0
    assert not os.path.exists(x.store)


def test_sigterm_after_complete_just_exits(x):
    make_artifacts(x)
    x.complete()
    stamp = os.stat(x.store + "/manifest.json").st_mtime_ns
    x.process.send_signal(signal.SIGTERM)
    assert x.wait_exit() == 0
    assert os.stat(x.store + "/manifest.json").st_mtime_ns == stamp


def test_sigterm_says_when_the_upload_failed(executors):
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY))
    write_file(x.artifacts, "in the way")
    x.boot()
    x.run("print(1)")
    x.process.send_signal(signal.SIGTERM)
    assert x.wait_exit() == 1
    assert "upload.failed" in x.log


def test_sigterm_answers_who_waits(x):
    waits = in_thread(lambda: x.execute("import time\nprint(1, flush=True)\ntime.sleep(600)",
                                        execution_id="e-1"))
    wait_for(lambda: x.get("/executions/e-1").status == 200, "the start")
    x.wait_output("e-1", "1")
    x.process.send_signal(signal.SIGTERM)
    answer = waits()
    assert answer.status == 200 and answer.json["cancelled"] is True
    assert x.wait_exit() == 0


def test_idle_limit(executors):
    x = executors(CLEAT_IDLE_TIMEOUT_S="2", CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    ident = x.start("import time\ntime.sleep(3)\nopen('artifacts/a', 'w')")
    assert x.ended(ident)["status"] == "completed"  # a running execution is not idle

    def gone():
        try:
            x.raw("GET", "/health")  # which does not keep it alive
        except OSError:
            pass
        return x.process.poll() is not None
    wait_for(gone, "the end by idleness")
    assert x.process.returncode == 0 and "idle limit" in x.log
    assert "artifacts/a" in [file["path"] for file in x.manifest()["files"]]


def test_lifetime_limit(executors):
    x = executors(CLEAT_LIFETIME_S="2", CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    x.start("import time\ntime.sleep(600)")
    assert x.wait_exit() == 0
    assert "lifetime limit" in x.log and os.path.exists(x.store + "/manifest.json")


def test_workspace_modes(x):
    assert stat.S_IMODE(os.stat(x.home).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(x.workspace + "/debug").st_mode) & 0o066 == 0
    if os.geteuid() == 0:
        assert os.stat(x.home).st_uid == NOBODY
        assert os.stat(x.workspace + "/debug").st_uid == 0


def test_two_on_one_address(executors):
    one = executors("one").boot()
    two = executors("two")
    two.environment["CLEAT_LISTEN"] = one.environment["CLEAT_LISTEN"]
    two.spawn()
    assert two.wait_exit() == 1
    assert "executor.failed" in two.log
