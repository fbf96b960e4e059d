"""Cleanup is a graph: what runs side by side, what waits for what, and what is refused after."""

import concurrent.futures
import datetime
import json
import os
import signal
import uuid

import pytest

from cleat_harness import Gate, ApiError, haproxy_class, in_parallel, poll


def steps(session):
    return {c["name"]: c for c in session["cleanup"]}


def under_way(session, *names):
    now = steps(session)
    return all(n in now and now[n]["result"] == "running" and now[n]["end_ms"] is None for n in names)


@pytest.mark.parametrize("slower", ["upload", "deregister"])
def test_upload_and_deregistration_overlap_and_stop_waits_for_both(start, slower):
    """The upload is slowed by stopping the executor, deregistration by a Runtime API that does not
    answer: both are under way at the same time, and stop begins after the slower of them."""
    haproxy = start.haproxy()
    gate = start.add(Gate(start.root / "gate", haproxy.socket))
    options = haproxy_class(haproxy, haproxy_sockets=[gate.socket])
    cleatd = start.cleatd(classes={"default": options})
    api = cleatd.api
    s = api.ready()["session_id"]
    assert api.session(s)["direct_path"]
    api.execute(s, "open('artifacts/kept.txt', 'w').write('kept')")

    gate.hold()
    cleatd.stop_process(s)
    assert api.close(s, wait=False)["state"] == "CLOSING"
    poll(lambda: under_way(api.session(s), "upload", "deregister"), 15, "both under way")
    release_upload, release_deregister = (lambda: cleatd.continue_process(s)), gate.release
    first, second = ((release_deregister, release_upload) if slower == "upload"
                     else (release_upload, release_deregister))
    quicker = "deregister" if slower == "upload" else "upload"
    first()
    poll(lambda: steps(api.session(s))[quicker]["result"] == "ok", 20, f"the end of {quicker}")
    now = steps(api.session(s))
    assert now[slower]["result"] == "running" and "stop" not in now
    assert os.path.exists(f"/proc/{cleatd.pid_of(s)}")
    second()

    over = steps(api.wait(s, "closed"))
    upload, deregister, stop = over["upload"], over["deregister"], over["stop"]
    assert max(upload["start_ms"], deregister["start_ms"]) < min(upload["end_ms"], deregister["end_ms"])
    assert stop["start_ms"] >= max(upload["end_ms"], deregister["end_ms"])
    assert {c["result"] for c in over.values()} == {"ok"}, over
    assert cleatd.file_of(s, "artifacts/kept.txt") == b"kept"


def test_cleanup_over_the_balancer_only(start):
    """Where the container's own address may not be used, the route stands until the upload is
    confirmed."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, direct_path="never")})
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(4))]
    for i in ids:
        api.execute(i, f"open('artifacts/own.txt', 'w').write('{i}')")
    for over in in_parallel(api.close, ids):
        step = steps(over)
        assert not over["direct_path"] and {c["result"] for c in step.values()} == {"ok"}, over
        assert step["stop"]["start_ms"] >= max(step["upload"]["end_ms"], step["deregister"]["end_ms"])
        i = over["session_id"]
        assert cleatd.file_of(i, "artifacts/own.txt").decode() == i
        assert [f for f in cleatd.manifest(i)["files"] if f["path"] == "artifacts/own.txt"]
    assert haproxy.servers() == {}


def test_an_address_is_given_away_only_when_its_target_is_gone(start):
    """A range of two addresses and three sessions: the third is launched after a target has left
    the balancer's listing, which an answer of the Runtime API holds up."""
    haproxy = start.haproxy()
    gate = start.add(Gate(start.root / "gate", haproxy.socket))
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, haproxy_sockets=[gate.socket], address_range="/30", backoff_base_ms=30)})
    api = cleatd.api
    first, second = api.ready(), api.ready()
    gate.hold()
    api.close(first["session_id"], wait=False)
    third = api.create()
    poll(lambda: steps(api.session(first["session_id"])).get("deregister"), 10, "the deregistration")
    assert len(cleatd.launches()) == 2
    gate.release()
    third = api.wait(third["session_id"])
    over = api.wait(first["session_id"], "closed")
    assert third["address"] == first["address"] != second["address"]
    launched = [p for p in third["phases"] if p["name"] == "launch"][-1]["end_ms"] + created_ms(third)
    assert launched >= steps(over)["drain"]["end_ms"] + created_ms(over)


def created_ms(session):
    return datetime.datetime.fromisoformat(session["created_at"].replace("Z", "+00:00")).timestamp() * 1000


def test_a_running_execution_ends_before_the_upload(start):
    """User code that needs a moment to finish its file: the file is uploaded whole."""
    cleatd = start.cleatd()
    api = cleatd.api
    s = api.ready()["session_id"]
    begun = start.shared / "begun"
    code = f"""
import signal, sys, time
out = open('artifacts/two-parts', 'w')
def finish(*unused):
    for n in range(20):
        out.write('second part\\n'); out.flush(); time.sleep(0.02)
    out.write('end'); out.close(); sys.exit(0)
signal.signal(signal.SIGTERM, finish)
out.write('first part\\n'); out.flush()
open('{begun}', 'w').close()
time.sleep(300)
"""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(api.execute, s, code)
        poll(begun.exists, 20, "the execution")
        over = api.close(s)
        with Outcome() as ended:
            ended.record = running.result(timeout=20)
    if ended.record:
        assert ended.record["cancelled"]
    else:
        assert ended.error.code in ("cancelled", "session_closed"), ended.error
    assert steps(over)["upload"]["result"] == "ok"
    assert cleatd.file_of(s, "artifacts/two-parts") == b"first part\n" + b"second part\n" * 20 + b"end"
    record = json.loads(cleatd.file_of(s, "debug/executions/1.json"))
    assert record["cancelled"], record


class Outcome:
    def __init__(self):
        self.record = self.error = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.error = error
        return kind is not None and issubclass(kind, ApiError)


def test_nothing_executed_nothing_uploaded(start):
    cleatd = start.cleatd()
    over = cleatd.api.close(cleatd.api.ready()["session_id"])
    assert steps(over)["upload"]["result"] == "skipped"
    assert list(cleatd.artifacts.iterdir()) == []


@pytest.mark.parametrize("cleatd_was", ["there", "restarted", "away"])
def test_a_container_that_ended_itself_in_order_has_uploaded(start, cleatd_was):
    """SIGTERM from somebody else (a Spot interruption is one, a reboot another): it uploads, then it is
    gone. Nothing is left, though its exit status is told to its parent only."""
    cleatd = start.cleatd()
    s = cleatd.api.ready()["session_id"]
    cleatd.api.execute(s, "open('artifacts/x', 'w').write('kept')")
    if cleatd_was != "there":
        cleatd.terminate()
    if cleatd_was == "restarted":
        cleatd.start()
        assert cleatd.api.wait(s)["state"] == "READY"
    os.kill(cleatd.pid_of(s), signal.SIGTERM)
    if cleatd_was == "away":
        poll(lambda: not cleatd.containers_alive(), 60, "its end")
        cleatd.start()
    over = cleatd.api.wait(s, "closed")
    assert over["stop_reason"] == "container_died"
    assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "ok"
    assert cleatd.file_of(s, "artifacts/x") == b"kept"
    assert [l for l in cleatd.log_lines() if "event=container.ended" in l]
    assert not [l for l in cleatd.log_lines() if "event=artifacts.lost" in l]
    poll(lambda: not list((cleatd.root / "state" / "workspaces").iterdir()), 30, "the workspace's end")


def test_an_upload_that_fails_is_tried_again(start):
    """The artifact directory cannot be written for a while: the container is kept until it can."""
    cleatd = start.cleatd(classes={"default": {"backoff_base_ms": 50}})
    api = cleatd.api
    s = api.ready()["session_id"]
    api.execute(s, "open('artifacts/late.txt', 'w').write('late')")
    cleatd.artifacts.rename(start.root / "away")
    cleatd.artifacts.write_text("a file stands where the directory was")
    api.close(s, wait=False)
    poll(lambda: "SALVAGING" in (now := api.session(s))["attempt_state"] or
         any(c["name"] == "upload" and c.get("error") for c in now["cleanup"]), 20, "a failed upload")
    assert [l.session for l in cleatd.containers_alive()] == [s], "the container is kept"
    cleatd.artifacts.unlink()
    (start.root / "away").rename(cleatd.artifacts)
    api.wait(s, "closed")
    assert cleatd.file_of(s, "artifacts/late.txt") == b"late"


def test_200_cleanups_overlap(start):
    """No upload goes on and no deregistration is accepted until all 200 are at both; then each has its
    files, and each was stopped after both. How long the loop's turns were is told."""
    haproxy = start.haproxy()
    gate = start.add(Gate(start.root / "gate", haproxy.socket))
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, haproxy_sockets=[gate.socket], check_interval_ms=1000, check_fall=10)})  # 200 keep a machine busy
    api = cleatd.api
    ids = in_parallel(lambda n: api.ready(user=f"u{n}", timeout_s=120)["session_id"], range(200), workers=200)
    in_parallel(lambda i: api.execute(i, "BASH:for n in {1..20}; do echo " + i + " > artifacts/$n; done"), ids)
    turns = api.status()["loop"]

    gate.hold()
    for container in cleatd.containers_alive():
        os.kill(container.pid, signal.SIGSTOP)
    in_parallel(lambda i: api.close(i, wait=False), ids)
    poll(lambda: sum(under_way(s, "upload", "deregister") for s in api.sessions()) == 200, 60, "all at once")
    assert len(cleatd.containers_alive()) == 200, "each is kept"
    for container in cleatd.containers_alive():
        os.kill(container.pid, signal.SIGCONT)
    gate.release()

    over = [steps(s) for s in in_parallel(lambda i: api.wait(i, "closed", 120), ids, workers=200)]
    created = {s["session_id"]: created_ms(s) for s in api.sessions()}
    for name in ("upload", "deregister"):
        begun = max(created[i] + c[name]["start_ms"] for i, c in zip(ids, over))
        ended = min(created[i] + c[name]["end_ms"] for i, c in zip(ids, over))
        assert begun < ended, f"every {name} was under way at the same moment"
    for i, c in zip(ids, over):
        assert {step["result"] for step in c.values()} == {"ok"}, c
        assert c["stop"]["start_ms"] >= max(c["upload"]["end_ms"], c["deregister"]["end_ms"])
        assert cleatd.file_of(i, "artifacts/20").decode().strip() == i
    now = api.status()
    assert haproxy.servers() == {} and now["uploads"] == {"confirmed": 200, "lost": 0, "skipped": 0}
    print(f"200 cleanups: longest turn {now['loop']['longest_turn_us']} us (before: {turns['longest_turn_us']} us), "
          f"{now['loop']['long_turns'] - turns['long_turns']} long turns of {now['loop']['turns'] - turns['turns']}")


def test_an_artifact_store_that_is_down_for_a_while(start):
    """20 sessions close meanwhile: no container is stopped, and when it is back all arrives."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, backoff_base_ms=50)})
    api = cleatd.api
    ids = in_parallel(lambda n: api.ready(user=f"u{n}")["session_id"], range(20))
    in_parallel(lambda i: api.execute(i, f"BASH:echo {i} > artifacts/own"), ids)
    cleatd.artifacts.rename(start.root / "away")
    cleatd.artifacts.write_text("a file stands where the directory was")
    in_parallel(lambda i: api.close(i, wait=False), ids)
    poll(lambda: {s["attempt_state"] for s in api.sessions()} == {"SALVAGING"}, 30, "20 that are salvaged")
    assert {l.session for l in cleatd.containers_alive()} == set(ids), "each is kept"
    assert all("stop" not in steps(s) for s in api.sessions())
    cleatd.artifacts.unlink()
    (start.root / "away").rename(cleatd.artifacts)
    for i in ids:
        over = steps(api.wait(i, "closed"))
        assert over["upload"]["result"] == "ok" and over["stop"]["start_ms"] >= over["upload"]["end_ms"], over
        assert cleatd.file_of(i, "artifacts/own").decode().strip() == i
    assert not [line for line in cleatd.log_lines() if "event=artifacts.lost" in line]


def test_an_upload_that_cannot_be_saved_is_named(start):
    cleatd = start.cleatd(classes={"default": {"backoff_base_ms": 50, "salvage_limit_s": 1}})
    api = cleatd.api
    s = api.ready()["session_id"]
    api.execute(s, "open('artifacts/lost.txt', 'w').write('lost')")
    cleatd.artifacts.rename(start.root / "away")
    cleatd.artifacts.write_text("a file stands where the directory was")
    over = steps(api.close(s))
    assert over["upload"]["result"] == "lost" and over["stop"]["result"] == "ok"
    assert over["stop"]["start_ms"] >= over["local"]["start_ms"] + 1000, "not before the limit"
    assert cleatd.api.status()["uploads"]["lost"] == 1
    assert [line for line in cleatd.log_lines() if "event=artifacts.lost" in line and s in line]


def test_a_closed_request_id_is_refused(start):
    cleatd = start.cleatd()
    api = cleatd.api
    name = f"r-{uuid.uuid4()}"
    s = api.ready(request_id=name)
    api.close(s["session_id"])
    with pytest.raises(ApiError) as refused:
        api.create(request_id=name)
    assert (refused.value.status, refused.value.code) == (410, "request_id_closed")
    cleatd.kill()
    cleatd.start()
    with pytest.raises(ApiError) as refused:
        api.create(request_id=name)
    assert refused.value.status == 410, "also after a restart"
    assert len(cleatd.launches()) == 1


def test_creates_of_one_request_id_give_one_session(start):
    cleatd = start.cleatd()
    api = cleatd.api
    name = f"r-{uuid.uuid4()}"
    answers = in_parallel(lambda _: api.create(request_id=name, user="u"), range(8))
    assert len({a["session_id"] for a in answers}) == 1
    assert [a["created"] for a in answers].count(True) == 1
    api.wait(answers[0]["session_id"])
    assert len(cleatd.launches()) == 1
    with pytest.raises(ApiError) as other:
        api.create(request_id=name, user="somebody-else")
    assert (other.value.status, other.value.code) == (409, "conflict")


def test_cancelled_while_it_opens(start):
    """A session that is closed before it is ready leaves nothing, wherever it was."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)})
    api = cleatd.api

    def open_and_close(_):
        s = api.create()
        return api.close(s["session_id"])

    closed = in_parallel(open_and_close, range(16), 8)
    assert {c["state"] for c in closed} == {"CLOSED"}
    poll(lambda: not cleatd.containers_alive(), 20, "the end of the containers")
    assert haproxy.servers() == {}


def test_idle_and_lifetime_limits(start):
    cleatd = start.cleatd()
    api = cleatd.api
    idle = api.ready(idle_timeout_s=1)
    lived = api.ready(max_lifetime_s=2)
    assert api.wait(idle["session_id"], "closed")["stop_reason"] == "idle_timeout"
    assert api.wait(lived["session_id"], "closed")["stop_reason"] == "max_lifetime"
    assert idle["expires_at"] and lived["expires_at"]


def test_an_execution_has_a_deadline_and_a_cap(start):
    cleatd = start.cleatd()
    api = cleatd.api
    s = api.ready()["session_id"]
    late = api.execute(s, "import time; print('begun', flush=True); time.sleep(60)", timeout_s=1)
    assert late["timed_out"] and late["status"] == "failed" and late["stdout"].strip() == "begun"
    loud = api.execute(s, "print('x' * 10000)", output_limit=100)
    assert loud["truncated"]["stdout"] and "[output truncated" in loud["stdout"]
    same = [api.execute(s, "import time; print(time.time_ns())", execution_id="once") for _ in range(2)]
    assert same[0]["stdout"] == same[1]["stdout"], "one id runs once"
    shell = api.execute(s, "BASH:echo $((6*7)); exit 3")
    assert (shell["stdout"].strip(), shell["exit_code"]) == ("42", 3)
    argv = api.execute(s, argv=["/bin/echo", "a  b"])
    assert argv["stdout"] == "a  b\n"


def test_executions_of_one_session_take_turns(start):
    cleatd = start.cleatd()
    api = cleatd.api
    s = api.ready()["session_id"]
    records = in_parallel(lambda n: api.execute(s, f"print({n}); import time; time.sleep(0.05)"), range(6))
    assert sorted(r["execution_num"] for r in records) == list(range(1, 7))
    assert [r["stdout"].strip() for r in records] == [str(n) for n in range(6)]
