"""The command line: against an API that says what the test wants, then against the real cleatd."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import urllib.parse
import xml.etree.ElementTree as ElementTree

import pytest

from cleat_harness import BUILD, SANITIZER_MARKS
from fake_api import FakeApi, phases, session, session_id, stamp, step

PROGRAM = BUILD / "cleat"


def cleat(socket, *arguments, stdin="", env=None):
    result = subprocess.run(
        [PROGRAM, "--socket", socket, *map(str, arguments)], input=stdin, capture_output=True,
        text=True, timeout=120, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1", **(env or {})})
    assert not any(mark in result.stderr for mark in SANITIZER_MARKS), result.stderr
    return result


@pytest.fixture
def fake(tmp_path):
    server = FakeApi(tmp_path / "fake.sock")
    yield server
    server.stop()


def run(fake, *arguments, status=0, **options):
    result = cleat(fake.path, *arguments, **options)
    assert result.returncode == status, result.stdout + result.stderr
    return result


# ---- exit codes


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["create", "--nonsense"], ["create", "id"], ["create", "--count", "0"],
    ["create", "--count", "12x"], ["create", "--env", "novalue"], ["create", "--timeout", "9999"],
    ["exec"], ["exec", "abcd"], ["exec", "abcd", "--"], ["exec", "abcd", "a", "b"],
    ["exec", "--bash", "abcd", "--", "ls"], ["exec", "abc", "code"], ["exec", "ABCD!", "code"],
    ["ps", "x"], ["show"], ["show", "abcd", "abce"], ["wait"], ["kill"], ["kill", "--all", "abcd"],
    ["status", "x"], ["isolation", "x"], ["timeline", "--json", "--svg", "x"],
])
def test_wrong_command_lines_are_usage_errors_and_ask_nobody(fake, arguments):
    result = run(fake, *arguments, status=2)
    assert result.stderr and not result.stdout
    assert fake.requests == []


def test_a_command_says_how_it_is_used(fake):
    assert "cleat drain [--now]" in run(fake, "drain", "--help").stdout
    assert "cleat --help" in run(fake, "drain", "--nonsense", status=2).stderr
    assert fake.requests == []


def test_help_and_version(fake):
    assert "usage: cleat" in run(fake, "--help").stdout
    assert re.fullmatch(r"cleat \d+\.\d+\.\d+\n", run(fake, "--version").stdout)


@pytest.mark.parametrize("arguments", [
    ["create"], ["ps"], ["status"], ["isolation"], ["timeline"], ["kill", "--all"],
    ["show", session_id(1)], ["wait", session_id(1)], ["exec", session_id(1), "x"]])
def test_unreachable_is_5(tmp_path, arguments):
    result = cleat(tmp_path / "nobody.sock", *arguments)
    assert result.returncode == 5
    assert "cannot reach cleatd" in result.stderr and "nobody.sock" in result.stderr
    assert "does it run there?" in result.stderr


@pytest.mark.parametrize("status, code, retryable, exit_code", [
    (400, "invalid_request", False, 3), (409, "conflict", False, 3), (410, "request_id_closed", False, 3),
    (429, "full", True, 4), (504, "wait_timeout", True, 4), (404, "not_found", False, 6)])
def test_errors_of_the_api(fake, status, code, retryable, exit_code):
    fake.error("POST /v1/sessions", status, code, retryable)
    result = run(fake, "create", status=exit_code)
    assert f"it is {code} ({code})" in result.stderr
    fake.error("POST /v1/sessions", status, code, retryable, retry_after_s=7)
    assert f"it is {code}; try again in 7 s ({code})" in run(fake, "create", status=exit_code).stderr


@pytest.mark.parametrize("answer, exit_code", [
    ("hang up", 4), ((200, b"not json"), 3), ((200, b"[]"), 3), ((500, b"oops"), 4), ((400, b"{}"), 3),
    ((200, b'{"sessions": 7}'), 0)])
def test_answers_that_make_no_sense(fake, answer, exit_code):
    fake.answers["GET /v1/sessions"] = answer
    run(fake, "ps", status=exit_code)


# ---- ids


def test_ids_by_beginning_and_end(fake):
    fake.list([session(1), session(2)])
    assert re.search(f"session_id +{session_id(1)}", run(fake, "show", session_id(1)[-4:]).stdout)
    assert run(fake, "show", session_id(2)[-12:]).stdout
    assert "means 2 sessions" in run(fake, "show", session_id(1)[:8], status=2).stderr
    assert "no such session" in run(fake, "show", "ffffffff", status=6).stderr
    fake.list([session(3)])
    assert run(fake, "show", session_id(3)[:4], "--json").stdout.startswith("{")


def test_a_whole_id_needs_no_listing(fake):
    fake.list([session(1)])
    run(fake, "show", session_id(1))
    assert [r["path"] for r in fake.requests] == [f"/v1/sessions/{session_id(1)}"]


# ---- create, wait, kill


def test_create_sends_what_was_asked(fake):
    fake.on_create()
    result = run(fake, "create", "--class", "web", "--tenant", "t", "--user", "u", "--request-id", "r-1",
                 "--env", "A=1", "--env", "B=x=y", "--env", "C=")
    assert result.stdout == session_id(1) + "\n"
    request, = fake.requests
    assert request["type"] == "application/json"
    assert request["body"] == {"class": "web", "tenant": "t", "user": "u", "request_id": "r-1",
                               "env": {"A": "1", "B": "x=y", "C": ""}}


def test_create_many_have_request_ids_of_their_own(fake):
    fake.on_create()
    result = run(fake, "create", "--count", 20)
    assert sorted(result.stdout.split()) == sorted(session_id(n) for n in range(1, 21))
    assert len({r["body"]["request_id"] for r in fake.requests}) == 20
    fake.requests.clear()
    run(fake, "create", "--count", 3, "--request-id", "job")
    assert {r["body"]["request_id"] for r in fake.requests} == {"job-1", "job-2", "job-3"}


def test_create_wait_tells_which_failed(fake):
    fake.on_create()
    fake.list([session(1), session(2)])
    fake.error(f"GET /v1/sessions/{session_id(2)}", 504, "never_healthy", True)
    result = run(fake, "create", "--count", 2, "--wait", "--timeout", 7, status=4)
    assert session_id(1) in result.stdout
    assert f"{session_id(2)[-12:]}: it is never_healthy" in result.stderr
    assert {r["query"] for r in fake.requests if r["method"] == "GET"} == {"wait=ready&timeout_s=7"}


def test_create_json(fake):
    fake.on_create()
    assert json.loads(run(fake, "create", "--json").stdout)["created"] is True
    assert len(json.loads(run(fake, "--json", "create", "--count", 2).stdout)["sessions"]) == 2
    fake.list([session(n) for n in range(4, 6)])
    document = json.loads(run(fake, "--json", "create", "--count", 2, "--wait").stdout)
    assert {s["session_id"] for s in document["sessions"]} == {session_id(4), session_id(5)}


def test_kill_all_leaves_the_closed_alone(fake):
    fake.list([session(1), session(2, "CLOSED"), session(3, "OPENING"), session(4, "FAILED")])
    for n in (1, 3):
        fake.answers[f"DELETE /v1/sessions/{session_id(n)}"] = (202, session(n, "CLOSING"))
    run(fake, "kill", "--all", "--wait")
    assert {r["path"] for r in fake.requests if r["method"] == "DELETE"} == {
        f"/v1/sessions/{session_id(n)}" for n in (1, 3)}
    assert {r["query"] for r in fake.requests if r["query"]} == {"wait=closed&timeout_s=300"}


def test_kill_goes_on_after_a_failure(fake):
    fake.list([session(1), session(2)])
    fake.answers[f"DELETE /v1/sessions/{session_id(2)}"] = (202, session(2, "CLOSING"))
    run(fake, "kill", session_id(1), session_id(2), status=6)
    assert sum(r["method"] == "DELETE" for r in fake.requests) == 2


def test_kill_all_of_nothing(fake):
    fake.list([])
    run(fake, "kill", "--all", "--wait")


# ---- exec


def record(**members):
    return {"session_id": session_id(1), "execution_id": "e", "execution_num": 1, "status": "completed",
            "stdout": "", "stderr": "", "error": None, "execution_time_ms": 3, "exit_code": 0,
            "signal": None, "timed_out": False, "cancelled": False, **members}


EXECUTE = f"POST /v1/sessions/{session_id(1)}/execute"


def test_exec_streams_and_forms(fake):
    fake.answers[EXECUTE] = (200, record(stdout="out\n", stderr="err\n"))
    result = run(fake, "exec", session_id(1), "print('out')")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    run(fake, "exec", session_id(1), "-", stdin="from stdin\n")
    run(fake, "exec", "--bash", "--timeout", 9, session_id(1), "ls")
    run(fake, "exec", session_id(1), "--", "ls", "-l", "--json")
    bodies = [{k: v for k, v in r["body"].items() if k != "execution_id"} for r in fake.requests]
    assert bodies == [{"code": "print('out')"}, {"code": "from stdin\n"},
                      {"code": "BASH:ls", "timeout_s": 9}, {"argv": ["ls", "-l", "--json"]}]
    assert len({r["body"]["execution_id"] for r in fake.requests}) == 4


@pytest.mark.parametrize("members, word", [
    ({"exit_code": 3}, "exit code 3"), ({"exit_code": None, "signal": 9}, "signal 9"),
    ({"timed_out": True}, "time was up"), ({"cancelled": True}, "cancelled"),
    ({"exit_code": None, "error": "could not start: no space"}, "could not start: no space")])
def test_exec_that_failed_is_1(fake, members, word):
    fake.answers[EXECUTE] = (200, record(status="failed", stdout="before\n", **members))
    result = run(fake, "exec", session_id(1), "x", status=1)
    assert result.stdout == "before\n" and word in result.stderr
    document = json.loads(run(fake, "exec", "--json", session_id(1), "x", status=1).stdout)
    assert document["status"] == "failed"


def test_exec_says_whether_it_ran(fake):
    fake.error(EXECUTE, 502, "misroute", True, ran="no")
    assert "did the code run? no" in run(fake, "exec", session_id(1), "x", status=4).stderr


def test_exec_refuses_bytes_that_are_no_text(fake):
    result = subprocess.run([PROGRAM, "--socket", fake.path, "exec", session_id(1), "-"], input=b"\xff",
                            capture_output=True)
    assert result.returncode == 2 and b"UTF-8" in result.stderr


def test_exec_refuses_what_cleatd_would_not_take(fake):
    result = run(fake, "exec", session_id(1), "-", stdin="#" * (4 * 1024 * 1024 + 1), status=2)
    assert "more than 4 MiB" in result.stderr and fake.requests == []


# ---- what is shown


def test_ps_hides_the_closed_and_aligns(fake):
    fake.list([session(1, user="alice"), session(2, "CLOSED", stop_reason="deleted"),
               session(3, "BUSY", user="a-longer-name")])
    lines = run(fake, "ps").stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith("SESSION")
    column = lines[0].index("ADDRESS")
    assert all(line[column:].startswith("127.64.0.") for line in lines[1:])
    assert len(run(fake, "ps", "--all").stdout.splitlines()) == 4
    run(fake, "ps", "--tenant", "a b")
    assert urllib.parse.unquote(fake.requests[-1]["query"]) == "tenant=a b"
    assert len(json.loads(run(fake, "--json", "ps").stdout)["sessions"]) == 3


def test_a_session_in_the_queue_says_its_place(fake):
    place = {"position": 7, "ahead": 6, "estimated_start_at": None, "reason": "tenant_max_sessions"}
    fake.list([session(1, "QUEUED", queue=place), session(2, "QUEUED", queue={**place, "estimated_start_at": stamp(0)})])
    lines = run(fake, "ps").stdout.splitlines()
    assert lines[1].endswith("in the queue, place 7 (tenant_max_sessions)")
    assert lines[2].endswith("in the queue, place 7, starts in about 0.00s (tenant_max_sessions)")
    text, _ = on_terminal(PROGRAM, "--socket", fake.path, "wait", session_id(1), env={"NO_COLOR": "1"})
    assert "QUEUED            in the queue, place 7 (tenant_max_sessions)" in text


def test_nothing_from_outside_moves_the_cursor(fake):
    fake.list([session(1, user="\x1b[2Jgotcha\n", stop_reason="\x07")])
    for arguments in (["ps"], ["show", session_id(1)]):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", run(fake, *arguments).stdout)


def test_show_has_phases_and_cleanup(fake):
    fake.list([session(1, "CLOSED", phases=phases(("queue", 1), ("launch", 12345)), cleanup=[
        step("upload", 20000, 20500), step("stop", 20500, None, "running")])])
    text = run(fake, "show", session_id(1)).stdout
    assert re.search(r"launch +0\.00s +12\.3s +12\.3s +1\n", text)
    assert re.search(r"upload +20\.0s +20\.5s +0\.50s +ok\n", text)
    assert re.search(r"stop +20\.5s +- +- +running\n", text)


def test_status_and_isolation(fake):
    fake.answers["GET /v1/status"] = (200, {"version": "1", "sessions": {"READY": 3}, "classes": {
        "default": {"runtime": {"name": "process", "list": [1, "x"], "things": [{"a": 7}, {"a": 8}], "none": None},
                    "breakers": {
            "launch": {"state": "open", "failures": 5, "retry_in_ms": 29500, "error": "no engine"},
            "stop": {"state": "closed", "failures": 0, "retry_in_ms": 0, "error": None}}}}})
    text = run(fake, "status").stdout
    assert re.search(r"breakers\.launch +open, 5 failures in a row, tried again in 30 s: no engine\n", text)
    assert re.search(r"breakers\.stop +closed\n", text)
    assert re.search(r"runtime\.things\.2\.a +8\n", text) and re.search(r"runtime\.none +-\n", text)
    assert re.search(r"sessions\.READY +3\n", text) and re.search(r"default\.runtime\.name +process\n", text)
    row = {"session_id": session_id(1), "state": "READY", "container": "c", "address": "127.64.0.1:8080",
           "connections": [f"127.0.0.1:{n}" for n in range(5)], "connections_total": 5, "probes": 1,
           "misroutes": 0, "proof": "required", "direct_path": True}
    clean = {"sessions": [row], "address_conflicts": 0, "shared_connections": 0, "sessions_checked": 1}
    fake.answers["GET /v1/isolation"] = (200, clean)
    text = run(fake, "isolation").stdout
    assert "1 sessions checked, 0 address conflicts, 0 shared connections" in text
    assert "… 127.0.0.1:2 127.0.0.1:3 127.0.0.1:4" in text
    fake.answers["GET /v1/isolation"] = (200, {**clean, "shared_connections": 1})
    run(fake, "isolation", status=1)
    run(fake, "isolation", "--json", status=1)


def test_status_begins_with_the_key_figures(fake):
    figures = {"success_rate": 0.975, "sessions_ready": 39, "sessions_failed": 1,
               "queue_wait": {"p50_ms": 10, "p95_ms": 1200, "count": 40},
               "container_start": {"p50_ms": None, "p95_ms": None, "count": 0},
               "cache_hit_rate": 0.5, "cache_hits": 7, "cache_misses": 7,
               "warm_hit_rate": 0.75, "warm_hits": 3, "warm_misses": 1}
    warm = {"ready": 2, "starting": 0, "target": 2, "hits": 3, "misses": 1}
    fake.answers["GET /v1/status"] = (200, {"version": "1", "key_figures": figures, "classes": {"a": {"warm": warm},
                                                                                               "b": {}}})
    lines = run(fake, "status").stdout.splitlines()
    assert [re.split(r"  +", line) for line in lines[:6]] == [
        ["FIGURE", "VALUE"], ["success", "97.5 % of 40 sessions"],
        ["queue wait", "half within 0.01s, 95 % within 1.20s"], ["container start", "-"],
        ["cache hits", "50.0 % of 14 requests"], ["warm hits", "75.0 % of 4 claims"]]
    assert any(re.fullmatch(r"classes\.a\.warm\.ready +2", line) for line in lines)
    assert not any("key_figures" in line for line in lines)
    figures |= {"warm_hit_rate": None, "warm_hits": 0, "warm_misses": 0}
    assert re.split(r"  +", run(fake, "status").stdout.splitlines()[5]) == ["warm hits", "-"]


def test_a_warm_container_is_marked(fake):
    fake.list([session(1, warm=True), session(2, "CLOSED", warm=True, stop_reason="warm_ttl")])
    lines = run(fake, "ps", "--all").stdout.splitlines()
    assert lines[1].endswith("  warm, not claimed") and lines[2].endswith("  warm_ttl")


# ---- timeline

CLOSED = dict(phases=phases(("queue", 0), ("launch", 100), ("start", 300), ("route", 100)), ready_ms=500,
              closing_ms=1500, closed_ms=2000, cleanup=[step("local", 1500, 1500), step("upload", 1500, 1900, "lost"),
                                                        step("deregister", 1500, 1600), step("stop", 1900, 2000)])


def test_timeline_in_text(fake):
    fake.list([session(1, "CLOSED", **CLOSED), session(2, "CLOSED", at=1000, **CLOSED)])
    lines = run(fake, "timeline", env={"COLUMNS": "120"}).stdout.splitlines()
    assert len(lines) == 5 and "3.00s" in lines[0]
    assert re.fullmatch(r"\w{12}  l+s+r+=+D+U+S+ +0\.50s CLOSED", lines[1])
    assert lines[2].index("l") - lines[1].index("l") == pytest.approx((120 - 32) / 3, abs=1)
    assert len(run(fake, "timeline", session_id(2)[-8:]).stdout.splitlines()) == 4
    fake.list([])
    run(fake, "timeline", status=6)


SVG = "{http://www.w3.org/2000/svg}"


def bars(path):
    """(title's first word, x, y, width) of every bar."""
    root = ElementTree.parse(path).getroot()
    return [(r.find(SVG + "title").text.split()[0], *(float(r.get(k)) for k in ("x", "y", "width")))
            for r in root.iter(SVG + "rect") if r.find(SVG + "title") is not None]


@pytest.mark.parametrize("count", [1, 4, 68])
def test_timeline_svg(fake, tmp_path, count):
    fake.list([session(n, "CLOSED", at=10 * n, **CLOSED) for n in range(count)])
    run(fake, "timeline", "--svg", tmp_path / "t.svg")
    found = bars(tmp_path / "t.svg")
    assert len(found) == count * 9
    ready = [b for b in found if b[0] == "ready"]
    assert [b[1] for b in ready] == sorted(b[1] for b in ready)
    scale = ready[0][3] / 1000
    upload = next(b for b in found if b[0] == "upload")
    stop = next(b for b in found if b[0] == "stop")
    assert upload[3] == pytest.approx(400 * scale, abs=0.1)
    assert stop[1] == pytest.approx(upload[1] + upload[3], abs=0.1)
    deregister = next(b for b in found if b[0] == "deregister")
    assert deregister[1] == pytest.approx(upload[1], abs=0.1) and deregister[2] > upload[2]


def test_timeline_svg_of_odd_sessions(fake, tmp_path):
    fake.list([
        session(1, "QUEUED"), session(2, "OPENING", phases=phases(("queue", 5), ("launch", None))),
        session(3, "FAILED", stop_reason="<&\"'\x01>", phases=phases(("dance", 20), ("check", 9)), closed_ms=50),
        session(4, "READY", ready_ms=10, phases=phases(("queue", 10))), session(5, at=-50, created_at=None),
        session(6, "CLOSED", phases=[{"name": "queue", "attempt": 1, "start_ms": 9, "end_ms": 3}], closed_ms=0)])
    run(fake, "timeline", "--svg", tmp_path / "t.svg")
    assert {"queue", "launch", "other", "check", "ready"} == {b[0] for b in bars(tmp_path / "t.svg")}
    text = (tmp_path / "t.svg").read_text()
    assert "&lt;&amp;&quot;'?&gt;" in text and session_id(5)[-12:] not in text
    assert run(fake, "timeline", "--svg", "-").stdout.startswith("<svg ")
    assert "nowhere" in run(fake, "timeline", "--svg", "/nowhere/t.svg", status=3).stderr


# ---- a terminal


def on_terminal(*command, rows=24, env=None):
    """What the command writes to a terminal on stderr, and its exit status."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, 80, 0, 0))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave,
                          env={**os.environ, "TERM": "xterm", **(env or {})}) as process:
        os.close(slave)
        text = b""
        while select.select([master], [], [], 60)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
    os.close(master)
    return text.decode(), process.returncode


def test_progress_on_a_terminal(fake):
    opening = session(1, "OPENING", phases=phases(("queue", 10), ("launch", None)))
    ready = session(1, "READY", phases=phases(("queue", 10), ("launch", 90)), ready_ms=100)
    polls = []

    def listing(request):
        polls.append(request)
        return 200, {"sessions": [opening if len(polls) < 3 else ready]}

    def wait(request):
        fake.lock.release()  # others are answered meanwhile
        try:
            while len(polls) < 4:
                select.select([], [], [], 0.01)
        finally:
            fake.lock.acquire()
        return 200, ready

    fake.on_create()
    fake.answers["GET /v1/sessions"] = listing
    fake.answers[f"GET /v1/sessions/{session_id(1)}"] = wait
    text, status = on_terminal(PROGRAM, "--socket", fake.path, "create", "--wait", env={"NO_COLOR": "1"})
    assert status == 0
    pictures = text.replace("\x1b[?7l", "").replace("\x1b[?7h", "").split("\x1b[1A")
    assert re.search(r"OPENING +queue ✓ 0\.01s  launch …", pictures[0])
    assert re.search(r"READY +0\.10s  queue ✓ 0\.01s  launch ✓ 0\.09s", pictures[-1])
    assert "\x1b[32m" not in text
    fake.requests.clear()
    text, status = on_terminal(PROGRAM, "--socket", fake.path, "create", "--wait", env={"NO_COLOR": ""})
    assert "\x1b[32m" in text


def test_progress_marks_the_phase_that_failed(fake):
    fake.list([session(1, "OPENING", attempt_state="ENDED", phases=phases(("queue", 10), ("start", 90)))])
    text, _ = on_terminal(PROGRAM, "--socket", fake.path, "wait", session_id(1), env={"NO_COLOR": "1"})
    assert "queue ✓ 0.01s  start ✗ 0.09s" in text


def test_progress_of_more_sessions_than_lines(fake):
    fake.list([session(1, ready_ms=5), session(2, "FAILED"), session(3, "OPENING")])
    text, status = on_terminal(PROGRAM, "--socket", fake.path, "wait", *(session_id(n) for n in (1, 2, 3)),
                               rows=3, env={"NO_COLOR": "1"})
    assert status == 0
    assert text.split("\r\x1b[K")[-1].startswith("3 sessions: 1 ready, 1 opening, 1 ended")


# ---- the real thing


def test_a_life_from_the_command_line(start):
    socket = start.cleatd().socket
    result = cleat(socket, "create", "--wait", "--count", 2, "--user", "alice")
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.split()
    assert cleat(socket, "exec", first[-12:], "print(6 * 7)").stdout == "42\n"
    result = cleat(socket, "exec", first, "-", stdin="import sys; print('no', file=sys.stderr); sys.exit(3)")
    assert result.returncode == 1 and "no\n" in result.stderr and "exit code 3" in result.stderr
    assert cleat(socket, "exec", "--bash", second, "echo $((1 + 1))").stdout == "2\n"
    assert cleat(socket, "exec", second, "--", "/bin/echo", "a  b").stdout == "a  b\n"
    assert len(cleat(socket, "ps").stdout.splitlines()) == 3
    assert "alice" in cleat(socket, "show", first).stdout
    for command in ("status", "isolation", "timeline"):
        assert cleat(socket, command).returncode == 0
    assert cleat(socket, "create", "--request-id", "..").returncode == 3
    assert cleat(socket, "kill", "--wait", first).returncode == 0
    assert cleat(socket, "exec", first, "1").returncode == 3
    assert cleat(socket, "kill", "--all", "--wait").returncode == 0
    states = [s["state"] for s in json.loads(cleat(socket, "--json", "ps").stdout)["sessions"]]
    assert states == ["CLOSED", "CLOSED"]
    assert cleat(socket, "exec", session_id(1), "1").returncode == 6
