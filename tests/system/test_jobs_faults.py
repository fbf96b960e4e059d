"""Jobs while cleatd, containers or the disk fail: one run, and a log without gap or repeat."""

import os
import pathlib
import shutil
import signal
import tempfile
import time
import types

import pytest

from cleat_harness import ApiError, poll
from job_help import data_of, ended, in_state, job, log, output, python, shell, submit
from test_plain import plain_class

COUNT = (  # says numbers on both streams by turns, and leaves a mark for each time that it is run
    "import sys, time\n"
    "open('{shared}/runs', 'a').write('run\\n')\n"
    "for n in range({count}):\n"
    "    (sys.stderr if n % 2 else sys.stdout).write('%05d\\n' % n)\n"
    "    sys.stdout.flush(); sys.stderr.flush(); time.sleep({pause})\n"
)


def counting(start, count, pause):
    return COUNT.replace("{shared}", str(start.shared)).replace("{count}", str(count)).replace("{pause}", str(pause))


def gate(start, then):
    """Waits for the file `go`, then does that."""
    return f'while [ ! -e "{start.shared}/go" ]; do sleep 0.02; done; {then}'


def open_gate(start):
    (start.shared / "go").touch()


def test_cleatd_is_killed_while_a_job_runs(start):
    c = start.cleatd()
    ident = python(c.api, counting(start, 400, 0.01))
    seen, kills, at = b"", 0, 0
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline
        try:
            piece = c.api.call("GET", f"/v1/jobs/{ident}/logs?after={at}&follow=true&timeout_s=5")
        except (OSError, ApiError):
            poll(c._answers, 30, "cleatd's /healthz")
            continue
        for chunk in piece["chunks"]:
            assert chunk["offset"] == at
            at += len(data_of(chunk))
            seen += data_of(chunk)
        if piece["ended"]:
            break
        if kills < 4 and len(seen) > 400 * (kills + 1):
            kills += 1
            c.kill()
            c.spawn()
            poll(c._answers, 30, "cleatd's /healthz")
    end = ended(c.api, ident)
    assert kills == 4 and end["state"] == "succeeded" and not piece["truncated"], end
    assert sorted(seen.split()) == [b"%05d" % n for n in range(400)]
    assert output(c.api, ident) == b"".join(b"%05d\n" % n for n in range(0, 400, 2))
    assert output(c.api, ident, "stderr") == b"".join(b"%05d\n" % n for n in range(1, 400, 2))
    assert (start.shared / "runs").read_text() == "run\n"
    assert end["run_ms"] >= 4000  # as long as it ran, whoever was there to see it


@pytest.mark.parametrize("state", ["queued", "starting", "running", "ended"])
def test_cleatd_is_killed_in_each_state_of_a_job(start, state):
    c = start.cleatd(max_sessions=1)
    first = shell(c.api, gate(start, "echo first")) if state == "queued" else None
    ident = python(c.api, counting(start, 3, 0.01) if state == "ended" else counting(start, 20, 0.05))
    {"queued": lambda: in_state(c.api, first, "running"), "starting": lambda: None,
     "running": lambda: poll(lambda: job(c.api, ident)["output"]["bytes"], 60, "output"),
     "ended": lambda: ended(c.api, ident)}[state]()
    c.kill()
    open_gate(start)
    c.start()
    end = ended(c.api, ident)
    assert end["state"] == "succeeded", end
    count = 3 if state == "ended" else 20
    assert output(c.api, ident) == b"".join(b"%05d\n" % n for n in range(0, count, 2))
    assert (start.shared / "runs").read_text() == "run\n"
    if first:
        assert ended(c.api, first)["ended_at"] <= end["started_at"]
    c.api.wait(ident, "closed")


def test_what_ended_while_cleatd_was_away_is_told_as_it_was(start):
    c = start.cleatd()
    ident = shell(c.api, gate(start, "echo said; echo more >&2; exit 9"))
    in_state(c.api, ident, "running")
    c.kill()
    open_gate(start)
    pid = c.pid_of(ident)
    poll(lambda: len(os.listdir(f"/proc/{pid}/task")) and not children_of(pid), 60, "the end of the command")
    c.start()
    end = ended(c.api, ident)
    assert (end["state"], end["exit_code"]) == ("failed", 9)
    assert output(c.api, ident) == b"said\n" and output(c.api, ident, "stderr") == b"more\n"


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return f.read().split()


def test_the_container_dies_and_what_it_said_is_kept(start):
    c = start.cleatd(classes={"default": {"on_death": "replace"}})
    ident = shell(c.api, "echo said; exec sleep 3600")
    poll(lambda: job(c.api, ident)["output"]["bytes"] == 5, 60, "its output")
    os.kill(c.pid_of(ident), signal.SIGKILL)
    end = ended(c.api, ident)
    assert end["state"] == "lost" and end["error"]["code"] == "container_died", end
    assert output(c.api, ident) == b"said\n"
    assert len(c.launches()) == 1  # what may have run is not run again in another container


def test_the_container_is_stopped_under_its_job(start):
    """As engines do with notice (a Spot interruption, `docker stop`): nobody cancelled it, and it did not fail."""
    c = start.cleatd()
    ident = shell(c.api, "echo said; exec sleep 3600")
    poll(lambda: job(c.api, ident)["output"]["bytes"] == 5, 60, "its output")
    os.kill(c.pid_of(ident), signal.SIGTERM)
    end = ended(c.api, ident)
    assert end["state"] == "lost" and end["error"]["code"] == "container_died", end
    assert output(c.api, ident) == b"said\n"
    assert len(c.launches()) == 1


def test_a_job_for_which_no_container_comes_fails(start):
    c = start.cleatd(classes={"default": {"command": ["/bin/false"], "launch_attempts": 2, "backoff_base_ms": 50}})
    end = ended(c.api, submit(c.api, "/bin/echo", "never"))
    assert end["state"] == "failed" and end["error"]["code"] and end["started_at"] is None, end
    assert end["output"] == {"bytes": 0, "truncated": False}


def test_a_log_that_cannot_be_written_goes_on_when_it_can(start):
    c = start.cleatd()
    ident = shell(c.api, gate(start, "echo one; echo two >&2; seq 50000"))
    in_state(c.api, ident, "running")
    obstacle = c.root / "state" / "jobs" / f"{ident}.log"
    obstacle.mkdir()
    open_gate(start)
    poll(lambda: c.api.session(ident)["waiting_for"], 60, "that it says what it waits for")
    assert job(c.api, ident)["state"] == "running" and job(c.api, ident)["output"]["bytes"] == 0
    obstacle.rmdir()
    end = ended(c.api, ident)
    assert end["state"] == "succeeded" and end["output"]["truncated"] is False, end
    assert output(c.api, ident) == b"one\n" + b"".join(b"%d\n" % n for n in range(1, 50001))
    assert output(c.api, ident, "stderr") == b"two\n"


def test_a_command_that_cannot_be_kept_is_refused(start):
    c = start.cleatd()
    jobs = c.root / "state" / "jobs"
    jobs.rename(c.root / "away")
    jobs.touch()
    with pytest.raises(ApiError) as refused:
        submit(c.api, "/bin/echo", "x", request_id="later")
    assert refused.value.code == "store_failed" and refused.value.error["retryable"]
    jobs.unlink()
    (c.root / "away").rename(jobs)
    assert ended(c.api, submit(c.api, "/bin/echo", "x", request_id="later"))["state"] == "succeeded"


def test_a_torn_log_ends_where_it_was_whole(start):
    """As after a loss of power: the index is ahead of the bytes, and half an entry is there."""
    c = start.cleatd()
    ident = shell(c.api, "for n in 0 1 2; do echo part $n; sleep 0.3; done")
    ended(c.api, ident)
    c.api.wait(ident, "closed")
    c.kill()
    base = c.root / "state" / "jobs"
    log_path, index = base / f"{ident}.log", base / f"{ident}.index"
    log_path.write_bytes(log_path.read_bytes()[:-3] + b"\0\0\0")
    index.write_bytes(index.read_bytes() + b"torn")
    c.start()
    chunks, cut = log(c.api, ident)
    assert b"".join(map(data_of, chunks)) == b"part 0\npart 1\n" and cut


def test_more_than_is_kept_costs_no_memory(start):
    c = start.cleatd(classes={"default": {"job_log_limit_kb": 256}}, asan="quarantine_size_mb=1")
    ended(c.api, shell(c.api, "echo warm"))
    before = resident(c.process.pid)
    ident = shell(c.api, "head -c 200000000 /dev/zero; echo end >&2")
    end = ended(c.api, ident, 120)
    assert end["state"] == "succeeded" and end["output"] == {"bytes": 256 * 1024, "truncated": True}, end
    assert resident(c.process.pid) - before < 40_000, "KiB more"


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0]


def test_a_container_without_proof(start):
    c = start.cleatd(classes={"default": {}, "plain": plain_class(start.root, salvage_limit_s=1, backoff_base_ms=50)})
    ident = python(c.api, "print('gr\\u00fcn')", **{"class": "plain"})
    end = ended(c.api, ident)
    assert end["state"] == "succeeded" and end["exit_code"] is None and end["started_at"], end
    assert output(c.api, ident) == "grün\n".encode()
    failed = ended(c.api, python(c.api, "1 / 0", **{"class": "plain"}))
    assert failed["state"] == "failed" and failed["error"] is None, failed
    for fields in ({"argv": ["/bin/true"]}, {"code": "x", "stdin": "y"}):
        with pytest.raises(ApiError) as refused:
            c.api.call("POST", "/v1/jobs", {"class": "plain", **fields})
        assert refused.value.code == "invalid_request"


def test_queued_jobs_keep_their_order_over_a_restart(start):
    c = start.cleatd(max_sessions=1)
    gated = shell(c.api, gate(start, "true"))
    in_state(c.api, gated, "running")
    waiting = [shell(c.api, "true", name=f"n{n}") for n in range(4)]
    c.kill()
    c.start()
    open_gate(start)
    ends = [ended(c.api, ident) for ident in [gated, *waiting]]
    assert {e["state"] for e in ends} == {"succeeded"}
    assert [e["started_at"] for e in ends] == sorted(e["started_at"] for e in ends)


def test_workspaces_lie_where_the_class_says_and_go_with_the_job(start):
    place = pathlib.Path(tempfile.mkdtemp(prefix="cleat-jobs-", dir="/dev/shm"))
    place.chmod(0o711)
    start.add(types.SimpleNamespace(close=lambda: shutil.rmtree(place)))
    c = start.cleatd(classes={"default": {"workspace_dir": place / "jobs"}})
    ident = shell(c.api, gate(start, "pwd; df --output=fstype . | tail -1"))
    in_state(c.api, ident, "running")
    assert [p.name.split(".")[1] for p in (place / "jobs").iterdir()] == [ident]
    assert list((c.root / "state").glob("workspaces/*")) == []
    c.kill()
    c.start()  # it is found there again
    open_gate(start)
    assert ended(c.api, ident)["state"] == "succeeded"
    where, kind = output(c.api, ident).decode().split()
    assert where.startswith(f"{place}/jobs/") and kind == "tmpfs"
    c.api.wait(ident, "closed")
    poll(lambda: list((place / "jobs").iterdir()) == [], 60, "the removal of its workspace")
