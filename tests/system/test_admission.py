"""Limits, turns and the queue: what callers are told, and that both survive restarts."""

import datetime
import json
import os
import signal

import pytest

from cleat_harness import ApiError, poll

FLOOD = int(os.environ.get("CLEAT_FLOOD", "300"))


def state(cleatd, session):
    return cleatd.api.session(session)["state"]


def ready(cleatd, session):
    return poll(lambda: state(cleatd, session) == "READY", 60, "READY")


def refused(cleatd, **fields):
    """(reason, Retry-After) of a create that is answered with 429; who knows nothing says 2 for programs."""
    connection = cleatd.api.connection(60)
    connection.request("POST", "/v1/sessions", json.dumps(fields), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    connection.close()
    assert (answer.status, error["code"], error["retryable"], error["admitted"]) == (429, "full", True, False)
    assert "session_id" not in error
    after = int(answer.headers["Retry-After"])
    assert error.get("retry_after_s", 2) == after
    return error["reason"], after


def test_limits_hold_and_say_so(start):
    cleatd = start.cleatd(classes={"default": {}, "narrow": {"max_parallel": 1}}, max_sessions=5, tenant_max_sessions=2,
                          user_max_sessions=1, tenant_limits="big=4:2")
    api = cleatd.api
    u1 = api.ready(tenant="a", user="u1")["session_id"]
    held = {"user_max_sessions": api.create(tenant="a", user="u1")}
    u2 = api.ready(tenant="a", user="u2")["session_id"]  # not held up by the one that waits before it
    held["tenant_max_sessions"] = api.create(tenant="a", user="u3")
    narrow = api.ready(tenant="b", user="u1", **{"class": "narrow"})["session_id"]
    held["max_parallel"] = api.create(tenant="b", user="u2", **{"class": "narrow"})
    big = [api.ready(tenant="big", user=f"u{i}")["session_id"] for i in range(2)]
    held["max_sessions"] = api.create(tenant="big", user="u9")
    for reason, s in held.items():
        s = api.session(s["session_id"])
        assert s["state"] == "QUEUED" and s["queue"]["reason"] == reason, s
        assert s["queue"]["ahead"] == s["queue"]["position"] - 1
        assert reason in s["waiting_for"]
    assert sorted(api.session(s["session_id"])["queue"]["position"] for s in held.values()) == [1, 2, 3, 4]
    assert api.session(held["max_sessions"]["session_id"])["queue"]["position"] == 1, "no limit of its own"
    admission = api.status()["admission"]
    assert (admission["running"], admission["queued"], admission["admitted"]) == (5, 4, 5)

    api.close(narrow)  # frees a place for all, and one of its class; it is the turn of b, who had none for longest
    ready(cleatd, held["max_parallel"]["session_id"])
    assert state(cleatd, held["max_sessions"]["session_id"]) == "QUEUED"
    api.close(u1)
    poll(lambda: [state(cleatd, held[r]["session_id"]) for r in ("user_max_sessions", "tenant_max_sessions")].count(
        "QUEUED") == 1, 30, "the next one of the tenant")
    cleatd.options |= {"max_sessions": 50, "tenant_max_sessions": 0, "user_max_sessions": 0}
    cleatd.classes["narrow"]["max_parallel"] = 0
    cleatd.config_path.write_text(cleatd._config())
    cleatd.process.send_signal(signal.SIGHUP)
    for s in held.values():
        ready(cleatd, s["session_id"])
    assert state(cleatd, u2) == "READY"
    api.close_all()


def seconds_left(session):
    created, end = (datetime.datetime.fromisoformat(session[k].replace("Z", "+00:00"))
                    for k in ("created_at", "expires_at"))
    return (end - created).total_seconds()


def test_a_session_says_when_it_is_given_up(start):
    cleatd = start.cleatd(classes={"default": {}, "mute": {"command": "/bin/sleep 600", "max_parallel": 1}},
                          queue_timeout_s=100)
    opening = cleatd.api.create(create_timeout_s=200, **{"class": "mute"})
    queued = cleatd.api.create(create_timeout_s=200, **{"class": "mute"})
    opening, queued = (cleatd.api.session(s["session_id"]) for s in (opening, queued))
    assert (opening["state"], queued["state"]) == ("OPENING", "QUEUED")
    assert seconds_left(queued) == 100
    assert 200 <= seconds_left(opening) < 260


def test_who_is_refused_learns_why_and_when_to_come_again(start):
    cleatd = start.cleatd(classes={"default": {}, "short": {"max_queued": 1}}, max_sessions=1, max_queued=4,
                          tenant_max_queued=2, user_max_queued=1)
    api = cleatd.api
    assert not api.ready(no_queue=True, request_id="first")["queue"]
    again = api.create(request_id="first", no_queue=False)
    assert not again["created"], "no_queue is no part of what was asked for"
    assert refused(cleatd, no_queue=True) == ("max_sessions", 2), "nothing is known yet"
    waiting = [api.create(tenant="a", user="u")["session_id"]]
    assert refused(cleatd, tenant="a", user="u")[0] == "user_max_queued"
    waiting.append(api.create(tenant="a", user="v")["session_id"])
    assert refused(cleatd, tenant="a", user="w")[0] == "tenant_max_queued"
    waiting.append(api.create(tenant="b", **{"class": "short"})["session_id"])
    assert refused(cleatd, tenant="c", **{"class": "short"})[0] == "class_max_queued"
    waiting.append(api.create(tenant="c")["session_id"])
    assert refused(cleatd, tenant="d")[0] == "max_queued"
    counts = api.status()["admission"]["refused"]
    assert {k for k, n in counts.items() if n} == {
        "max_sessions", "user_max_queued", "tenant_max_queued", "class_max_queued", "max_queued"}
    for s in waiting:
        api.call("DELETE", f"/v1/sessions/{s}")
    api.close_all()


def test_an_estimate_follows_the_pace(start):
    cleatd = start.cleatd(max_sessions=1)
    api = cleatd.api
    first = api.ready()["session_id"]
    waiting = [api.create()["session_id"] for _ in range(6)]
    assert api.session(waiting[0])["queue"]["estimated_start_at"] is None
    for s in [first, *waiting[:3]]:
        ready(cleatd, s)
        api.close(s)
    ready(cleatd, waiting[3])
    documents = [api.session(s) for s in waiting[4:]]
    times = [d["queue"]["estimated_start_at"] for d in documents]
    assert [d["queue"]["position"] for d in documents] == [1, 2]
    assert documents[0]["created_at"] < times[0] <= times[1]
    reason, after = refused(cleatd, no_queue=True)
    assert reason == "max_sessions" and 1 <= after <= 300
    for s in waiting[4:]:
        api.call("DELETE", f"/v1/sessions/{s}")
    api.close_all()


def leave(cleatd, target, **fields):
    """A client that asks, waits and goes away; the session that it made."""
    connection = cleatd.api.connection(60)
    connection.request("POST", target, json.dumps(fields), {"Content-Type": "application/json"})
    session = poll(lambda: next((s for s in cleatd.api.sessions() if s["request_id"] == fields["request_id"]), None),
                   30, "the session")
    connection.close()
    return session["session_id"]


def test_what_nobody_waits_for_is_cancelled_if_asked(start):
    cleatd = start.cleatd(max_sessions=1)
    api = cleatd.api
    first = api.ready(request_id="first")["session_id"]
    query = "/v1/sessions?wait=ready&on_disconnect=cancel"
    gone = leave(cleatd, query, request_id="gone")
    closed = api.wait(gone, "closed")
    assert (closed["state"], closed["stop_reason"], closed["error"]) == ("CLOSED", "cancelled", None)
    patient = leave(cleatd, "/v1/sessions?wait=ready", request_id="patient")
    assert leave(cleatd, query, request_id="patient") == patient, "another one's"
    assert leave(cleatd, query, request_id="first") == first, "another one's"
    assert state(cleatd, patient) == "QUEUED" and state(cleatd, first) == "READY"
    for wrong in ("?on_disconnect=cancel", "?wait=ready&on_disconnect=close"):
        with pytest.raises(ApiError) as caught:
            api.call("POST", f"/v1/sessions{wrong}", {})
        assert caught.value.status == 400
    api.close(first)
    ready(cleatd, patient)
    api.close_all()


def test_a_flood_holds_up_nobody_also_after_a_restart(start):
    cleatd = start.cleatd(max_sessions=1, max_queued=FLOOD + 10, queue_timeout_s=3600)
    api = cleatd.api
    first = api.ready(tenant="flood")["session_id"]
    connection = api.connection(60)
    flood = []
    for i in range(FLOOD):
        connection.request("POST", "/v1/sessions", json.dumps({"tenant": "flood", "request_id": f"f-{i}"}),
                           {"Content-Type": "application/json"})
        flood.append(json.loads(connection.getresponse().read())["session_id"])
    connection.close()
    guest = api.create(tenant="guest")
    assert guest["queue"]["position"] == 1

    def order():
        waiting = [s for s in api.sessions() if s["state"] == "QUEUED"]
        return [s["session_id"] for s in sorted(waiting, key=lambda s: s["queue"]["position"])]
    expected = [guest["session_id"], *flood]
    assert order() == expected
    cleatd.kill()
    cleatd.start()
    assert order() == expected
    poll(lambda: state(cleatd, first) == "READY", 60, "the session after the crash")
    api.close(first)
    ready(cleatd, guest["session_id"])
    assert order() == flood
    late = api.create(tenant="late")
    assert late["queue"]["position"] == 1
    api.close(guest["session_id"])
    ready(cleatd, late["session_id"])
    api.close(late["session_id"])
    ready(cleatd, flood[0])
    api.call("POST", "/v1/drain", {"now": True})
    poll(lambda: api.call("GET", "/v1/drain")["sessions"] + api.call("GET", "/v1/drain")["queued"] == 0, 120, "the end")
