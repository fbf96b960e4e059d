"""Streams of events: gapless and in order for readers that drop and come back, bounded for slow ones."""

import json
import os
import random
import subprocess

from cleat_harness import BUILD, haproxy_class, in_parallel, poll
from event_reader import Reader, Stream, read_all

SESSIONS = int(os.environ.get("CLEAT_EVENT_SESSIONS", "16"))


def resident_kb(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * 4


def codes(events):
    return [event for _, event, _ in events]


def check_session(events, session):
    """From the first to the last, none missing, none twice; what each says agrees with itself."""
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    for number, code, data in events:
        assert (data["seq"], data["code"], data["session_id"]) == (number, code, session)
        assert data["message"] and data["id"] > 0 and data["time"].endswith("Z")
    times = [data["time"] for _, _, data in events]
    assert times == sorted(times)


def test_a_session_tells_its_life(start):
    cleatd = start.cleatd()
    session = cleatd.api.create(tenant="acme", request_id="r1")["session_id"]
    reader = Reader(cleatd.socket, f"/v1/sessions/{session}/events")
    cleatd.api.wait(session)
    cleatd.api.execute(session, "print('x' * 10)", execution_id="e1")
    cleatd.api.close(session)
    events = reader.result()
    assert events.pop()[2] == {"code": "end", "reason": "closed"}
    check_session(events, session)
    story = [c for c in codes(events) if c.startswith(("session.", "execution.", "output"))]
    assert story == ["session.queued", "session.opening", "session.ready", "execution.begin", "session.busy",
                     "output", "execution.end", "session.ready", "session.closing", "session.closed"]
    attempts = [c for c in codes(events) if c.startswith("attempt.")]
    assert attempts == ["attempt." + s for s in (
        "launching starting registering checking routing staging live ending ended").split()]
    assert [d["op"] for _, c, d in events if c == "op.begin"] == ["launch", "add", "remove", "stop"]
    assert {d["step"]: d["result"] for _, c, d in events if c == "cleanup.step"} == {
        "upload": "ok", "deregister": "ok", "drain": "ok", "stop": "ok"}
    mark = next(d for _, c, d in events if c == "output")
    assert (mark["stream"], mark["offset"], mark["bytes"], mark["execution"]) == ("stdout", 0, 11, "e1")
    assert all(d["tenant"] == "acme" for _, _, d in events)

    # Later it is the same, as long as it is kept, from any place on.
    assert read_all(cleatd.api, f"/v1/sessions/{session}/events") == events
    assert read_all(cleatd.api, f"/v1/sessions/{session}/events?after={events[4][0]}") == events[5:]
    assert read_all(cleatd.api, "/v1/events?after=0&tenant=other") == []
    ours = read_all(cleatd.api, "/v1/events?after=0&tenant=acme")
    assert [{**d, "id": 0} for _, _, d in ours] == [{**d, "id": 0} for _, _, d in events]
    assert [n for n, _, _ in ours] == [d["id"] for _, _, d in ours] == list(range(1, len(ours) + 1))


def test_requests_that_make_no_sense_are_refused(start):
    cleatd = start.cleatd()
    for id_ in ("x", "-1", "01", "1" * 19):
        assert cleatd.api.raw("GET", "/v1/events", headers={"Last-Event-ID": id_})[0] == 400
        assert cleatd.api.raw("GET", f"/v1/events?after={id_}")[0] == 400
    assert cleatd.api.raw("GET", "/v1/events?follow=maybe")[0] == 400
    assert cleatd.api.raw("POST", "/v1/events")[0] == 405
    unknown = "018bcfe5-6800-7000-8000-000000000001"
    assert cleatd.api.raw("GET", f"/v1/sessions/{unknown}/events")[0] == 404
    with Stream(cleatd.socket, "/v1/events?follow=false") as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        assert codes(list(stream)) == ["end"]
    assert cleatd.api.raw("HEAD", "/v1/events") == (200, None)


def test_readers_that_drop_and_come_back_miss_nothing(start):
    """The readers leave after every few events; nothing is missing, twice or out of order."""
    dice = random.Random(5)
    cleatd = start.cleatd(max_sessions=12, max_queued=SESSIONS)
    everything = Reader(cleatd.socket, "/v1/events?after=0", drop=lambda: dice.randint(1, 60))

    def live(number):
        session = cleatd.api.create(tenant=f"t{number % 3}")["session_id"]
        reader = Reader(cleatd.socket, f"/v1/sessions/{session}/events", drop=lambda: dice.randint(1, 7))
        cleatd.api.wait(session, timeout_s=300)
        cleatd.api.execute(session, "print(1)")
        cleatd.api.close(session, timeout_s=300)
        return session, reader

    lives = in_parallel(live, range(SESSIONS), SESSIONS)
    for session, reader in lives:
        events = reader.result()
        assert events.pop()[1] == "end"
        check_session(events, session)
        assert events[-1][1] == "session.closed"
        assert reader.connections > 3
        assert read_all(cleatd.api, f"/v1/sessions/{session}/events") == events
    kept = read_all(cleatd.api, "/v1/events?after=0")
    poll(lambda: len(everything.events) == len(kept), 30, "the last event")
    assert everything.stop() == kept
    assert [n for n, _, _ in kept] == list(range(1, len(kept) + 1))
    for session, reader in lives:
        own = [d for _, _, d in kept if d.get("session_id") == session]
        assert own == [d for _, _, d in reader.events]


def be_eventful(cleatd, tenant, count):
    """Two events each."""
    for _ in range(count):
        cleatd.api.call("POST", "/v1/drain", {"tenant": tenant})
        cleatd.api.call("DELETE", f"/v1/drain?tenant={tenant}")


def test_a_slow_reader_is_cut_off_and_costs_nothing(start):
    cleatd = start.cleatd(asan="quarantine_size_mb=1")  # which is no memory of its own
    tenants = ["a" * 120, "b" * 120]
    quick = Reader(cleatd.socket, "/v1/events?after=0")
    slow = Stream(cleatd.socket, "/v1/events?after=0", buffer=4096)  # and it reads no more
    before = resident_kb(cleatd.process.pid)

    def cut_off():
        in_parallel(lambda tenant: be_eventful(cleatd, tenant, 50), tenants)
        return [line for line in cleatd.log_lines() if "event=api.slow_reader" in line]

    poll(cut_off, 120, "the end of the slow reader")
    grown = resident_kb(cleatd.process.pid) - before
    poll(lambda: quick.events and quick.events[-1][0] == read_all(cleatd.api, "/v1/events?after=0")[-1][0], 30,
         "the quick reader")
    numbers = [n for n, _, _ in quick.stop()]
    assert numbers == list(range(1, len(numbers) + 1)), "nobody else noticed"
    print(f"{len(numbers)} events, resident {grown} KB more")
    assert grown < 16384

    # It was cut off, not ended; it comes back where it was and has all.
    events = []
    try:
        for event in slow:
            events.append(event)
    except Exception as error:  # noqa: BLE001
        assert type(error).__name__ == "Lost" or isinstance(error, OSError), error
    assert not slow.ended and 0 < len(events) < len(numbers)
    with Stream(cleatd.socket, "/v1/events?follow=false", str(events[-1][0])) as again:
        events += list(again)[:-1]
    assert [n for n, _, _ in events] == list(range(1, len(events) + 1))
    slow.close()


def of_sessions(reader):
    return [data for _, _, data in reader.events if "session_id" in data]


def test_numbers_go_on_after_a_crash(start):
    """What readers saw is true afterwards, and no number comes twice."""
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    one = Reader(cleatd.socket, f"/v1/sessions/{session}/events", again=lambda: True)
    everything = Reader(cleatd.socket, "/v1/events?after=0", again=lambda: True)
    cleatd.api.execute(session, "print(1)")
    poll(lambda: "execution.end" in codes(one.events) and codes(one.events)[-1] == "session.ready", 20,
         "the events of the execution")
    poll(lambda: len(of_sessions(everything)) == len(one.events), 20, "the same of all")
    seen, seen_of_all = list(one.events), list(everything.events)
    check_session(seen, session)
    cleatd.kill()
    cleatd.start()
    poll(lambda: cleatd.api.session(session)["state"] == "READY", 30, "the session")
    cleatd.api.close(session)
    events = one.result()
    assert events[:len(seen)] == seen and events.pop()[1] == "end"
    check_session(events, session)  # nothing was lost, since all of it was seen before
    assert codes(events)[len(seen):][:2] == ["attempt.routing", "session.rerouting"]
    # Of all events the numbers go on later, which a gap says.
    poll(lambda: "session.closed" in codes(everything.events), 20, "the last event")
    later = everything.stop()[len(seen_of_all):]
    number, code, gap = later.pop(0)
    assert (code, gap["from"], gap["to"]) == ("gap", seen_of_all[-1][0] + 1, number)
    assert [n for n, _, _ in later] == list(range(number + 1, number + 1 + len(later)))


def test_what_is_forgotten_is_said(start):
    cleatd = start.cleatd(retention_s=1)
    session = cleatd.api.ready()["session_id"]
    cleatd.api.close(session)
    seen = read_all(cleatd.api, f"/v1/sessions/{session}/events")
    cleatd.stop()
    cleatd.start()
    status, _ = cleatd.api.raw("GET", f"/v1/sessions/{session}")
    if status == 200:  # it may be forgotten already
        assert codes(read_all(cleatd.api, f"/v1/sessions/{session}/events")) == ["gap"]
        number, _, gap = read_all(cleatd.api, f"/v1/sessions/{session}/events")[0]
        assert (gap["from"], gap["to"]) == (1, len(seen)) and number == len(seen)
        assert read_all(cleatd.api, f"/v1/sessions/{session}/events?after={number}") == []


# ---- other clients ----


def command(cleatd, *arguments, **options):
    return subprocess.Popen([BUILD / "cleat", "--socket", cleatd.socket, "--json", "events", *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"}, **options)


def test_the_command_resumes_by_itself(start):
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    watch = command(cleatd, "-f", session)
    first = [json.loads(watch.stdout.readline()) for _ in range(8)]
    assert [e["seq"] for e in first] == list(range(1, 9))
    cleatd.kill()
    cleatd.start()
    poll(lambda: cleatd.api.session(session)["state"] == "READY", 30, "the session")
    cleatd.api.close(session)
    rest = [json.loads(line) for line in watch.stdout]
    errors = watch.stderr.read()
    watch.wait(60)
    assert watch.returncode == 0 and "the connection is lost" in errors, errors
    numbers = [e["seq"] for e in first + rest if "seq" in e]
    gaps = [e for e in rest if e["code"] == "gap"]
    covered = sorted(numbers + [n for g in gaps for n in range(g["from"], g["to"] + 1)])
    assert covered == list(range(1, len(covered) + 1)), (numbers, gaps)
    assert rest[-1]["code"] == "session.closed"

    # Without -f it ends with what there is; people get a line for each.
    kept, _ = command(cleatd, "--after", "0").communicate(timeout=60)
    assert json.loads(kept.splitlines()[-1])["code"] == "session.closed"
    shown = subprocess.run([BUILD / "cleat", "--socket", cleatd.socket, "events", session],
                           capture_output=True, text=True, timeout=60)
    assert "session.closed" in shown.stdout and "are not kept" in shown.stderr, shown
    assert command(cleatd, "018bcfe5-6800-7000-8000-000000000001").wait(60) == 6


def test_curl_reads_it_too(start):
    """A client that knows nothing of ours."""
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    cleatd.api.close(session)
    text = subprocess.run(["curl", "-sSN", "--fail", "--unix-socket", str(cleatd.socket),
                           f"http://localhost/v1/sessions/{session}/events"], capture_output=True, text=True,
                          timeout=60, check=True).stdout
    ids = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
    kept = read_all(cleatd.api, f"/v1/sessions/{session}/events")
    assert ids[-len(kept) - 1:] == [n for n, _, _ in kept] + [kept[-1][0]]
    old = subprocess.run(["curl", "-sS0", "--fail", "--unix-socket", str(cleatd.socket),
                          f"http://localhost/v1/sessions/{session}/events"], capture_output=True, text=True,
                         timeout=60, check=True).stdout
    assert old == text


# ---- marks of a job's output ----

CHATTER = "i=0; while [ $i -lt 60 ]; do echo $i; echo $i >&2; i=$((i+1)); sleep 0.05; done"


def marks_of(events):
    return [d for _, c, d in events if c == "output"]


def check_marks(events):
    """Side by side from the beginning to the end of the output."""
    at = 0
    for _, code, data in events:
        if code == "gap":
            at = None
        elif code == "output":
            assert data["offset"] == at or at is None, data
            assert data["bytes"] > 0
            assert data["stream"] in ("stdout", "stderr", "both"), data
            at = data["offset"] + data["bytes"]
    assert [d["output"] for _, c, d in events if c == "job.ended"] == [at]


def test_output_of_jobs_is_marked_while_they_run(start):
    cleatd = start.cleatd()
    jobs = [cleatd.api.call("POST", "/v1/jobs", {"argv": ["/bin/sh", "-c", script]})["job_id"]
            for script in (CHATTER, CHATTER, "echo one >&2")]
    readers = [Reader(cleatd.socket, f"/v1/sessions/{job}/events") for job in jobs]
    for job, reader in zip(jobs, readers):
        events = reader.result()
        check_marks(events)
        document = cleatd.api.call("GET", f"/v1/jobs/{job}")
        seconds = document["run_ms"] / 1000
        assert sum(m["bytes"] for m in marks_of(events)) == document["output"]["bytes"]
        assert len(marks_of(events)) <= seconds + 3, "not one for each word"
    live = codes(readers[0].events)
    assert live.index("output") < live.index("execution.end")
    assert len(marks_of(readers[0].events)) > 1 and "both" in [m["stream"] for m in marks_of(readers[0].events)]
    assert [m["stream"] for m in marks_of(readers[2].events)] == ["stderr"]


def test_marks_go_on_after_a_crash(start):
    cleatd = start.cleatd()
    job = cleatd.api.call("POST", "/v1/jobs", {"argv": ["/bin/sh", "-c", CHATTER]})["job_id"]
    reader = Reader(cleatd.socket, f"/v1/sessions/{job}/events", again=lambda: True)
    poll(lambda: marks_of(reader.events), 60, "the first mark")
    cleatd.kill()
    cleatd.start()
    events = reader.result()
    assert events.pop()[1] == "end"
    assert codes(events).count("gap") <= 1, "what the journal counted and nobody was shown"
    check_marks(events)


def test_who_moves_up_is_told_whatever_became_of_the_first(start):
    """Whoever was ahead is cancelled, or gets its place."""
    cleatd = start.cleatd(max_sessions=1)
    running = cleatd.api.ready()["session_id"]
    waiting = [cleatd.api.create()["session_id"] for _ in range(14)]
    first, second, *_, last = waiting

    def positions(session):
        return [data["position"] for _, code, data in read_all(cleatd.api, f"/v1/sessions/{session}/events")
                if code == "session.moved"]

    cleatd.api.close(first)
    poll(lambda: positions(second) == [1], 60, "that the second is the next")
    for session in waiting[2:6]:
        cleatd.api.close(session)
    poll(lambda: positions(last) and positions(last)[-1] == 9, 60, "that the last has moved up")
    cleatd.api.close(running)
    cleatd.api.wait(second)
    poll(lambda: positions(last)[-1] == 8, 60, "that it moved again")
    assert positions(last) == sorted(positions(last), reverse=True)
    assert all(p <= 10 for p in positions(last)), "far from the head not each step is told"
    assert positions(second) == [1]


def test_a_listing_that_fails_is_told_once(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)}, reap_interval_s=1)

    def told():
        return [c for c in codes(read_all(cleatd.api, "/v1/events?after=0")) if c.startswith("listing.")]

    haproxy.stop()
    poll(lambda: told() == ["listing.failed"], 60, "the listing fails")
    haproxy.start()
    poll(lambda: told() == ["listing.failed", "listing.works"], 60, "it works again")
