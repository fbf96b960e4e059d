"""cleat job …: against an API that says what the test wants."""

import base64
import json
import re
import select
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qs

import pytest

from cleat_harness import SOURCE, poll
from fake_api import FakeApi, job, session_id, stamp
from test_cli import PROGRAM, SVG, cleat, on_terminal, run


@pytest.fixture
def fake(tmp_path):
    server = FakeApi(tmp_path / "fake.sock")
    yield server
    server.stop()


ID = session_id(1)


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["submit"], ["submit", "--"], ["submit", "--nonsense", "--", "ls"],
    ["submit", "--code", "x", "--", "ls"], ["submit", "--timeout", "0", "--", "ls"],
    ["submit", "--timeout", "1x", "--", "ls"], ["submit", "--timeout", "25h", "--", "ls"],
    ["submit", "--env", "novalue", "--", "ls"], ["submit", "--stdin-file", "/nowhere", "--", "cat"],
    ["submit", "--gpu", "-1", "--", "ls"], ["list", "x"], ["list", "--state", "tired"], ["show"],
    ["show", "abcd", "abce"], ["logs"], ["logs", "--after", "-1", ID], ["logs", "--stdout", "--stderr", ID],
    ["wait"], ["wait", "--timeout", "soon", ID], ["cancel"], ["cancel", "abc"],
    ["timeline", "--json", "--svg", "x"]])
def test_wrong_command_lines_are_usage_errors_and_ask_nobody(fake, arguments):
    result = run(fake, "job", *arguments, status=2)
    assert result.stderr and not result.stdout
    assert fake.requests == []


def test_help(fake):
    assert "cleat job logs [-f]" in run(fake, "job", "--help").stdout
    assert "cleat job wait [--timeout T]" in run(fake, "job", "wait", "--help").stdout
    assert fake.requests == []


@pytest.mark.parametrize("arguments, status", [
    (["submit", "--", "ls"], 5), (["submit", "--wait", "--", "ls"], 125), (["submit", "-f", "--", "ls"], 125),
    (["list"], 5), (["show", ID], 5), (["logs", ID], 5), (["wait", ID], 125), (["cancel", ID], 5),
    (["timeline"], 5)])
def test_unreachable(tmp_path, arguments, status):
    result = cleat(tmp_path / "nobody.sock", "job", *arguments)
    assert result.returncode == status
    assert "cannot reach cleatd" in result.stderr and not result.stdout


def completed(*words):
    script = f'. {SOURCE}/contrib/completions/cleat.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cleat; ' \
             'printf "%s\\n" "${COMPREPLY[@]}"'
    return subprocess.run(["bash", "-c", script, "-", *words], capture_output=True, text=True).stdout.split()


def test_the_shell_completes_what_there_is(fake):
    """The commands and options that --help names."""
    told = re.findall(r"^  cleat job (\w+) (.*(?:\n    [^ ].*)*)", run(fake, "job", "--help").stdout, re.M)
    assert sorted(name for name, _ in told) == sorted(w for w in completed("cleat", "job", "") if w[0] != "-")
    for name, arguments in told:
        assert set(re.findall(r"--[a-z-]+", arguments)) <= set(completed("cleat", "job", name, "--"))
    assert completed("cleat", "job", "list", "--state", "f") == ["failed"]


# ---- submit


def test_submit_sends_what_was_asked(fake, tmp_path):
    fake.on_submit()
    (tmp_path / "in").write_text("text\nof two lines\n")
    result = run(fake, "job", "submit", "--tenant", "t", "--user", "u", "--thread", "th", "--run", "r7",
                 "--name", "train", "--class", "gpu", "--request-id", "r-1", "--env", "A=1", "--env", "B=x=y",
                 "--stdin-file", tmp_path / "in", "--timeout", "5m", "--cpu-milli", 500, "--memory-mb", 256,
                 "--gpu", 1, "--label", "zone=a", "--label", "disk=fast", "--no-queue", "--", "train", "--json", "-f")
    assert result.stdout == ID + "\n" and not result.stderr
    request, = fake.requests
    assert request["body"] == {
        "tenant": "t", "user": "u", "thread": "th", "run": "r7", "name": "train", "class": "gpu",
        "request_id": "r-1", "env": {"A": "1", "B": "x=y"}, "stdin": "text\nof two lines\n", "timeout_s": 300,
        "resources": {"cpu_milli": 500, "memory_mb": 256, "gpu": 1, "labels": {"zone": "a", "disk": "fast"}},
        "no_queue": True, "argv": ["train", "--json", "-f"]}


@pytest.mark.parametrize("data", [b"\xff\x00\xfe", b"a\x00b", b"\xc3"])
def test_input_that_is_no_text_is_encoded(fake, data):
    fake.on_submit()
    done = subprocess.run([PROGRAM, "--socket", fake.path, "job", "submit", "--stdin-file", "-", "--", "cat"],
                          input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    body = fake.requests[0]["body"]
    assert "stdin" not in body and base64.b64decode(body["stdin_base64"]) == data


def test_every_submit_has_a_request_id_of_its_own(fake):
    fake.on_submit()
    for _ in range(3):
        run(fake, "job", "submit", "--code", "print(1)")
    bodies = [r["body"] for r in fake.requests]
    assert len({b["request_id"] for b in bodies}) == 3 and {b["code"] for b in bodies} == {"print(1)"}


def test_a_submit_whose_answer_is_lost_is_the_same_one(fake):
    """The connection breaks after cleatd took it: asked again with the same id, it is the same job."""
    fake.on_submit()
    submit, lost = fake.answers["POST /v1/jobs"], []

    def lose_one(request):
        if not lost:
            lost.append(request)
            return "hang up"
        return submit(request)

    fake.answers["POST /v1/jobs"] = lose_one
    run(fake, "job", "submit", "--", "ls")
    first, second = fake.requests
    assert first["body"] == second["body"] and first["body"]["request_id"]


def test_submit_that_is_refused_says_why(fake):
    fake.error("POST /v1/jobs", 429, "full", True, reason="tenant_max_queued", retry_after_s=7)
    assert "it is full; try again in 7 s (full: tenant_max_queued)" in run(fake, "job", "submit", "--", "ls", status=4).stderr
    run(fake, "job", "submit", "--wait", "--", "ls", status=125)
    fake.error("POST /v1/jobs", 409, "conflict")
    run(fake, "job", "submit", "--", "ls", status=3)


@pytest.mark.parametrize("flag", ["--wait", "--follow"])
@pytest.mark.parametrize("state, members, status, words", [
    ("succeeded", {}, 0, ""),
    ("failed", {"exit_code": 3}, 3, "failed after 1.00s: exit code 3"),
    ("failed", {"signal": 9}, 137, "failed after 1.00s: killed by SIGKILL"),
    ("failed", {"signal": 77}, 205, "killed by signal 77"),
    ("failed", {"error": {"code": "create_failed", "message": "no such image"}, "run_ms": None}, 125,
     "failed: no such image"),
    ("timed_out", {"signal": 9}, 124, "timed out after 1.00s"), ("cancelled", {}, 130, "cancelled after 1.00s"),
    ("lost", {"run_ms": None}, 125, "lost")])
def test_it_exits_as_the_job_did(fake, flag, state, members, status, words):
    fake.on_submit()
    fake.list_jobs([job(1, state, **members)])
    fake.on_logs(1, [("stdout", b"out\n"), ("stderr", b"err\n")])
    result = run(fake, "job", "submit", flag, "--", "x", status=status)
    assert words in result.stderr
    if flag == "--follow":
        assert result.stdout == "out\n" and result.stderr.startswith(f"cleat: job {ID}\nerr\n")
    else:
        assert result.stdout == ID + "\n"


def test_submit_json(fake):
    fake.on_submit()
    fake.list_jobs([job(1, "failed", exit_code=2)])
    fake.on_logs(1, [("stdout", b"out\n")])
    assert json.loads(run(fake, "job", "submit", "--json", "--", "x").stdout)["state"] == "queued"
    fake.requests.clear()
    waited = run(fake, "--json", "job", "submit", "--wait", "--", "x", status=2).stdout
    assert json.loads(waited)["exit_code"] == 2
    fake.requests.clear()
    lines = run(fake, "--json", "job", "submit", "--follow", "--", "x", status=2).stdout.splitlines()
    assert [sorted(json.loads(line))[0] for line in lines] == ["chunks", "class"]


# ---- wait


def test_wait_for_several_exits_as_the_first_that_failed(fake):
    fake.list_jobs([job(1), job(2, "failed", exit_code=7), job(3, "failed", exit_code=9)])
    result = run(fake, "job", "wait", *(session_id(n) for n in (1, 2, 3)), status=7)
    assert result.stderr.count("exit code") == 2
    document = json.loads(run(fake, "--json", "job", "wait", session_id(1), session_id(2), status=7).stdout)
    assert [j["exit_code"] for j in document["jobs"]] == [0, 7]
    run(fake, "job", "wait", session_id(4), status=125)
    run(fake, "job", "wait", "ffffffff", status=125)


def test_wait_asks_again_until_the_job_has_ended(fake):
    rounds = []

    def answer(request):
        rounds.append(request["query"])
        if len(rounds) < 3:
            return 504, {"error": {"code": "wait_timeout", "message": "not yet", "retryable": True}}
        return 200, job(1)

    fake.answers[f"GET /v1/jobs/{ID}"] = answer
    run(fake, "job", "wait", ID)
    assert rounds == ["wait=ended&timeout_s=300"] * 3


def test_wait_that_is_over(fake):
    fake.error(f"GET /v1/jobs/{ID}", 504, "wait_timeout", True)
    result = run(fake, "job", "wait", "--timeout", "1s", ID, status=125)
    assert "wait_timeout" in result.stderr


# ---- logs


def test_logs_keep_the_streams_apart(fake):
    pieces = [("stdout", b"a\n"), ("stderr", b"b\n"), ("stdout", "ä\n".encode()), ("stdout", b"\xff\x00"),
              ("stderr", b"c")]
    fake.on_logs(1, pieces)
    done = subprocess.run([PROGRAM, "--socket", fake.path, "job", "logs", ID], capture_output=True)
    assert (done.stdout, done.stderr) == ("a\nä\n".encode() + b"\xff\x00", b"b\nc")
    done = subprocess.run([PROGRAM, "--socket", fake.path, "job", "logs", "--stderr", ID], capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"b\nc")
    fake.requests.clear()
    assert run(fake, "job", "logs", "--after", 9, ID).stderr == "c"
    assert fake.requests[0]["query"] == "after=9"


def test_logs_json_is_what_the_api_said(fake):
    fake.on_logs(1, [("stdout", b"a"), ("stderr", b"b"), ("stdout", b"c")])
    lines = run(fake, "--json", "job", "logs", ID).stdout.splitlines()
    chunks = [c for line in lines for c in json.loads(line)["chunks"]]
    assert [(c["offset"], c["stream"], c["data"]) for c in chunks] == [(0, "stdout", "a"), (1, "stderr", "b"),
                                                                      (2, "stdout", "c")]


def test_logs_say_that_something_is_missing(fake):
    fake.on_logs(1, [("stdout", b"a")], truncated=True)
    assert "something of it is missing" in run(fake, "job", "logs", ID).stderr


def test_follow_asks_on_after_what_it_has(fake):
    """Also when cleatd goes away in between: no piece twice, none left out."""
    arrived, asked = [b"one\n"], []

    def logs(request):
        after = int(request["query"].split("&")[0].removeprefix("after="))
        asked.append(after)
        if len(asked) == 2:
            return "hang up"
        if len(asked) == 3:
            arrived.append(b"two\n")
        if len(asked) == 4:
            arrived.append(b"three\n")
        data = b"".join(arrived)[after:]
        return 200, {"chunks": [{"offset": after, "time": stamp(0), "stream": "stdout", "data": data.decode()}],
                     "next": after + len(data), "ended": len(asked) >= 4, "truncated": False}

    fake.answers[f"GET /v1/jobs/{ID}/logs"] = logs
    assert run(fake, "job", "logs", "-f", ID).stdout == "one\ntwo\nthree\n"
    assert asked[:4] == [0, 4, 4, 8]


def test_an_interrupt_says_how_to_go_on(fake):
    fake.on_logs(1, [("stdout", b"begun\n")], ended=False)
    first = fake.answers[f"GET /v1/jobs/{ID}/logs"]
    waiting = []

    def logs(request):
        if "after=6" in request["query"]:
            waiting.append(request)
            fake.lock.release()
            try:
                select.select([], [], [], 1)  # a long poll: the answer is not awaited
            finally:
                fake.lock.acquire()
        return first(request)

    fake.answers[f"GET /v1/jobs/{ID}/logs"] = logs
    with subprocess.Popen([PROGRAM, "--socket", fake.path, "job", "logs", "-f", ID], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        poll(lambda: waiting, 20, "the second question")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == "begun\n"
    assert f"cleat job logs -f --after 6 {ID}" in err


def test_logs_into_a_pipe_that_closes_end(fake):
    pieces = [("stdout", b"x" * 60000)] * 60
    fake.on_logs(1, pieces)
    with subprocess.Popen([PROGRAM, "--socket", fake.path, "job", "logs", ID], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(30) == 3
    assert len(fake.requests) < 30


# ---- what is shown


def test_list_says_what_each_is_at(fake):
    fake.list_jobs([
        job(1, "failed", exit_code=3, ran=6020, output={"bytes": 12345, "truncated": False}, user="ann"),
        job(2, "failed", signal=15, tenant="acme"), job(3, "running", at=100, ran=None),
        job(4, "queued", waited=None, start=None, ran=None,
            queue={"position": 3, "ahead": 2, "estimated_start_at": stamp(0), "reason": "max_parallel"}),
        job(5, "failed", error={"code": "x", "message": "no such\ncommand"}, ran=None)])
    text = run(fake, "job", "list").stdout
    lines = text.splitlines()
    assert len(lines) == 6
    assert re.search(r"job-1 +failed +default +- +ann .* 6\.02s +3 +12 KiB +-$", lines[1])
    assert "SIGTERM" in lines[2] and "acme" in lines[2]
    assert re.search(r"job-4 +queued .*in the queue, place 3, starts in about 0\.00s \(max_parallel\)$", lines[4])
    assert "no such?command" in lines[5]
    run(fake, "--json", "job", "list", "--state", "failed", "--tenant", "a&b")
    assert parse_qs(fake.requests[-1]["query"]) == {"state": ["failed"], "tenant": ["a&b"]}


def test_show_and_short_ids(fake):
    fake.list_jobs([job(1), job(2)])
    assert re.search(f"job_id +{ID}", run(fake, "job", "show", ID[-4:]).stdout)
    assert "means 2 jobs" in run(fake, "job", "show", ID[:8], status=2).stderr
    assert "no such job" in run(fake, "job", "show", "ffffffff", status=6).stderr
    assert json.loads(run(fake, "job", "--json", "show", session_id(2)).stdout)["name"] == "job-2"


def test_cancel_goes_on_after_a_failure(fake):
    fake.answers[f"DELETE /v1/jobs/{session_id(2)}"] = (202, job(2, "cancelled"))
    run(fake, "job", "cancel", ID, session_id(2), status=6)
    asked = sorted(r["path"] for r in fake.requests if r["method"] == "DELETE")  # both at the same time
    assert asked == sorted([f"/v1/jobs/{ID}", f"/v1/jobs/{session_id(2)}"])


# ---- the picture


def six_sleepers():
    return [job(n, at=200 * n, start=100, ran=6000) for n in range(6)]


def test_timeline_draws_the_overlap(fake):
    fake.list_jobs(six_sleepers())
    lines = run(fake, "job", "timeline", env={"COLUMNS": "132"}).stdout.splitlines()
    assert len(lines) == 9 and "7.10s" in lines[0]
    assert re.fullmatch(r"job-0 +s+=+ +6\.00s succeeded", lines[1])
    assert re.fullmatch(r"at once {7} +1+2+3+4+5+6{60,}5+4+3+2+1+ +6 at once for 5\.00s", lines[7])
    fake.list_jobs([])
    run(fake, "job", "timeline", status=6)


def test_timeline_of_waves(fake):
    """The next wave begins at the very moment that one ends: they did not run together."""
    fake.list_jobs([job(n, at=n, waited=1000 * (n // 2) - n, start=0, ran=1000) for n in range(6)])
    lines = run(fake, "job", "timeline", env={"COLUMNS": "92"}).stdout.splitlines()
    assert re.fullmatch(r"at once {7}2+ +2 at once for 3\.00s", lines[7])
    assert re.fullmatch(r"job-5 +q+=+ +1\.00s succeeded", lines[6])


def test_timeline_svg_of_jobs(fake, tmp_path):
    fake.list_jobs(six_sleepers())
    run(fake, "job", "timeline", "--svg", tmp_path / "t.svg")
    root = ElementTree.parse(tmp_path / "t.svg").getroot()
    titles = [r.find(SVG + "title").text for r in root.iter(SVG + "rect") if r.find(SVG + "title") is not None]
    assert sum(t.startswith("succeeded ") for t in titles) == 6
    assert sum(t == "6 at once for 5.00s" for t in titles) == 1
    assert sum("at once" in t for t in titles) == 11
    assert "6 of 6 ended, 6 succeeded" in (tmp_path / "t.svg").read_text()


def test_timeline_of_odd_jobs(fake, tmp_path):
    fake.list_jobs([
        job(1, "queued", waited=None, start=None, ran=None, name="<a&b>" * 9), job(2, "starting", start=None, ran=None),
        job(3, "running", ran=None, name=None), job(4, "failed", error="\x01", ran=None), job(5, "dancing"),
        job(6, created_at=None), job(7, "cancelled", ran=0), job(8, queue_ms=10**9)])
    assert len(run(fake, "job", "timeline").stdout.splitlines()) == 7 + 3
    run(fake, "job", "timeline", "--svg", tmp_path / "t.svg")
    ElementTree.parse(tmp_path / "t.svg")


# ---- a terminal


def test_progress_of_a_job(fake):
    waiting = job(1, "queued", waited=None, start=None, ran=None)
    waiting.update(queue={"position": 2, "ahead": 1, "estimated_start_at": None, "reason": "max_parallel"})
    running = job(1, "running", ran=None, output={"bytes": 2048, "truncated": False})
    polls = []

    def listing(request):
        polls.append(request)
        return 200, {"jobs": [waiting if len(polls) < 3 else running if len(polls) < 5 else job(1)]}

    def wait(request):
        fake.lock.release()
        try:
            poll(lambda: len(polls) > 5, 30, "pictures")
        finally:
            fake.lock.acquire()
        return 200, job(1)

    fake.answers["GET /v1/jobs"] = listing
    fake.answers[f"GET /v1/jobs/{ID}"] = wait
    text, status = on_terminal(PROGRAM, "--socket", fake.path, "job", "wait", ID, env={"NO_COLOR": "1"})
    assert status == 0
    pictures = text.replace("\x1b[?7l", "").replace("\x1b[?7h", "").split("\x1b[1A")
    assert re.search(r"job-1  in the queue, place 2 \(max_parallel\)", pictures[0])
    assert any(re.search(r"job-1  running for .*, 2\.0 KiB of output", p) for p in pictures)
    assert re.search(r"job-1  succeeded in 1\.00s", pictures[-1])
