"""What an execution is, how it ends, and that it happens once."""

import json
import os
import signal

import pytest

from executor_client import wait_for
from executor_help import each, executors, x  # noqa: F401
from executor_help import DAEMON, NOBODY, descendants, in_thread, needs_root


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


@pytest.mark.parametrize("end", ["pass", "time.sleep(600)"])
def test_what_was_left_behind_is_ended(each, end):
    result = each.run(DAEMON.format(action="pass", end=end), timeout_s=2)
    assert "started" in result["stdout"]
    assert descendants(each.process.pid) == []
    assert each.run("print(1)")["stdout"] == "1\n"


def test_daemon_that_holds_the_output_does_not_hold_the_answer(each):
    result = each.run(DAEMON.format(action="print('mine', flush=True)", end="pass"), timeout_s=60)
    assert result["execution_time_ms"] < 30000 and result["timed_out"] is False


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
    assert answer.status == 409 and answer.code == "not_ready" and "e-1" in answer.json["error"]["message"]
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
    each.wait_output(ident, "in\n")
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


def test_health_answers_while_busy(x):
    ident = x.start("while True: pass")
    for _ in range(20):
        assert x.raw("GET", "/health", timeout=5).status == 200
    x.post("/executions/%s/cancel" % ident)


def test_an_execution_that_cannot_start_closes_nothing_of_others(x):
    executions = os.path.join(x.workspace, "debug", "executions")
    os.rename(executions, executions + ".away")
    for _ in range(2):
        result = x.run("print(1)")
        assert result["status"] == "failed" and result["error"].startswith("could not start")
        assert os.readlink(f"/proc/{x.process.pid}/fd/0") == "/dev/null"
    os.rename(executions + ".away", executions)
    assert x.run("print(2)")["stdout"] == "2\n"
