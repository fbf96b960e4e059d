"""The limits of user code and of those who wait."""

import os
import signal

from executor_client import wait_for
from executor_help import executors, x  # noqa: F401
from executor_help import NOBODY, descendants, need_bwrap, needs_root


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
