"""The output of executions and what is kept of it."""

import json
import os

from executor_help import each, executors, x  # noqa: F401
from executor_help import in_thread


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
