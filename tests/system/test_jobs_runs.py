"""Jobs: what a command was given and what became of it, on every way out."""

import base64
import hashlib
import os

import pytest

from cleat_harness import ApiError, alive, in_parallel, poll
from event_reader import read_all
from job_help import cancel, data_of, ended, in_state, job, log, log_files, output, python, shell, submit

STUBBORN = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "for n in range(2):\n"
    "    if os.fork() == 0:\n"
    "        os.setsid()\n"
    "        if os.fork() == 0:\n"
    "            os.execv('/bin/sleep', ['/bin/sleep', '{mark}'])\n"
    "        os._exit(0)\n"
    "print('started', flush=True)\n"
    "time.sleep(3600)\n"
)


def processes(mark):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if file.read() == b"/bin/sleep\0" + mark.encode() + b"\0" and alive(int(entry)):
                        found.append(int(entry))
            except OSError:
                pass
    return found


@pytest.fixture(scope="module")
def c(module_start):
    return module_start.cleatd(classes={"default": {}, "small": {"job_log_limit_kb": 64},
                                        "brief": {"max_lifetime_s": 2},
                                        "walled": {"sandbox": "bwrap", "network": "none"}})


def test_a_command_succeeds_with_all_that_it_was_given(c):
    ident = shell(c.api, 'echo "$NAME"; cat; echo oops >&2; exit 0', name="first try", env={"NAME": "value"},
                  stdin="in\nput\n", tenant="ann", user="u1", request_id="rid-1")
    end = ended(c.api, ident)
    assert end["state"] == "succeeded" and end["exit_code"] == 0 and end["signal"] is None, end
    assert end["error"] is None and end["name"] == "first try" and end["tenant"] == "ann", end
    assert output(c.api, ident) == b"value\nin\nput\n"
    assert output(c.api, ident, "stderr") == b"oops\n"
    assert end["output"] == {"bytes": 18, "truncated": False}
    assert end["created_at"] <= end["started_at"] <= end["ended_at"]
    assert min(end["queue_ms"], end["start_ms"], end["run_ms"]) >= 0
    session = c.api.wait(ident, "closed")
    assert session["job"] == "first try" and session["stop_reason"] == "job_ended", session
    assert job(c.api, ident)["session_state"] == "CLOSED"
    assert c.manifest(ident)  # it was uploaded like any other session's


def test_how_it_ends_is_told(c):
    for script, state, code, signal in (("exit 3", "failed", 3, None), ("kill -9 $$", "failed", None, 9)):
        end = ended(c.api, shell(c.api, script))
        assert (end["state"], end["exit_code"], end["signal"]) == (state, code, signal), end
    end = ended(c.api, submit(c.api, "/no/such/program"))
    assert end["state"] == "failed" and end["exit_code"] not in (None, 0), end
    end = ended(c.api, python(c.api, "raise SystemExit(7)"))
    assert end["state"] == "failed" and end["exit_code"] == 7


def test_the_event_of_its_end_says_what_there_is_to_say(c):
    for command, fields in (("exit 3", {"exit_code": 3}), ("kill -9 $$", {"signal": 9})):
        ident = shell(c.api, command)
        ended(c.api, ident)
        said = next(d for _, code, d in read_all(c.api, f"/v1/sessions/{ident}/events") if code == "job.ended")
        assert {k: said[k] for k in ("exit_code", "signal") if k in said} == fields


def test_the_time_that_a_job_asks_for_is_its_own(c):
    own = shell(c.api, "sleep 4", timeout_s=3600, **{"class": "brief"})
    cut = shell(c.api, "sleep 3600", timeout_s=3600, max_lifetime_s=1, **{"class": "brief"})
    assert ended(c.api, cut)["state"] == "timed_out"
    assert ended(c.api, own)["state"] == "succeeded"


def test_the_same_request_id_is_the_same_job_also_when_it_has_ended(c):
    fields = {"request_id": "again", "argv": ["/bin/sh", "-c", "echo once"], "env": {"A": "b"}}
    first = c.api.call("POST", "/v1/jobs", fields)
    assert first["created"] is True
    ended(c.api, first["job_id"])
    c.api.wait(first["job_id"], "closed")
    again = c.api.call("POST", "/v1/jobs", fields)
    assert again["job_id"] == first["job_id"] and again["created"] is False and again["state"] == "succeeded"
    with pytest.raises(ApiError) as refused:
        c.api.call("POST", "/v1/jobs", {**fields, "argv": ["/bin/true"]})
    assert refused.value.code == "conflict"
    assert output(c.api, first["job_id"]) == b"once\n"


def test_requests_that_make_no_sense_are_refused(c):
    for fields in ({}, {"argv": []}, {"argv": ["", "x"]}, {"argv": ["/bin/true"], "code": "x"}, {"argv": ["a"], "timeout_s": 0},
                   {"argv": ["a"], "name": ""}, {"argv": ["a"], "name": "a\nb"}, {"argv": ["a"], "job": {}},
                   {"argv": ["a"], "stdin": "x", "stdin_base64": "eA=="}, {"argv": ["a"], "stdin_base64": "!"},
                   {"argv": ["a"], "no": 1}, {"argv": ["a"], "class": "nowhere"}):
        with pytest.raises(ApiError) as refused:
            c.api.call("POST", "/v1/jobs", fields)
        assert refused.value.code == "invalid_request", fields
    with pytest.raises(ApiError) as refused:
        c.api.create(job={"command": "0" * 64})
    assert refused.value.code == "invalid_request"
    with pytest.raises(ApiError) as refused:
        job(c.api, c.api.create()["session_id"])
    assert refused.value.status == 404  # a session, but no job


def test_a_job_runs_its_command_and_nothing_beside_it(c):
    ident = shell(c.api, "sleep 3600")
    in_state(c.api, ident, "running")
    with pytest.raises(ApiError) as refused:
        c.api.execute(ident, "print(1)")
    assert refused.value.code == "conflict"
    cancel(c.api, ident)
    assert ended(c.api, ident)["state"] == "cancelled"


def test_four_mebibytes_of_input_that_are_no_text(c):
    data = os.urandom(4 << 20)
    ident = submit(c.api, "/usr/bin/sha256sum", stdin_base64=base64.b64encode(data).decode())
    assert ended(c.api, ident)["state"] == "succeeded"
    assert output(c.api, ident).split()[0].decode() == hashlib.sha256(data).hexdigest()
    c.api.wait(ident, "closed")
    assert "request" not in log_files(c, ident)  # a user's input is not kept longer than it is needed
    with pytest.raises(ApiError) as refused:
        submit(c.api, "/bin/cat", stdin_base64=base64.b64encode(data + b"1234").decode())
    assert refused.value.status in (400, 413)


def test_output_that_is_no_text_comes_as_it_is(c):
    ident = shell(c.api, "printf 'gr\\303\\274n\\377\\000'")
    ended(c.api, ident)
    chunks, _ = log(c.api, ident)
    assert b"".join(map(data_of, chunks)) == b"gr\xc3\xbcn\xff\x00"
    assert all("data_base64" in chunk for chunk in chunks)
    text = shell(c.api, "printf 'gr\\303\\274n'")
    ended(c.api, text)
    assert [chunk["data"] for chunk in log(c.api, text)[0]] == ["grün"]


def test_a_log_is_followed_while_it_runs_and_goes_on_at_any_offset(c):
    ident = python(c.api, "import sys, time\n"
                          "for n in range(5):\n"
                          "    print('line', n, flush=True); print('err', n, file=sys.stderr, flush=True)\n"
                          "    time.sleep(0.2)\n")
    in_state(c.api, ident, "running")
    early, _ = log(c.api, ident, follow=False)
    whole, cut = log(c.api, ident)
    flat = b"".join(map(data_of, whole))
    assert not cut and len(flat) == job(c.api, ident)["output"]["bytes"]
    assert flat.startswith(b"".join(map(data_of, early))) and len(whole) >= 5
    assert [chunk["time"] for chunk in whole] == sorted(chunk["time"] for chunk in whole)
    for offset in (0, 1, 10, len(flat) - 1, len(flat)):
        assert b"".join(map(data_of, log(c.api, ident, offset)[0])) == flat[offset:]
    assert output(c.api, ident) == b"".join(b"line %d\n" % n for n in range(5))
    assert output(c.api, ident, "stderr", only=True) == b"".join(b"err %d\n" % n for n in range(5))


def test_a_flood_is_cut_and_says_so(c):
    ident = shell(c.api, "head -c 3000000 /dev/zero | tr '\\0' x; echo end", **{"class": "small"})
    end = ended(c.api, ident)
    assert end["state"] == "succeeded" and end["output"] == {"bytes": 64 * 1024, "truncated": True}, end
    chunks, cut = log(c.api, ident)
    assert cut and b"".join(map(data_of, chunks)) == b"x" * 64 * 1024


def test_more_output_than_one_answer_holds_is_whole(c):
    ident = python(c.api, "import sys\nfor n in range(200000): sys.stdout.write('%07d\\n' % n)\n")
    assert ended(c.api, ident)["output"] == {"bytes": 1600000, "truncated": False}
    assert output(c.api, ident) == b"".join(b"%07d\n" % n for n in range(200000))


@pytest.mark.parametrize("walls", ["default", "walled"])
def test_the_deadline_ends_all_that_it_started(c, walls):
    mark = "36{}7{}".format(len(walls), os.getpid())
    ident = python(c.api, STUBBORN.replace("{mark}", mark), timeout_s=3, **{"class": walls})
    poll(lambda: len(processes(mark)) == 2, 60, "two daemons")
    end = ended(c.api, ident)
    assert end["state"] == "timed_out", end
    assert 3000 <= end["run_ms"] < 3000 + 3000 + 5000, f"killed 3 s later; and this machine is busy: {end}"
    assert processes(mark) == []
    assert output(c.api, ident) == b"started\n"


def test_a_running_job_is_cancelled_and_keeps_what_it_said_and_made(c):
    mark = "3617%d" % os.getpid()
    ident = python(c.api, STUBBORN.replace("{mark}", mark).replace(
        "print(", "open('artifacts/made', 'w').write('kept'); print("))
    poll(lambda: len(processes(mark)) == 2 and job(c.api, ident)["output"]["bytes"], 60, "its output")
    assert cancel(c.api, ident)["cancelling"] is True
    end = ended(c.api, ident)
    assert end["state"] == "cancelled" and end["stop_reason"] == "cancelled", end
    assert end["signal"] == 9 and processes(mark) == []
    assert output(c.api, ident) == b"started\n"
    c.api.wait(ident, "closed")
    assert c.file_of(ident, "artifacts/made") == b"kept"
    assert cancel(c.api, ident)["state"] == "cancelled"  # again: harmless


def test_a_cancelled_job_that_obeys_ends_with_its_own_words(c):
    ident = python(c.api, "import signal, sys, time\n"
                          "def bye(*_):\n"
                          "    print('bye', flush=True); sys.exit(5)\n"
                          "signal.signal(signal.SIGTERM, bye); print('up', flush=True); time.sleep(3600)\n")
    poll(lambda: job(c.api, ident)["output"]["bytes"], 60, "its output")
    cancel(c.api, ident)
    end = ended(c.api, ident)
    assert (end["state"], end["exit_code"]) == ("cancelled", 5) and output(c.api, ident) == b"up\nbye\n"


def test_a_job_that_waits_or_starts_is_cancelled_at_once(start):
    c = start.cleatd(max_sessions=1)
    first = shell(c.api, "sleep 3600")
    second = shell(c.api, "echo never")
    assert in_state(c.api, second, "queued")["started_at"] is None
    cancel(c.api, second)
    assert ended(c.api, second)["state"] == "cancelled"
    assert log(c.api, second) == ([], False)
    cancel(c.api, first)
    assert ended(c.api, first)["state"] == "cancelled"


def test_a_job_whose_session_is_deleted_is_cancelled(c):
    ident = shell(c.api, "echo said; sleep 3600")
    poll(lambda: job(c.api, ident)["output"]["bytes"], 60, "its output")
    c.api.close(ident)
    end = job(c.api, ident)
    assert end["state"] == "cancelled" and end["stop_reason"] == "deleted" and output(c.api, ident) == b"said\n"


def test_many_at_once_all_succeed(c):
    ids = in_parallel(lambda n: shell(c.api, f"echo job {n}", name=f"n{n}"), range(30))
    for n, ident in enumerate(ids):
        assert ended(c.api, ident, 120)["state"] == "succeeded"
        assert output(c.api, ident) == b"job %d\n" % n
    listed = c.api.call("GET", "/v1/jobs?state=succeeded")["jobs"]
    assert set(ids) <= {one["job_id"] for one in listed}
    assert c.api.call("GET", "/v1/jobs?state=running")["jobs"] == []
    assert c.api.call("GET", "/v1/jobs?state=succeeded&tenant=nobody")["jobs"] == []


def test_queries_that_make_no_sense_are_refused(c):
    ident = shell(c.api, "true")
    for query in ("?wait=ready", "?timeout_s=5", "?wait=ended&timeout_s=x", "/logs?after=-1", "/logs?follow=yes",
                  "/logs?timeout_s=3", "/logs?stream=both", "/logs?after=99999999999999999999"):
        with pytest.raises(ApiError) as refused:
            c.api.call("GET", f"/v1/jobs/{ident}{query}")
        assert refused.value.code == "invalid_request", query
    with pytest.raises(ApiError):
        c.api.call("GET", "/v1/jobs?state=done")


def test_a_wait_that_is_too_short_says_so(c):
    ident = shell(c.api, "sleep 3600")
    with pytest.raises(ApiError) as short:
        ended(c.api, ident, 1)
    assert short.value.code == "wait_timeout"
    piece = c.api.call("GET", f"/v1/jobs/{ident}/logs?follow=true&timeout_s=1")
    assert piece == {"chunks": [], "next": 0, "ended": False, "truncated": False}
    cancel(c.api, ident)


def test_what_is_forgotten_leaves_no_file(start):
    c = start.cleatd(retention_s=1)
    ident = shell(c.api, "echo here")
    assert ended(c.api, ident)["state"] == "succeeded"
    poll(lambda: log_files(c, ident) == [], 60, "the removal of its files")
    with pytest.raises(ApiError) as gone:
        job(c.api, ident)
    assert gone.value.status == 404
