"""Starting, who may ask, and which requests are refused."""

import json
import os
import secrets
import socket
import subprocess

import pytest

from executor_client import Client, DEADLINE_S, build_dir
from executor_help import each, executors, x  # noqa: F401
from executor_help import non_root


# ---- start


def test_container_info(x):
    info = x.get("/container-info").json
    assert info["private_ip"] == x.address
    assert info["hostname"] == socket.gethostname()
    assert info["session_id"] == "s-1" and info["known_sessions"] == ["s-1"]
    assert info["attempt"] == 1 and info["busy"] is False
    assert info["executions_completed"] == 0
    assert info["executor"].startswith("cleat-executor/")
    assert info["sandbox"] in ("bwrap", "none")


def test_public_routes_need_no_proof_but_give_one(x):
    nonce = secrets.token_hex(16)
    for path in "/health", "/container-info":
        answer = x.raw("GET", path, headers={"X-Cleat-Nonce": nonce})
        assert answer.status == 200
        x.check(answer, nonce)
    bare = x.raw("GET", "/container-info")
    assert bare.status == 200 and bare.headers["X-Cleat-Proof"] is None
    assert bare.headers["X-Cleat-Session"] == "s-1"


@pytest.mark.parametrize("change, message", [
    ({"CLEAT_SECRET": None}, "CLEAT_SECRET is not set"),
    ({"CLEAT_SECRET": "zz"}, "64 hexadecimal digits"),
    ({"SESSION_ID": ""}, "SESSION_ID"),
    ({"SESSION_ID": "../x"}, "SESSION_ID"),
    ({"CLEAT_LISTEN": "8080"}, "CLEAT_LISTEN"),
    ({"CLEAT_LISTEN": "127.0.22.1:99999"}, "CLEAT_LISTEN"),
    ({"CLEAT_LISTEN": "192.0.2.1:8080"}, "192.0.2.1"),
    ({"CLEAT_WORKSPACE": "relative"}, "CLEAT_WORKSPACE"),
    ({"CLEAT_ARTIFACTS": "ftp://bucket"}, "CLEAT_ARTIFACTS"),
    ({"CLEAT_ARTIFACTS": "s3://Bucket"}, "S3 bucket"),
    ({"CLEAT_ARTIFACTS": "s3://bucket/../x"}, "prefix"),
    ({"CLEAT_SANDBOX": "jail"}, "auto | bwrap | none"),
    ({"CLEAT_MEMORY_MB": "-1"}, "CLEAT_MEMORY_MB"),
    ({"CLEAT_WORKSPACE": "/proc/nowhere"}, "/proc/nowhere"),
])
def test_refuses_to_start(executors, change, message):
    x = executors()
    for name, value in change.items():
        if value is None:
            del x.environment[name]
        else:
            x.environment[name] = value
    x.spawn()
    assert x.wait_exit() == 1
    assert message in x.log
    assert x.secret.hex() not in x.log


def test_refuses_arguments():
    done = subprocess.run([os.path.join(build_dir(), "cleat-executor"), "--what"],
                          capture_output=True, text=True, env={}, timeout=DEADLINE_S)
    assert done.returncode == 2 and "usage" in done.stderr


def test_two_on_one_address(executors):
    one = executors("one").boot()
    two = executors("two")
    two.environment["CLEAT_LISTEN"] = one.environment["CLEAT_LISTEN"]
    two.spawn()
    assert two.wait_exit() == 1
    assert "executor.failed" in two.log


# ---- proof


def test_requests_without_proof_are_refused(x):
    body = json.dumps({"session_id": "s-1", "code": "open('ran', 'w')"}).encode()
    for method, path in (("POST", "/execute"), ("POST", "/session/complete"), ("GET", "/executions/a"),
                         ("POST", "/session/claim"), ("GET", "/session/complete"),
                         ("POST", "/file-sync"), ("GET", "/nothing")):
        answer = x.raw(method, path, body if method == "POST" else b"")
        assert answer.status == 403 and answer.code == "forbidden", path
        assert answer.headers["X-Cleat-Session"] == "s-1"
    assert x.get("/container-info").json["executions_completed"] == 0
    assert not os.path.exists(x.home + "/ran")


def test_forged_requests_are_refused(x):
    body = json.dumps({"session_id": "s-1", "code": "pass"}).encode()
    good = x.request_headers("POST", "/execute", body)
    forged = [
        dict(good, **{"X-Cleat-Proof": "0" * 64}),
        dict(good, **{"X-Cleat-Proof": good["X-Cleat-Proof"][:-1]}),
        dict(good, **{"X-Cleat-Nonce": secrets.token_hex(16)}),
        dict(good, **{"X-Cleat-Nonce": "short"}),
        dict(good, **{"X-Cleat-Attempt": "2"}),
        dict(good, **{"X-Cleat-Attempt": "1 1"}),
        x.request_headers("GET", "/execute", body),
        x.request_headers("POST", "/execute?x=1", body),
        x.request_headers("POST", "/execute", body + b" "),
        {name: value for name, value in good.items() if name != "X-Cleat-Nonce"},
    ]
    for headers in forged:
        answer = x.raw("POST", "/execute", body, headers)
        assert answer.status == 403, headers
        assert x.secret.hex().encode() not in answer.body
    assert x.get("/container-info").json["executions_completed"] == 0
    assert x.raw("POST", "/execute", body, good).status == 200


def test_another_sessions_request_is_refused_and_told_who_we_are(x):
    stranger = Client(x.address, x.port, "s-2", 1, secrets.token_bytes(32))
    nonce = secrets.token_hex(16)
    headers = stranger.request_headers("GET", "/container-info", b"", nonce)
    answer = x.raw("GET", "/container-info", headers=headers)
    assert answer.status == 403
    assert answer.headers["X-Cleat-Session"] == "s-1"
    x.check(answer, nonce)


def test_info_with_headers_must_have_them_right(x):
    good = x.request_headers("GET", "/container-info", b"")
    assert x.raw("GET", "/container-info", headers=good).status == 200
    bad = dict(good, **{"X-Cleat-Proof": "f" * 64})
    assert x.raw("GET", "/container-info", headers=bad).status == 403
    only_session = {"X-Cleat-Session": "s-1"}
    assert x.raw("GET", "/container-info", headers=only_session).status == 403


def test_replayed_request_does_nothing(x):
    body = json.dumps({"session_id": "s-1", "code": "print(1)"}).encode()
    headers = x.request_headers("POST", "/execute", body)
    assert x.raw("POST", "/execute", body, headers).status == 200
    again = x.raw("POST", "/execute", body, headers)
    assert again.status == 403 and "nonce" in again.json["error"]["message"]
    assert x.get("/container-info").json["executions_completed"] == 1


def test_body_of_another_session(x):
    assert x.post("/execute", {"session_id": "s-2", "code": "pass"}).status == 403
    assert x.call("POST", "/execute", {"code": "pass"}).status == 400
    assert x.post("/session/complete", {"session_id": "s-2"}).status == 403
    assert x.get("/health").json["executions_completed"] == 0


def test_secret_is_gone(each):
    secret = each.secret.hex()
    with open("/proc/%d/environ" % each.process.pid, "rb") as environ:
        assert secret.encode() not in environ.read()
    look = ("import glob, os\n"
            "seen = repr(dict(os.environ))\n"
            "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
            "    try: seen += open(path).read()\n"
            "    except OSError: pass\n"
            "print(len(seen))\n"
            "print('SECRET' if '%s' in seen else 'nothing')" % secret[:20].replace(secret[5], "'+'" + secret[5]))
    assert each.run(look)["stdout"].endswith("nothing\n")
    for folder, _, names in os.walk(each.workspace):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert secret.encode() not in file.read()
    assert secret not in each.log


def test_not_dumpable(x):
    """For another user the process' own files belong to root when it is not dumpable."""
    assert os.stat("/proc/%d/environ" % x.process.pid).st_uid == 0


def test_non_root_executor_is_not_readable_by_its_own_user(executors):
    x = non_root(executors)
    assert os.stat("/proc/%d/mem" % x.process.pid).st_uid == 0


# ---- requests that make no sense


@pytest.mark.parametrize("fields", [
    {}, {"code": "pass", "argv": ["true"]}, {"code": 5}, {"argv": []}, {"argv": [1]}, {"argv": [""]},
    {"argv": "ls"}, {"code": "pass", "timeout_s": 0}, {"code": "pass", "timeout_s": 86401},
    {"code": "pass", "timeout_s": "5"}, {"code": "pass", "timeout_s": 1.5},
    {"code": "pass", "output_limit": 67108865}, {"code": "pass", "output_limit": -1},
    {"code": "pass", "wait_s": 61}, {"code": "pass", "env": {"A": 1}}, {"code": "pass", "env": []},
    {"code": "pass", "env": {"A=B": "1"}}, {"code": "pass", "env": {"": "1"}},
    {"code": "pass", "env": {"A": "x" * 70000}}, {"code": "pass", "execution_id": ""},
    {"code": "pass", "execution_id": "a/b"}, {"code": "pass", "execution_id": "x" * 129},
    {"code": "a\0b"},
])
def test_bad_execute(x, fields):
    answer = x.execute(**fields)
    assert answer.status == 400 and answer.code == "invalid_request", answer.body
    assert x.get("/health").json["executions_completed"] == 0


def test_unknown_fields_are_ignored(x):
    assert x.run("print(1)", language="python", user="u")["stdout"] == "1\n"


def test_body_that_is_no_object(x):
    for body in (b"", b"[]", b"{", b'{"session_id": "s-1", "session_id": "s-1"}', b"\xff\xfe"):
        headers = x.request_headers("POST", "/execute", body)
        assert x.raw("POST", "/execute", body, headers).status == 400, body
