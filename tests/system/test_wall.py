"""The wall between tenants, with clients that are real users: whoever is not an operator has what is his own
and cannot tell another tenant's from what never was, on every route that cleatd has."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading

import pytest

from cleat_harness import BUILD, HERE, PYTHON, ApiError, haproxy_class, poll
from peer_help import Peer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")

BLUE, GREEN, OPERATOR, NOBODY = 65531, 65532, 65533, 65530
RED_GROUP = 65510
NEVER = "019cb6a1-5c00-7000-8000-000000000001"
PEERS = [f"uid:{BLUE}=tenant:blue", f"uid:{GREEN}=tenant:green", f"uid:{OPERATOR}=operator",
         f"gid:{RED_GROUP}=tenant:red"]

# What is tried with an id: the query and the body, the last one for the end, as it ends the session.
BODY = {"code": "print('mine')"}
SLEEP = json.dumps({"code": "import time; time.sleep(60)"})
JSON = {"Content-Type": "application/json"}
WITH_ID = {
    ("GET", "/v1/sessions/*"): [("", None), ("?wait=ready&timeout_s=1", None), ("?wait=closed&timeout_s=1", None),
                                ("?wait=nonsense", None)],
    ("POST", "/v1/sessions/*/execute"): [("", BODY), ("", {"argv": ["true"]}), ("", {}), ("", None)],
    ("POST", "/v1/sessions/*/keepalive"): [("", None)],
    ("GET", "/v1/sessions/*/route"): [("", None)],
    ("GET", "/v1/sessions/*/events"): [("?follow=false", None), ("", None), ("?after=nonsense", None)],
    ("DELETE", "/v1/sessions/*"): [("?wait=nonsense", None), ("?wait=closed&timeout_s=1", None), ("", None)],
}
# The same with the id of a job.
WITH_JOB = {
    ("GET", "/v1/jobs/*"): [("", None), ("?wait=ended&timeout_s=1", None), ("?wait=nonsense", None)],
    ("GET", "/v1/jobs/*/logs"): [("?after=0", None), ("?follow=true&timeout_s=1", None), ("?stream=nonsense", None)],
    ("DELETE", "/v1/jobs/*"): [("", None)],
}
# Routes that list or make: each has a test of its own below.
WITHOUT_ID = {("POST", "/v1/sessions"), ("GET", "/v1/sessions"), ("GET", "/v1/isolation"), ("POST", "/v1/jobs"),
              ("GET", "/v1/jobs"), ("GET", "/v1/events")}
OPERATORS_ONLY = {("GET", "/v1/drain"): None, ("POST", "/v1/drain"): {"tenant": "green", "now": True},
                  ("DELETE", "/v1/drain"): None, ("POST", "/v1/reap"): {}, ("GET", "/v1/status"): None,
                  ("GET", "/metrics"): None}
FOR_ALL = {("GET", "/healthz"), ("GET", "/readyz")}


@pytest.fixture(scope="module")
def daemon(module_start):
    return module_start.cleatd(socket_mode="0666", peers=PEERS)


@pytest.fixture(scope="module")
def peer(module_start, daemon):
    """peer(uid, gid, groups): the API as that user."""
    return lambda *who, **more: module_start.add(Peer(daemon.socket, *who, **more))


@pytest.fixture(scope="module")
def blue(peer):
    return peer(BLUE)


@pytest.fixture(scope="module")
def green(peer):
    return peer(GREEN)


@pytest.fixture(scope="module")
def stranger(peer):
    return peer(NOBODY)


@pytest.fixture
def session(green):
    """One of green's, with a name of everything to look for elsewhere."""
    made = green.ready(request_id=f"green-{os.urandom(6).hex()}", user="green-user", thread="green-thread",
                       run="green-run")
    yield made
    green.close(made["session_id"])


def text_of(body):
    return json.dumps(body) if body is not None else None


def routes():
    lines = subprocess.run([BUILD / "cleatd", "--print-routes"], check=True, capture_output=True, text=True).stdout
    return {(method, pattern): who for method, pattern, who in (l.split("\t") for l in lines.splitlines())}


def test_every_route_is_tried_here():
    for who, cases in (("tenants", WITH_ID.keys() | WITH_JOB.keys() | WITHOUT_ID), ("operators", OPERATORS_ONLY.keys()),
                       ("all", FOR_ALL)):
        assert {r for r, w in routes().items() if w == who} == set(cases), f"routes for {who}: add a case for each"
    assert all("*" in pattern for _, pattern in WITH_ID.keys() | WITH_JOB.keys())
    assert not any("*" in pattern for _, pattern in WITHOUT_ID)


@pytest.mark.parametrize("state", ["ready", "busy", "closed"])
@pytest.mark.parametrize("method, pattern", WITH_ID)
def test_anothers_id_is_answered_as_one_that_never_was(blue, green, stranger, session, method, pattern, state):
    theirs, running = session["session_id"], None
    if state == "busy":
        running = threading.Thread(target=green.raw, args=("POST", f"/v1/sessions/{theirs}/execute", SLEEP, JSON))
        running.start()
        poll(lambda: green.session(theirs)["state"] == "BUSY", 30, "a busy session")
    elif state == "closed":
        green.close(theirs)
    before = green.session(theirs)
    for query, body in WITH_ID[method, pattern]:
        for verb in (method, "HEAD") if method == "GET" else (method,):
            asked = [blue.bytes(verb, pattern.replace("*", id) + query, text_of(body)) for id in (theirs, NEVER)]
            assert asked[0] == asked[1], "another's id can be told from one that never was"
            assert asked[0].startswith(b"HTTP/1.1 404 "), asked[0]
            refused = [stranger.bytes(verb, pattern.replace("*", id) + query, text_of(body)) for id in (theirs, NEVER)]
            assert refused[0] == refused[1] and refused[0].startswith(b"HTTP/1.1 403 "), refused[0]
    after = green.session(theirs)
    for field in ("state", "executions", "executions_queued", "stop_reason", "closing_ms"):
        assert after[field] == before[field] or field in ("state", "executions") and running, field
    if running:
        green.close(theirs)
        running.join()


@pytest.mark.parametrize("method, pattern", WITH_ID)
def test_the_owner_and_an_operator_reach_it(daemon, green, session, peer, method, pattern):
    """Else the test before would pass with a route that never answers."""
    query, body = WITH_ID[method, pattern][0]
    for api in (green, peer(OPERATOR), daemon.api):
        headers = JSON if body else {}
        status, document = api.raw(method, pattern.replace("*", session["session_id"]) + query, text_of(body), headers)
        assert status in (200, 202, 400), document


@pytest.mark.parametrize("state", ["running", "cancelled"])
def test_anothers_job_is_answered_as_one_that_never_was(blue, green, stranger, daemon, state):
    theirs = green.submit("/bin/sh", "-c", "echo green; exec sleep 600", name="greens-own")["job_id"]
    poll(lambda: green.output(theirs) == b"green\n", 30, "its output")
    if state == "cancelled":
        green.cancel(theirs)
        green.ended(theirs)
    for (method, pattern), cases in WITH_JOB.items():
        for verb in (method, "HEAD") if method == "GET" else (method,):
            for query, _ in cases:
                asked = [blue.bytes(verb, pattern.replace("*", id) + query) for id in (theirs, NEVER)]
                assert asked[0] == asked[1] and asked[0].startswith(b"HTTP/1.1 404 "), asked
                refused = [stranger.bytes(verb, pattern.replace("*", id) + query) for id in (theirs, NEVER)]
                assert refused[0] == refused[1] and refused[0].startswith(b"HTTP/1.1 403 "), refused
    assert green.job(theirs)["state"] == state, "none of this touched it"
    for api in (green, daemon.api):
        assert api.output(theirs) == b"green\n" and theirs in [j["job_id"] for j in api.jobs()]
        assert api.cancel(theirs)["job_id"] == theirs and api.ended(theirs)["state"] == "cancelled"


def test_lists_of_jobs_and_submits_are_the_callers_own(blue, green, daemon):
    job = green.submit("/bin/true", name="greens-own")
    assert job["tenant"] == "green" and blue.jobs() == []
    assert job["job_id"] in [j["job_id"] for j in daemon.api.jobs("?tenant=green")]
    assert not [j for j in daemon.api.jobs("?tenant=blue")]
    asked = [blue.bytes("POST", "/v1/jobs", text_of({"tenant": t, "argv": ["true"]})) for t in ("green", "grey1")]
    assert asked[0] == asked[1] and asked[0].startswith(b"HTTP/1.1 403 ")
    asked = [blue.bytes("GET", f"/v1/jobs?tenant={t}") for t in ("green", "grey1")]
    assert asked[0] == asked[1] and b"greens-own" not in asked[0]
    assert green.ended(job["job_id"])["state"] == "succeeded"


def test_lists_have_the_callers_own_only(daemon, blue, green, session):
    mine = blue.ready(request_id="blue-list")
    words = [session["session_id"], session["request_id"], session["address"], session["container"], "green"]
    for target in ("/v1/sessions", "/v1/isolation"):
        seen = blue.bytes("GET", target).decode()
        assert mine["session_id"] in seen
        assert not [w for w in words if w in seen]
        assert session["session_id"] in green.bytes("GET", target).decode()
        everything = daemon.api.raw("GET", target)[1]["sessions"]
        assert {mine["session_id"], session["session_id"]} <= {s["session_id"] for s in everything}
    assert blue.isolation()["sessions_checked"] == len(blue.isolation()["sessions"])
    blue.close(mine["session_id"])
    of = {t: [s["session_id"] for s in daemon.api.call("GET", f"/v1/sessions?tenant={t}")["sessions"]]
          for t in ("green", "blue")}
    assert session["session_id"] in of["green"] and mine["session_id"] in of["blue"]
    assert not set(of["green"]) & set(of["blue"])
    asked = [blue.bytes("GET", f"/v1/sessions?tenant={t}") for t in ("green", "grey1")]
    assert asked[0] == asked[1] and asked[0].startswith(b"HTTP/1.1 403 ")


def stream_of(peer, keep):
    """None: it was taken, and stays open; else the reason for which it was refused."""
    s = keep.enter_context(peer.connect())
    s.settimeout(60)
    s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = http.client.HTTPResponse(s)
    answer.begin()
    if answer.status == 200:
        return None
    assert answer.status == 429 and answer.headers["Retry-After"], answer.status
    error = json.loads(answer.read())["error"]
    assert error["code"] == "full" and error["retryable"], error
    return error["reason"]


def test_no_tenant_takes_the_last_stream_of_events(start):
    """20 streams in all, 15 for tenants: each leaves as many as it has, and operators have what is left."""
    cleatd = start.cleatd(socket_mode="0666", peers=PEERS, max_connections=40)

    def take(who, keep):
        client, held = start.add(Peer(cleatd.socket, who)), 0
        while not (reason := stream_of(client, keep)):
            held += 1
        return held, reason

    with contextlib.ExitStack() as keep:
        with contextlib.ExitStack() as blue:
            assert take(BLUE, blue) == (8, "tenant_max_streams")
            assert take(GREEN, keep) == (4, "tenant_max_streams")
            assert take(OPERATOR, keep) == (8, "max_streams")
            assert take(BLUE, blue) == (0, "max_streams")
        poll(lambda: take(BLUE, keep)[0] > 0, 20, "what blue gave back")


def test_events_are_the_callers_own(daemon, blue, green, peer, session):
    mine = blue.ready(request_id="blue-events")
    words = [session["session_id"], session["request_id"], session["container"], "green"]
    seen = blue.bytes("GET", "/v1/events?after=0&follow=false").decode()
    assert mine["session_id"] in seen
    assert not [w for w in words if w in seen]
    assert session["session_id"] in green.bytes("GET", "/v1/events?after=0&follow=false").decode()
    everything = peer(OPERATOR).bytes("GET", "/v1/events?after=0&follow=false").decode()
    assert mine["session_id"] in everything and session["session_id"] in everything
    assert daemon.api.raw("GET", "/v1/events?tenant=blue&after=0&follow=false")[0] == 200
    for tenant in ("green", "grey"):
        assert blue.raw("GET", f"/v1/events?tenant={tenant}&follow=false")[0] == 403
    blue.close(mine["session_id"])


def test_a_tenant_creates_for_itself_only(blue, daemon):
    made = blue.create(request_id="whose")
    assert made["tenant"] == "blue"
    assert blue.create(request_id="whose", tenant="blue")["session_id"] == made["session_id"]
    asked = [blue.bytes("POST", "/v1/sessions", text_of({"tenant": t})) for t in ("green", "grey")]
    assert asked[0] == asked[1] and asked[0].startswith(b"HTTP/1.1 403 ")
    assert daemon.api.create(tenant="green", request_id="whose")["session_id"] != made["session_id"]
    blue.close(made["session_id"])


def test_anothers_session_is_no_parent(blue, green, session):
    """Nor is it told from one that never was, open or closed."""
    for _ in range(2):
        asked = [blue.bytes("POST", "/v1/sessions", text_of({"parent": id})) for id in (session["session_id"], NEVER)]
        assert asked[0] == asked[1] and asked[0].startswith(b"HTTP/1.1 404 ")
        green.close(session["session_id"])


def test_a_request_id_that_another_tenant_uses_is_free(blue, green, daemon):
    """Also when theirs is closed, and with other parameters."""
    theirs = green.create(request_id="shared", user="somebody")
    mine = blue.create(request_id="shared")
    assert mine["created"] and mine["session_id"] != theirs["session_id"]
    green.close(theirs["session_id"])
    assert blue.create(request_id="shared")["session_id"] == mine["session_id"]
    with pytest.raises(ApiError) as refused:
        green.create(request_id="shared")
    assert refused.value.code == "request_id_closed"
    blue.close(mine["session_id"])


@pytest.mark.parametrize("method, path", OPERATORS_ONLY)
def test_operators_routes_are_for_operators(blue, stranger, peer, session, green, method, path):
    body = OPERATORS_ONLY[method, path]
    for api, why in ((blue, "operators only"), (stranger, "`peers`")):
        headers = JSON if body is not None else {}
        status, document = api.raw(method, path, text_of(body), headers)
        assert status == 403 and document["error"]["code"] == "forbidden" and why in document["error"]["message"]
    assert green.session(session["session_id"])["state"] == "READY"
    if method == "GET":
        assert peer(OPERATOR).raw(method, path)[0] == 200


def test_a_stranger_has_health_and_nothing_else(stranger, blue):
    for _, path in FOR_ALL:
        assert stranger.raw("GET", path)[0] == 200
    for method, pattern in routes():
        if (method, pattern) not in FOR_ALL:
            assert stranger.raw(method, pattern.replace("*", NEVER))[0] == 403
    assert blue.raw("GET", "/readyz")[0] == 200


def test_why_it_is_not_ready_is_for_operators(blue, stranger, daemon):
    daemon.api.call("POST", "/v1/drain", {})
    for api in (blue, stranger):
        assert api.raw("GET", "/readyz") == (503, {"status": "not_ready"})
    assert "draining" in daemon.api.raw("GET", "/readyz")[1]["reason"]
    daemon.api.call("DELETE", "/v1/drain")


def test_groups_count_also_supplementary_ones(peer):
    for gid, groups in ((RED_GROUP, ()), (65500, (65501, RED_GROUP)), (65500, range(65400, 65511))):
        assert peer(NOBODY, gid=gid, groups=groups).raw("GET", "/v1/sessions")[0] == 200
    made = peer(NOBODY, gid=RED_GROUP).create()
    assert made["tenant"] == "red"
    assert peer(BLUE, gid=RED_GROUP).raw("GET", f"/v1/sessions/{made['session_id']}")[0] == 404  # the first that fits


def test_the_map_changes_live(start):
    """Connections that are open have the new role with their next request; one that waits is refused."""
    daemon = start.cleatd(socket_mode="0666", peers=PEERS, classes={"default": {"command": ["/bin/sleep", "1000"]}})
    blue, operator = start.add(Peer(daemon.socket, BLUE)), start.add(Peer(daemon.socket, OPERATOR))
    made = blue.create()
    kept = blue.connection(60)
    kept.request("GET", f"/v1/sessions/{made['session_id']}")
    first = kept.getresponse()
    assert (first.status, json.loads(first.read())["tenant"]) == (200, "blue")
    waiting = blue.connection(60)
    waiting.request("GET", f"/v1/sessions/{made['session_id']}?wait=ready&timeout_s=50")
    creating = blue.connection(60)
    creating.request("POST", "/v1/sessions?wait=ready&timeout_s=50", "{}", JSON)
    stays = operator.connection(60)
    stays.request("GET", f"/v1/sessions/{made['session_id']}?wait=closed&timeout_s=50")
    poll(lambda: len(operator.sessions()) == 2, 20, "both sessions")

    daemon.options["peers"] = [p.replace("tenant:blue", "tenant:grey") for p in PEERS]
    daemon.config_path.write_text(daemon._config())
    daemon.process.send_signal(signal.SIGHUP)
    for connection in (waiting, creating):
        answer = connection.getresponse()
        assert answer.status == 403 and json.loads(answer.read())["error"]["code"] == "forbidden"
    kept.request("GET", f"/v1/sessions/{made['session_id']}")
    assert kept.getresponse().status == 404
    assert any("reload.changed" in line and "option=peers" in line for line in daemon.log_lines())

    daemon.options["peers"] = ["uid:0=tenant:grey"]
    daemon.config_path.write_text(daemon._config())
    daemon.process.send_signal(signal.SIGHUP)
    poll(lambda: any("reload.refused" in line for line in daemon.log_lines()), 20, "the refusal")
    assert operator.raw("GET", "/v1/status")[0] == 200, "a file that is wrong changes nothing"
    assert blue.sessions() == []
    daemon.api.close(made["session_id"])
    assert stays.getresponse().status == 200, "who is what he was waits on"
    for connection in (kept, waiting, creating, stays):
        connection.close()


def test_the_command_line_as_a_tenant(daemon, green, session):
    cleat = subprocess.run([BUILD / "cleat", "--socket", daemon.socket, "--json", "ps", "--all"], capture_output=True,
                           text=True, user=BLUE, group=65500, extra_groups=[], cwd="/", timeout=60)
    assert cleat.returncode == 0, cleat.stderr
    assert {s["tenant"] for s in json.loads(cleat.stdout)["sessions"]} <= {"blue"}
    status = subprocess.run([BUILD / "cleat", "--socket", daemon.socket, "status"], capture_output=True, text=True,
                            user=BLUE, group=65500, extra_groups=[], cwd="/", timeout=60)
    assert status.returncode != 0 and "operators only" in status.stderr


def test_containers_without_proof_stay_in_one_tenant(start):
    """Also for children, and whichever way their class was chosen; a class that proves is open to all."""
    haproxy = start.haproxy()
    command = [PYTHON, HERE / "plain_container.py", "--dir", start.root / "shared"]
    daemon = start.cleatd(socket_mode="0666", peers=PEERS, classes={"default": {}, "plain": {
        "command": command, "proof": "none", "artifacts": "", "labels": ["kind=plain"], **haproxy_class(haproxy)}})
    blue, green = start.add(Peer(daemon.socket, BLUE)), start.add(Peer(daemon.socket, GREEN))
    first = blue.ready(**{"class": "plain"})
    family = green.create()
    child = blue.ready(parent=first["session_id"], resources={"labels": {"kind": "plain"}})
    assert (child["class"], child["tenant"]) == ("plain", "blue")
    for fields in ({"class": "plain"}, {"resources": {"labels": {"kind": "plain"}}},
                   {"class": "plain", "parent": family["session_id"]}):
        for api in (green, daemon.api):
            with pytest.raises(ApiError) as refused:
                api.create(**fields, **({"tenant": "green"} if api is daemon.api else {}))
            assert (refused.value.status, refused.value.code) == (403, "forbidden")
            assert "blue" not in refused.value.error["message"]
    blue.close(first["session_id"])
    assert blue.wait(child["session_id"], "closed")["stop_reason"] == "parent_closed"
    theirs = green.ready(**{"class": "plain", "parent": family["session_id"]})
    with pytest.raises(ApiError) as refused:
        blue.create(**{"class": "plain"})
    assert refused.value.code == "forbidden"
    green.close(family["session_id"])
    assert green.wait(theirs["session_id"], "closed")["stop_reason"] == "parent_closed"
