"""cleat-executor: input on descriptor 0, and output of both streams together, by one offset."""

import base64
import hashlib
import os

from executor_client import wait_for
from executor_help import descendants, each, executors, x  # fixtures

FOUR_MIB = 4 << 20


def collect(x, ident, offset=0, wait_s=20):
    """All from offset on, as (stream, bytes, time), the offset after each answer, and the record."""
    chunks, ends = [], []
    while True:
        answer = x.get("/executions/%s/output?stream=both&offset=%d&wait_s=%d" % (ident, offset, wait_s))
        assert answer.status == 200, answer.body
        fresh = [(c["stream"], base64.b64decode(c["data_base64"]), c["time_ms"]) for c in answer.json["chunks"]]
        assert answer.json["next"] == offset + sum(len(data) for _, data, _ in fresh)
        offset = answer.json["next"]
        chunks += fresh
        ends.append(offset)
        if "record" in answer.json:
            return chunks, ends, answer.json["record"]


def text_of(chunks, stream):
    return b"".join(data for name, data, _ in chunks if name == stream)


def start(x, ident, argv=None, **fields):
    if argv:
        fields["argv"] = argv
    answer = x.execute(execution_id=ident, collect=True, wait_s=0, **fields)
    assert answer.status in (200, 202), answer.body
    return answer


def test_input_arrives_whole_in_each_sandbox(each):
    data = os.urandom(FOUR_MIB)
    start(each, "in", ["/usr/bin/sha256sum"], stdin_base64=base64.b64encode(data).decode())
    chunks, _, record = collect(each, "in")
    assert text_of(chunks, "stdout").split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert record["exit_code"] == 0 and "stdout" not in record


def test_input_cannot_be_changed_by_who_reads_it(each):
    start(each, "in", ["/bin/sh", "-c", "echo no > /proc/self/fd/0; cat"], stdin_base64=base64.b64encode(b"yes").decode())
    chunks, _, _ = collect(each, "in")
    assert text_of(chunks, "stdout") == b"yes"


def test_without_input_there_is_nothing_to_read(x):
    start(x, "none", ["/bin/cat"])
    chunks, _, record = collect(x, "none")
    assert chunks == [] and record["exit_code"] == 0
    start(x, "empty", ["/usr/bin/wc", "-c"], stdin_base64="")
    assert text_of(collect(x, "empty")[0], "stdout").strip() == b"0"


def test_input_that_is_not_base64_or_too_long_is_refused(x):
    assert x.execute(argv=["/bin/cat"], stdin_base64="?").status == 400
    long = base64.b64encode(b"x" * (FOUR_MIB + 3)).decode()
    assert x.execute(argv=["/bin/cat"], stdin_base64=long).status == 400


def test_another_input_under_the_same_id_is_a_conflict(x):
    start(x, "same", ["/bin/cat"], stdin_base64="YQ==")
    collect(x, "same")
    assert x.execute(execution_id="same", argv=["/bin/cat"], collect=True, stdin_base64="YQ==").status == 200
    assert x.execute(execution_id="same", argv=["/bin/cat"], collect=True, stdin_base64="Yg==").status == 409


def test_both_streams_come_live_in_their_order_and_with_their_time(x):
    code = (
        "import sys, time\n"
        "for n in range(4):\n"
        "    stream = sys.stderr if n % 2 else sys.stdout\n"
        "    stream.write('part %d\\n' % n); stream.flush(); time.sleep(0.2)\n"
    )
    start(x, "live", code=code)
    chunks, ends, record = collect(x, "live")
    assert [(s, d) for s, d, _ in chunks] == [
        ("stderr" if n % 2 else "stdout", b"part %d\n" % n) for n in range(4)
    ]
    assert len(ends) >= 4  # each was handed out before the next was there
    times = [t for _, _, t in chunks]
    assert times == sorted(times) and times[3] - times[0] >= 500
    assert record["exit_code"] == 0


def test_any_offset_goes_on_with_the_same_bytes(x):
    code = (
        "import sys\n"
        "for n in range(400):\n"
        "    (sys.stderr if n % 3 == 0 else sys.stdout).write('%d ' % n)\n"
        "    sys.stderr.flush(); sys.stdout.flush()\n"
    )
    start(x, "any", code=code)
    whole, _, record = collect(x, "any")
    flat = [(s, byte) for s, data, _ in whole for byte in data]
    for offset in (0, 1, 7, len(flat) // 2, len(flat) - 1, len(flat)):
        again, _, last = collect(x, "any", offset)
        assert [(s, byte) for s, data, _ in again for byte in data] == flat[offset:]
        assert last == record
    beyond = x.get("/executions/any/output?stream=both&offset=%d" % (len(flat) + 1000)).json
    assert beyond["chunks"] == [] and beyond["record"]["exit_code"] == 0


def test_bytes_that_are_no_text_come_as_they_are_and_a_flood_is_cut(x):
    limit = 300000
    start(x, "flood", ["/bin/sh", "-c", "head -c 1000000 /dev/urandom; printf '\\377\\000' >&2"], output_limit=limit)
    chunks, _, record = collect(x, "flood")
    assert len(text_of(chunks, "stdout")) == limit
    assert text_of(chunks, "stderr") == b"\xff\x00"
    assert record["truncated"] == {"stdout": True, "stderr": False}


def test_who_waits_beyond_all_output_hears_of_the_end(x):
    start(x, "quiet", ["/bin/sh", "-c", "echo said; sleep 1"])
    answer = x.get("/executions/quiet/output?stream=both&offset=999999999&wait_s=20").json
    assert answer["chunks"] == [] and answer["record"]["exit_code"] == 0


def test_output_together_is_for_who_asked_for_it(x):
    x.run("print(1)", execution_id="plain")
    assert x.get("/executions/plain/output?stream=both").status == 404
    start(x, "first", ["/bin/echo", "1"])
    collect(x, "first")
    start(x, "second", ["/bin/echo", "2"])
    collect(x, "second")
    assert x.get("/executions/first/output?stream=both").status == 404
    assert x.get("/executions/first/output?stream=stdout").body == b"1\n"


def test_a_program_that_cannot_start_says_so(x):
    start(x, "missing", ["/no/such/program"])
    chunks, _, record = collect(x, "missing")
    assert record["status"] == "failed" and record["exit_code"] != 0


def test_everything_it_started_is_gone_at_its_deadline(each):
    """Ignores SIGTERM, forks, makes sessions of its own and daemonises."""
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for n in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            os.execv('/bin/sleep', ['/bin/sleep', '3333'])\n"
        "        os._exit(0)\n"
        "print('started', flush=True)\n"
        "time.sleep(3333)\n"
    )
    start(each, "stubborn", code=code, timeout_s=3)
    wait_for(lambda: len(sleepers(each)) == 3, "three daemons")
    chunks, _, record = collect(each, "stubborn")
    assert record["timed_out"] is True and record["exit_code"] is None and record["signal"] == 9
    assert 3000 <= record["execution_time_ms"] < 3000 + 3000 + 5000, "killed 3 s later; and this machine is busy"
    assert text_of(chunks, "stdout") == b"started\n"
    assert sleepers(each) == []
    assert each.run("print('free')")["stdout"] == "free\n"


def sleepers(x):
    found = []
    for pid in descendants(x.process.pid):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                if file.read().startswith(b"/bin/sleep\x003333"):
                    found.append(pid)
        except OSError:
            pass
    return found
