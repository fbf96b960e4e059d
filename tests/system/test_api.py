"""cleatd's routes: methods, types, queries, typed errors, clients that leave."""

import http.client
import json
import os
import signal
import socket
import subprocess

import pytest

from cleat_harness import BUILD, UnixConnection, poll

NOBODY = "/v1/sessions/019cb6a1-5c00-7000-8000-000000000001"


@pytest.fixture(scope="module")
def daemon(module_start):
    return module_start.cleatd(max_body_kb=64)


@pytest.fixture(scope="module")
def ready(daemon):
    return daemon.api.call("POST", "/v1/sessions?wait=ready&timeout_s=60", {})


def ask(daemon, method, target, body=None, headers=None):
    """status, headers, document"""
    connection = UnixConnection(daemon.socket, 60)
    connection.request(method, target, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, answer.headers, json.loads(text) if text else None


def assert_error(document, code, retryable=False, admitted=False):
    error = document["error"]
    assert error["code"] == code and error["message"]
    assert error["retryable"] is retryable and error["admitted"] is admitted


@pytest.mark.parametrize("method, path, allow", [
    ("PUT", "/v1/sessions", "POST, GET, HEAD"), ("DELETE", "/v1/sessions", "POST, GET, HEAD"),
    ("POST", NOBODY, "GET, HEAD, DELETE"), ("GET", NOBODY + "/execute", "POST"),
    ("HEAD", NOBODY + "/execute", "POST"), ("GET", NOBODY + "/keepalive", "POST"),
    ("POST", NOBODY + "/route", "GET, HEAD"), ("POST", "/v1/status", "GET, HEAD"),
    ("DELETE", "/v1/isolation", "GET, HEAD"), ("POST", "/healthz", "GET, HEAD"), ("PUT", "/readyz", "GET, HEAD")])
def test_other_methods_are_405(daemon, method, path, allow):
    status, headers, document = ask(daemon, method, path)
    assert status == 405 and headers["Allow"] == allow
    if method != "HEAD":
        assert_error(document, "invalid_request")


@pytest.mark.parametrize("path", [
    "/", "/v1", "/v1/", "/v2/sessions", "/status", "/v1/sessions/", "/v1/sessions//execute",
    NOBODY + "/", NOBODY + "/nonsense", NOBODY + "/execute/more", "/v1/statusx", "/healthz/",
    NOBODY, NOBODY + "/route", NOBODY.upper().replace("/V1/SESSIONS", "/v1/sessions"), "/v1/sessions/*",
    "/v1/sessions/..", "/v1/sessions/%2e%2e", "/v1/sessions/" + "a" * 3000, NOBODY + "0"])
def test_unknown_paths_and_sessions_are_404(daemon, path):
    status, _, document = ask(daemon, "GET", path)
    assert status == 404
    assert_error(document, "not_found")


@pytest.mark.parametrize("method, path, body", [
    ("DELETE", "", None), ("POST", "/execute", {"code": "1"}), ("POST", "/keepalive", None),
    ("GET", "?wait=ready", None), ("GET", "?wait=closed&timeout_s=5", None), ("GET", "?wait=soon", None),
    ("POST", "/execute", "not an object")])
def test_nobody_can_be_used(daemon, method, path, body):
    headers = {"Content-Type": "application/json"} if body else {}
    status, _, document = ask(daemon, method, NOBODY + path, json.dumps(body) if body else None, headers)
    assert status == 404
    assert_error(document, "not_found")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/"])
@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/sessions/{id}/execute"])
def test_a_body_that_is_not_called_json_is_415(daemon, ready, path, kind):
    connection = UnixConnection(daemon.socket, 60)
    connection.putrequest("POST", path.format(id=ready["session_id"]))
    if kind:
        connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    answer = connection.getresponse()
    assert answer.status == 415
    assert_error(json.loads(answer.read()), "invalid_request")
    connection.close()


def test_parameters_of_the_type_do_not_matter(daemon):
    status, _, document = ask(daemon, "POST", "/v1/sessions", "[]", {"Content-Type": "Application/JSON; charset=utf-8"})
    assert status == 400
    assert_error(document, "invalid_request")


def test_a_body_over_the_limit_is_413(daemon):
    body = json.dumps({"user": "x" * 65536})
    status, _, document = ask(daemon, "POST", "/v1/sessions", body, {"Content-Type": "application/json"})
    assert status == 413 and document["error"]["code"] == "too_large"


@pytest.mark.parametrize("method, target", [
    ("POST", "/v1/sessions?wait=closed"), ("POST", "/v1/sessions?wait="), ("POST", "/v1/sessions?wait=READY"),
    ("DELETE", "/v1/sessions/{id}?wait=ready"), ("GET", "/v1/sessions/{id}?wait=soon"), ("GET", "/v1/sessions/{id}?timeout_s=5"),
    ("POST", "/v1/sessions?timeout_s=5"),
    *[("GET", "/v1/sessions/{id}?wait=ready&timeout_s=" + s) for s in ("0", "3601", "-1", "1.5", "", "x", "99999", "1%20", "%2B5")]])
def test_wrong_queries_are_400_and_do_nothing(daemon, ready, method, target):
    before = len(daemon.api.call("GET", "/v1/sessions")["sessions"])
    status, _, document = ask(daemon, method, target.format(id=ready["session_id"]))
    assert status == 400
    assert_error(document, "invalid_request")
    assert len(daemon.api.call("GET", "/v1/sessions")["sessions"]) == before


def test_create_says_whether_it_is_new(daemon):
    body, headers = json.dumps({"request_id": "twice"}), {"Content-Type": "application/json"}
    first = ask(daemon, "POST", "/v1/sessions", body, headers)
    again = ask(daemon, "POST", "/v1/sessions?wait=ready&timeout_s=60", body, headers)
    assert (first[0], first[2]["created"]) == (201, True)
    assert (again[0], again[2]["created"], again[2]["state"]) == (200, False, "READY")
    assert first[2]["session_id"] == again[2]["session_id"]


def test_create_and_wait_says_which_session_failed(start):
    slow = start.cleatd(classes={"default": {"command": ["/bin/sleep", "1000"]}})
    status, _, document = ask(slow, "POST", "/v1/sessions?wait=ready&timeout_s=1")
    assert status == 504
    assert_error(document, "wait_timeout", retryable=True, admitted=True)
    session = document["error"]["session_id"]
    assert slow.api.call("GET", f"/v1/sessions/{session}")["state"] == "OPENING"
    status, _, document = ask(slow, "DELETE", f"/v1/sessions/{session}?wait=closed&timeout_s=30")
    assert status == 200 and document["state"] in ("CLOSED", "FAILED")


def test_head_is_get_without_a_body(daemon, ready):
    for path in ("/v1/sessions", f"/v1/sessions/{ready['session_id']}", "/v1/status", "/healthz", "/readyz"):
        status, headers, document = ask(daemon, "HEAD", path)
        assert status == 200 and document is None
        assert headers["Content-Type"] == "application/json"


def test_documents_of_a_session(daemon, ready):
    base = f"/v1/sessions/{ready['session_id']}"
    assert daemon.api.call("GET", base)["state"] == "READY"
    assert daemon.api.call("POST", base + "/keepalive")["session_id"] == ready["session_id"]
    assert daemon.api.call("GET", base + "/route")["base_url"].startswith("http://127.")
    record = daemon.api.call("POST", base + "/execute", {"code": "print(6 * 7)"})
    assert (record["status"], record["stdout"]) == ("completed", "42\n")
    assert daemon.api.call("GET", "/healthz") == {"status": "ok"}
    assert daemon.api.call("GET", "/readyz") == {"status": "ready"}
    assert daemon.api.call("GET", "/v1/isolation")["shared_connections"] == 0
    assert daemon.api.call("GET", "/v1/status")["sessions"]["READY"] >= 1
    asked = [line for line in daemon.log_lines() if "event=api.request" in line and base in line]
    assert asked and all(f" session={ready['session_id']} " in line for line in asked)


def test_delete_is_202_then_closed(daemon):
    session = daemon.api.call("POST", "/v1/sessions?wait=ready", {})["session_id"]
    status, _, document = ask(daemon, "DELETE", f"/v1/sessions/{session}")
    assert status == 202 and document["state"] in ("CLOSING", "CLOSED")
    assert daemon.api.call("GET", f"/v1/sessions/{session}?wait=closed")["state"] == "CLOSED"


def test_a_client_that_leaves_ends_only_its_waiting(daemon):
    session = daemon.api.call("POST", "/v1/sessions?wait=ready", {})["session_id"]
    waiting = UnixConnection(daemon.socket, 60)
    waiting.request("POST", f"/v1/sessions/{session}/execute", json.dumps({
        "execution_id": "left", "code": "import time; time.sleep(1); print('done')"}), {"Content-Type": "application/json"})
    poll(lambda: daemon.api.call("GET", f"/v1/sessions/{session}")["state"] == "BUSY", what="BUSY")
    waiting.close()
    poll(lambda: "event=api.gone" in daemon.log_path.read_text(), what="a line about it")
    record = daemon.api.call("POST", f"/v1/sessions/{session}/execute", {
        "execution_id": "left", "code": "import time; time.sleep(1); print('done')"})
    assert (record["stdout"], record["total_executions"]) == ("done\n", 1)


def test_a_stop_leaves_waiting_clients_and_the_socket(start):
    daemon = start.cleatd(classes={"default": {"command": ["/bin/sleep", "1000"]}})
    connection = UnixConnection(daemon.socket, 60)
    connection.request("POST", "/v1/sessions?wait=ready")
    poll(lambda: daemon.api.call("GET", "/v1/sessions")["sessions"], what="the session")
    os.kill(daemon.process.pid, signal.SIGTERM)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    assert daemon.process.wait(30) == 0
    assert not daemon.socket.exists()
    daemon.start()


def run_cleatd(*arguments, **env):
    return subprocess.run([BUILD / "cleatd", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **env})


def test_a_second_cleatd_disturbs_nobody(daemon, tmp_path):
    same_socket = run_cleatd("--socket", daemon.socket, "--state-dir", tmp_path / "other")
    assert same_socket.returncode == 1 and "another server listens there" in same_socket.stderr
    same_state = run_cleatd("--socket", tmp_path / "s", "--state-dir", daemon.root / "state")
    assert same_state.returncode == 1 and same_state.stderr.startswith("cleatd: ")
    assert daemon.api.call("GET", "/healthz")


def test_a_stale_socket_is_replaced_and_a_bad_one_told(start, tmp_path):
    daemon = start.cleatd("stale")
    daemon.stop()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(daemon.socket))
    daemon.start()
    (tmp_path / "file").write_text("")
    result = run_cleatd("--socket", tmp_path / "file" / "s", "--state-dir", tmp_path / "state")
    assert result.returncode == 1 and str(tmp_path / "file") in result.stderr


def test_the_socket_has_the_mode_of_the_configuration(start):
    assert start.cleatd("a").socket.stat().st_mode & 0o777 == 0o660
    assert start.cleatd("b", socket_mode="0600").socket.stat().st_mode & 0o777 == 0o600
