"""Jobs: what a shell command line would do, on containers of their own."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import pytest

from cleat_harness import ApiError, haproxy_class, in_parallel, poll, shared_connections
from test_cli import PROGRAM, cleat
from test_plain import plain_class

MANY = int(os.environ.get("CLEAT_JOBS", "0"))  # soak: as many short jobs at once


@pytest.fixture(scope="module")
def daemon(module_start):
    """One cleatd for the tests that need none of their own; a class for each way to limit."""
    return module_start.cleatd(
        max_sessions=256, max_queued=1000,
        classes={"default": {"job_log_limit_kb": 64}, "two": {"max_parallel": 2}, "one": {"max_parallel": 1},
                 "boxed": {"max_parallel": 1, "sandbox": "bwrap", "network": "host"}, "six": {"max_parallel": 6}})


@pytest.fixture
def api(daemon):
    return daemon.api


@pytest.fixture
def shared(module_start):
    """Where jobs leave marks: whatever they did is read there, never asked of cleatd."""
    path = module_start.shared / f"t{time.monotonic_ns()}"
    path.mkdir()
    path.chmod(0o777)
    return path


def sleeper(shared, name, seconds):
    """Writes when it began and when it ended."""
    return ["/bin/sh", "-c", f"date +%s.%N >{shared}/{name}.begin; sleep {seconds}; date +%s.%N >{shared}/{name}.end"]


def runs(shared, count, prefix=""):
    """(begin, end) of each sleeper, by its own book."""
    return [tuple(float((shared / f"{prefix}{n}.{what}").read_text()) for what in ("begin", "end"))
            for n in range(count)]


def at_once(intervals):
    """The most that ran at the same time."""
    edges = sorted([(b, 1) for b, _ in intervals] + [(e, -1) for _, e in intervals])
    now = most = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


def pace(seconds):
    select.select([], [], [], max(0, seconds))


# ---- many


def six_sleepers(api, shared, round):
    """For how long all of them ran together, by their own book."""
    ids, begin = [], time.monotonic()
    for n in range(6):
        pace(begin + 0.2 * n - time.monotonic())
        command = sleeper(shared, f"{round}-{n}", 6)
        ids.append(api.submit(*command, **{"class": "six", "name": f"sleeper-{n}"})["job_id"])
    over = [api.ended(i) for i in ids]
    assert [j["state"] for j in over] == ["succeeded"] * 6, over
    intervals = runs(shared, 6, f"{round}-")
    assert at_once(intervals) == 6, intervals
    return min(e for _, e in intervals) - max(b for b, _ in intervals)


def test_six_sleepers_overlap(api, shared):
    """Six that sleep 6 s, submitted 0.2 s apart: all of them run together for at least 4 s. The better of two
    rounds: on a busy machine the last one may start late."""
    overlap = six_sleepers(api, shared, 1)
    if overlap < 4:
        overlap = max(overlap, six_sleepers(api, shared, 2))
    assert overlap >= 4, f"they overlap for {overlap:.2f} s"


def test_three_waves_in_order(api, shared):
    """Six with max_parallel 2: never more than two, in the order in which they were submitted."""
    ids = [api.submit(*sleeper(shared, n, 0.7), **{"class": "two", "name": f"wave-{n}"})["job_id"] for n in range(6)]
    over = [api.ended(i) for i in ids]
    assert [j["state"] for j in over] == ["succeeded"] * 6, over
    intervals = runs(shared, 6)
    assert at_once(intervals) == 2, intervals
    for n in range(2, 6):
        ended = sorted(e for _, e in intervals[:n])
        assert intervals[n][0] >= ended[n - 2], f"{n} began before {n - 1} of those before it had ended"
    for wave in (1, 2):
        latest_before = max(b for b, _ in intervals[2 * wave - 2:2 * wave])
        assert min(b for b, _ in intervals[2 * wave:2 * wave + 2]) > latest_before, intervals


@pytest.mark.parametrize("count", [50] + [MANY] * (MANY > 0))
def test_many_short_jobs_all_succeed(api, count):
    def one(n):
        job = api.submit("/bin/sh", "-c", f"echo out {n}; echo err {n} >&2", name=f"short-{n}")["job_id"]
        return job, api.ended(job, 300)

    done = in_parallel(one, range(count))
    assert [j["state"] for _, j in done] == ["succeeded"] * count, [j for _, j in done if j["state"] != "succeeded"]
    assert len({job for job, _ in done}) == count
    for n, (job, _) in enumerate(done):
        assert api.output(job, "stdout") == b"out %d\n" % n
        assert api.output(job, "stderr") == b"err %d\n" % n


# ---- how they end


@pytest.mark.parametrize("command, members, status", [
    ("exit 0", {"state": "succeeded", "exit_code": 0, "signal": None}, 0),
    ("exit 3", {"state": "failed", "exit_code": 3, "signal": None}, 3),
    ("kill -SEGV $$", {"state": "failed", "signal": signal.SIGSEGV}, 128 + signal.SIGSEGV)])
def test_exit_codes_and_signals(daemon, command, members, status):
    result = cleat(daemon.socket, "job", "submit", "--follow", "--", "/bin/sh", "-c", f"echo begun; {command}")
    assert (result.returncode, result.stdout) == (status, "begun\n"), result.stderr
    job, = re.findall(r"cleat: job (\S+)", result.stderr)
    document = daemon.api.job(job)
    assert {k: document[k] for k in members} == members
    assert document["stop_reason"] == "job_ended" and document["output"] == {"bytes": 6, "truncated": False}
    assert daemon.api.wait(job, "closed")["state"] == "CLOSED"


def test_a_program_that_is_not_there(api):
    over = api.ended(api.submit("/nowhere/to/be/found")["job_id"])
    assert over["state"] == "failed" and over["exit_code"] in (126, 127), over
    assert b"/nowhere/to/be/found" in api.output(over["job_id"], "stderr")


def test_input_environment_and_workspace(daemon, tmp_path):
    data = bytes(range(256)) * 300
    (tmp_path / "in").write_bytes(data)
    done = subprocess.run(
        [PROGRAM, "--socket", daemon.socket, "job", "submit", "-f", "--class", "two", "--stdin-file", tmp_path / "in",
         "--env", "GREETING=hello  you", "--", "/bin/sh", "-c", "cat; pwd >&2; printf %s \"$GREETING\" >&2"],
        capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == data
    head, workspace, greeting = done.stderr.decode().split("\n")
    assert greeting == "hello  you" and str(daemon.root / "state") in workspace
    poll(lambda: not os.path.exists(workspace), 30, "the end of the workspace")


def test_one_request_is_one_job(api):
    first = api.submit("/bin/true", request_id="the-same")
    assert api.submit("/bin/true", request_id="the-same")["job_id"] == first["job_id"]
    with pytest.raises(ApiError) as failed:
        api.submit("/bin/false", request_id="the-same")
    assert failed.value.status == 409
    assert api.ended(first["job_id"])["state"] == "succeeded"


# A daemon as daemon(7) has it: forked twice, in a session of its own, with no descriptor of its parent.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.closerange(0, 64)
        os.execv("/bin/sleep", ["sleep", sys.argv[1]])
    os._exit(0)
print("begun", flush=True)
while True:
    time.sleep(60)
"""


def sleeping(mark):
    """Processes with this argument, wherever they are."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(int(pid))
        except OSError:
            pass
    return found


def test_the_deadline_ends_whatever_the_job_started(api):
    """It ignores SIGTERM, and what it left as a daemon does too; the next one gets its place. In a sandbox as
    well as without one, at the same time."""
    def one(name):
        mark = f"8639{len(name)}.{time.monotonic_ns()}"
        job = api.submit("/usr/bin/python3", "-c", DAEMON, mark, timeout_s=3, **{"class": name})["job_id"]
        after = api.submit("/bin/echo", "next", **{"class": name})["job_id"]
        poll(lambda: sleeping(mark), 30, "the daemon")
        assert api.job(after)["state"] == "queued"
        over = api.ended(job)
        assert over["state"] == "timed_out" and over["run_ms"] >= 3000, over
        assert api.ended(after)["state"] == "succeeded"
        assert not sleeping(mark), "it was gone before its place was given away"
        assert api.output(job) == b"begun\n" and api.output(after) == b"next\n"

    in_parallel(one, ["one", "boxed"])


def test_cancel(daemon, api):
    """A running one with all it started, and a queued one, which never runs."""
    mark = f"86398.{time.monotonic_ns()}"
    running = api.submit("/bin/sh", "-c", f"echo begun; sleep {mark}", **{"class": "one"})["job_id"]
    queued = api.submit("/bin/echo", "never", **{"class": "one"})["job_id"]
    poll(lambda: sleeping(mark) and api.logs(running)["chunks"], 30, "the job")
    waits = api.job(queued)
    assert waits["state"] == "queued" and waits["queue"]["position"] == 1
    assert waits["queue"]["reason"] == "max_parallel" and api.job(running)["queue"] is None
    assert "place 1" in cleat(daemon.socket, "job", "list", "--state", "queued").stdout
    assert cleat(daemon.socket, "job", "cancel", queued, running).returncode == 0
    for job in (queued, running):
        assert cleat(daemon.socket, "job", "wait", job).returncode == 130
        assert api.job(job)["state"] == "cancelled"
    poll(lambda: not sleeping(mark), 30, "the end of what it started")
    assert api.output(running, "stdout") == b"begun\n" and api.output(queued) == b""
    assert api.job(queued)["started_at"] is None
    assert api.ended(api.submit("/bin/true", **{"class": "one"})["job_id"])["state"] == "succeeded"


def test_jobs_in_plain_containers(start):
    """Code alone, whose output comes whole; at the deadline the container is stopped."""
    cleatd = start.cleatd(classes={"default": plain_class(start.root, max_parallel=1)})
    api = cleatd.api
    jobs = [api.submit(code=code, timeout_s=t)["job_id"] for code, t in (
        ("import time; time.sleep(600)", 1), ("print(6 * 7)", 60), ("1 / 0", 60))]
    late, fine, failed = (api.ended(j) for j in jobs)
    assert (late["state"], fine["state"], failed["state"]) == ("timed_out", "succeeded", "failed")
    assert api.output(jobs[1]) == b"42\n" and fine["output"]["bytes"] == 3
    assert cleat(cleatd.socket, "job", "wait", *jobs).returncode == 124
    with pytest.raises(ApiError) as refused:
        api.submit("/bin/true")
    assert refused.value.status == 400


def test_jobs_behind_a_balancer(start):
    """Each one's output is its own, and no connection carries that of two."""
    haproxy = start.haproxy()
    api = start.cleatd(classes={"default": haproxy_class(haproxy)}).api
    jobs = in_parallel(lambda n: api.submit("/bin/sh", "-c", f"seq 1000; echo of {n}")["job_id"], range(4))
    assert [api.ended(j)["state"] for j in jobs] == ["succeeded"] * 4
    for n, job in enumerate(jobs):
        assert api.output(job) == b"".join(b"%d\n" % i for i in range(1, 1001)) + b"of %d\n" % n
        api.wait(job, "closed")
    assert not shared_connections(haproxy.requests())


# ---- output


def test_output_is_live_and_in_order(api, shared):
    """Each piece is there while the job goes on; any offset goes on from there."""
    job = api.submit("/bin/sh", "-c", f"echo one; echo two >&2; until [ -e {shared}/go ]; do sleep 0.02; done; "
                     "printf 'three\\377\\n'")["job_id"]
    poll(lambda: api.output(job) == b"one\ntwo\n", 30, "the first output")
    assert api.job(job)["state"] == "running"
    chunks = api.logs(job)["chunks"]
    assert [(c["stream"], c["offset"], c["data"]) for c in chunks] == [("stdout", 0, "one\n"), ("stderr", 4, "two\n")]
    assert chunks[0]["time"] <= chunks[1]["time"]
    (shared / "go").touch()
    follow = api.logs(job, 8, "&follow=true&timeout_s=60")
    assert follow["chunks"][0]["offset"] == 8 and "data_base64" in follow["chunks"][0]
    api.ended(job)
    whole = b"one\ntwo\nthree\xff\n"
    assert api.output(job) == whole
    for after in range(len(whole) + 1):
        answer = api.logs(job, after)
        assert answer["next"] == len(whole) and answer["ended"] and not answer["truncated"]
        assert bool(answer["chunks"]) == (after < len(whole))
        assert all(c["offset"] >= after for c in answer["chunks"])
    assert api.output(job, "stderr") == b"two\n"


def test_output_that_is_too_long_is_cut_and_says_so(daemon, api):
    line = "0123456789abcde"
    job = api.submit("/bin/sh", "-c", f"yes {line} | head -c 1000000; echo end >&2")["job_id"]
    over = api.ended(job)
    kept = api.output(job)
    assert over["state"] == "succeeded" and over["output"] == {"bytes": len(kept), "truncated": True}
    assert 32 * 1024 <= len(kept) <= 64 * 1024
    assert kept == ((line + "\n").encode() * 4096)[:len(kept)], "its beginning, and nothing else"
    result = cleat(daemon.socket, "job", "logs", job)
    assert result.stdout.encode() == kept and "something of it is missing" in result.stderr
    assert len(list((daemon.root / "state" / "jobs").glob(f"{job}*"))) > 0


# ---- restarts


COUNTER = """i=0
until [ -e {go} ]; do echo "line $i"; i=$((i+1)); sleep 0.02; done
echo "last $i"; exit {status}"""


def test_nothing_is_lost_when_cleatd_is_killed(start):
    """Two run and two wait when cleatd dies: the queue, the jobs and the log that is being read go on."""
    cleatd = start.cleatd(classes={"default": {"max_parallel": 2}})
    api, go = cleatd.api, start.shared / "go"
    running = [api.submit("/bin/sh", "-c", COUNTER.format(go=go, status=n), name=f"counter-{n}")["job_id"]
               for n in range(2)]
    queued = [api.submit("/bin/sh", "-c", f"date +%s.%N; echo queued {n}")["job_id"] for n in range(2)]
    with subprocess.Popen([PROGRAM, "--socket", cleatd.socket, "job", "logs", "-f", running[1]],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        for _ in range(2):
            poll(lambda: all(len(api.output(j)) > 100 for j in running), 60, "output")
            before = [len(api.output(j)) for j in running]
            cleatd.kill()
            cleatd.start()
            poll(lambda: all(len(api.output(j)) > b for j, b in zip(running, before)), 60, "output after the restart")
            assert [api.job(j)["state"] for j in running + queued] == ["running"] * 2 + ["queued"] * 2
        go.touch()
        out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err
    count = int(out.splitlines()[-1].removeprefix("last "))
    assert out == "".join(f"line {n}\n" for n in range(count)) + f"last {count}\n", "no gap and no repeat"
    over = [api.ended(j) for j in running + queued]
    assert [j["exit_code"] for j in over] == [0, 1, 0, 0], over
    assert len(cleatd.launches()) == 4, "nothing was started twice"
    first, second = (api.output(j).decode().splitlines() for j in queued)
    assert (first[1], second[1]) == ("queued 0", "queued 1")
    cleatd.kill()
    cleatd.start()
    assert [api.job(j)["exit_code"] for j in running + queued] == [0, 1, 0, 0]
    assert api.output(running[1]).decode() == out


def test_an_ended_job_is_forgotten_with_its_output(start):
    cleatd = start.cleatd(retention_s=1)
    job = cleatd.api.submit("/bin/echo", "gone soon")["job_id"]
    assert cleatd.api.ended(job)["state"] == "succeeded"
    poll(lambda: not list((cleatd.root / "state" / "jobs").glob(f"{job}*")), 60, "the end of its log")
    poll(lambda: not [j for j in cleatd.api.jobs() if j["job_id"] == job], 60, "the end of its record")
    assert cleat(cleatd.socket, "job", "show", job).returncode == 6


# ---- the picture


def test_the_picture_of_those_that_overlap(daemon, api, shared):
    ids = [api.submit("/bin/sh", "-c", f"touch {shared}/{n}; while [ $(ls {shared} | wc -l) -lt 3 ]; do sleep 0.02; done",
                      name=f"meets-{n}")["job_id"] for n in range(3)]
    assert [api.ended(i)["state"] for i in ids] == ["succeeded"] * 3
    text = cleat(daemon.socket, "job", "timeline", *ids).stdout
    assert re.search(r"^meets-1 .* succeeded$", text, re.M)
    assert re.search(r"^at once .* 3 at once for ", text, re.M), text
    listed = json.loads(cleat(daemon.socket, "--json", "job", "list", "--state", "succeeded").stdout)["jobs"]
    assert set(ids) <= {j["job_id"] for j in listed}
