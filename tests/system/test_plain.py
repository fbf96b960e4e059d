"""Containers of the plain contract: no proof, and still one session each."""

import datetime
import json

import pytest

from cleat_harness import HERE, PYTHON, ApiError, haproxy_class, in_parallel, poll


def plain_class(root, *options, **values):
    (root / "plain").mkdir(exist_ok=True)
    return {"command": [PYTHON, HERE / "plain_container.py", "--dir", root / "plain", *options],
            "proof": "none", "artifacts": "", **values}


def requests_of(root):
    return [json.loads(line) for line in (root / "plain" / "requests").read_text().splitlines()]


def test_plain_containers_behind_haproxy(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": plain_class(start.root, **haproxy_class(haproxy))})
    api = cleatd.api
    sessions = in_parallel(lambda n: api.ready(user=f"u{n}"), range(4))
    assert {s["proof"] for s in sessions} == {"none"}
    for s in sessions:
        record = api.execute(s["session_id"], "print(6 * 7)")
        assert record["stdout"].strip() == "42" and record["session_id"] == s["session_id"]
        failed = api.execute(s["session_id"], "1 / 0")
        assert failed["status"] == "failed" and "ZeroDivisionError" in failed["error"]
    closed = in_parallel(lambda s: api.close(s["session_id"]), sessions)
    for s in closed:
        steps = {c["name"]: c for c in s["cleanup"]}
        assert steps["upload"]["result"] == "ok" and steps["stop"]["result"] == "ok"
        assert steps["stop"]["start_ms"] >= steps["upload"]["end_ms"]
    requests = requests_of(start.root)
    executed = [r for r in requests if r["path"] == "/execute"]
    assert len(executed) == 8
    by_address = {s["address"]: s["session_id"] for s in sessions}
    for r in executed:
        assert json.loads(r["body"])["session_id"] == by_address[r["address"]], "always sent, always right"
    completed = [r for r in requests if r["path"] == "/session/complete"]
    assert {json.loads(r["body"])["session_id"] for r in completed} == set(by_address.values())


def test_plain_upload_that_fails_keeps_the_container(start):
    cleatd = start.cleatd(classes={"default": plain_class(
        start.root, "--complete-status", 500, salvage_limit_s=1, backoff_base_ms=50)})
    api = cleatd.api
    s = api.ready()["session_id"]
    api.execute(s, "print(1)")
    over = api.close(s)
    assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "lost"
    assert len([r for r in requests_of(start.root) if r["path"] == "/session/complete"]) > 1


def test_plain_upload_whose_answer_is_lost(start):
    """They have uploaded, so their health is 503 and the balancer has marked them down before cleat can
    ask through it: their own addresses tell, and nothing is called lost."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": plain_class(
        start.root, "--lose-complete", salvage_limit_s=5, backoff_base_ms=50, **haproxy_class(haproxy))})
    api = cleatd.api
    sessions = in_parallel(lambda n: api.ready(user=f"u{n}")["session_id"], range(3))
    in_parallel(lambda s: api.execute(s, "print(1)"), sessions)
    ends = {}
    for over in in_parallel(api.close, sessions):
        assert {c["result"] for c in over["cleanup"]} == {"ok"}, over["cleanup"]
        [upload] = [c["end_ms"] for c in over["cleanup"] if c["name"] == "upload"]
        created = datetime.datetime.fromisoformat(over["created_at"].replace("Z", "+00:00"))
        ends[over["address"]] = created.timestamp() + upload / 1000
    lost = {r["address"]: r["time"] for r in requests_of(start.root) if r["path"] == "the answer is lost"}
    for address, end in ends.items():
        assert end < lost[address] + 1 + 4, "told within a second; and this machine is busy"
    completes = [r for r in requests_of(start.root) if r["path"] == "/session/complete"]
    assert len(completes) == 3, "not repeated blindly"


def test_plain_container_that_exits_under_an_execution(start):
    """User code shares the process: code that exits takes the container with it."""
    cleatd = start.cleatd(classes={"default": plain_class(start.root)})
    api = cleatd.api
    s = api.ready()["session_id"]
    with pytest.raises(ApiError) as failed:
        api.execute(s, "import os; os._exit(3)")
    assert failed.value.code == "container_died" and failed.value.error["ran"] == "unknown"
    assert api.wait(s, "closed")["stop_reason"] == "container_died"
    poll(lambda: not cleatd.containers_alive(), 10, "the container's end")
