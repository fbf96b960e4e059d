"""The end of an executor: signals and limits of time."""

import os
import signal

from executor_client import wait_for
from executor_help import each, executors, x  # noqa: F401
from executor_help import NOBODY, descendants, in_thread, make_artifacts, write_file


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


def test_sigterm_waits_for_an_upload_under_way(x):
    """Also when nothing was executed: what was asked for is finished first."""
    for n in range(200):
        write_file(os.path.join(x.home, "data", str(n)), "x" * 100000, owner=NOBODY)
    assert x.post("/session/complete", {"nonce": "n-1"}, headers={"Prefer": "respond-async"}).status == 202
    x.process.send_signal(signal.SIGTERM)
    assert x.wait_exit() == 0
    assert len([f for f in x.manifest()["files"] if f["path"].startswith("data/")]) == 200
