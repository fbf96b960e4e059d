"""Whatever arrives: a 4xx with a typed error, and cleatd goes on."""

import json
import os

import pytest

from cleat_harness import poll


@pytest.fixture(scope="module")
def cleatd(module_start):
    return module_start.cleatd()


@pytest.fixture(scope="module")
def session(cleatd):
    return cleatd.api.ready()["session_id"]


@pytest.fixture(autouse=True)
def unharmed(cleatd):
    """After each of these: the same process, answering, with no session that it should not have."""
    before, pid = len(cleatd.api.sessions()), cleatd.process.pid
    yield
    assert cleatd.process.poll() is None and cleatd.process.pid == pid
    assert cleatd.api.raw("GET", "/healthz")[0] == 200
    assert len(cleatd.api.sessions()) == before


def assert_refused(answer, statuses=range(400, 500)):
    status, document = answer
    assert status in statuses, answer
    error = document["error"]
    assert isinstance(error["code"], str) and error["message"] and error["retryable"] is False, document


def post(cleatd, body, path="/v1/sessions", headers=None):
    headers = {"Content-Type": "application/json", **(headers or {})}
    return cleatd.api.raw("POST", path, body, headers)


MALFORMED = {
    "empty": b"", "not JSON": b"hello", "cut off": b'{"request_id": "a', "no object": b'["request_id"]',
    "a number": b"42", "null": b"null", "trailing": b'{"request_id":"a"} x', "two": b'{}{}',
    "single quotes": b"{'request_id':'a'}", "comment": b'{"request_id":"a" /* */}',
    "duplicate keys": b'{"request_id":"a","request_id":"b"}',
    "bad UTF-8": b'{"request_id":"\xff\xfe"}', "overlong UTF-8": b'{"request_id":"\xc0\xaf"}',
    "surrogate": b'{"request_id":"\\ud800"}', "NUL": b'{"request_id":"a\\u0000b"}',
    "control": b'{"request_id":"a\x01b"}', "NaN": b'{"request_id":"a","idle_timeout_s":NaN}',
    "deep": b'{"env":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("name", sorted(MALFORMED.keys() - {"empty"}))  # a create may have no body at all
def test_malformed_json(cleatd, name):
    assert_refused(post(cleatd, MALFORMED[name]))


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_execution(cleatd, session, name):
    assert_refused(post(cleatd, MALFORMED[name], f"/v1/sessions/{session}/execute"))


FIELDS = {
    "unknown field": {"colour": "red"}, "misspelt": {"requestid": "x"}, "unknown class": {"class": "nope"},
    "class a path": {"class": "../default"},
    **{f"{k} {v!r}": {k: v} for k in ("request_id", "user", "tenant") for v in
       ("", "null", "undefined", "placeholder", "None", "NULL", "unknown", "  ", "a\r\nX: y", "a\tb",
        "../x", "a/b", "x" * 5000, 7, True, ["a"], {"a": 1})},
    **{f"{k} {v!r}": {k: v} for k in ("create_timeout_s", "idle_timeout_s", "max_lifetime_s", "exec_timeout_s")
       for v in (0, -1, 1.5, "60", True, 10 ** 12, 2 ** 63, 10 ** 30, [])},
    "env no object": {"env": "A=B"}, "env value": {"env": {"A": 1}}, "env name": {"env": {"A=B": "c"}},
    "env empty name": {"env": {"": "c"}}, "env NUL": {"env": {"A": "b\0c"}},
    "env secret": {"env": {"CLEAT_SECRET": "0" * 64}},
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_create(cleatd, name):
    body = json.dumps({"request_id": "good-enough", **FIELDS[name]})
    assert_refused(post(cleatd, body), (400, 404, 413))


EXECUTIONS = {
    "nothing": {}, "both": {"code": "1", "argv": ["a"]}, "empty argv": {"argv": []}, "argv text": {"argv": "ls"},
    "argv numbers": {"argv": [1]}, "argv NUL": {"argv": ["a\0b"]}, "code number": {"code": 1},
    "code null": {"code": None}, "unknown": {"code": "1", "colour": "red"},
    "timeout text": {"code": "1", "timeout_s": "1"}, "timeout zero": {"code": "1", "timeout_s": 0},
    "timeout huge": {"code": "1", "timeout_s": 2 ** 70}, "timeout real": {"code": "1", "timeout_s": 1.5},
    "limit negative": {"code": "1", "output_limit": -1}, "limit huge": {"code": "1", "output_limit": 2 ** 40},
    "id path": {"code": "1", "execution_id": "../../etc/passwd"}, "id empty": {"code": "1", "execution_id": ""},
    "id CRLF": {"code": "1", "execution_id": "a\r\nb"}, "id long": {"code": "1", "execution_id": "x" * 1000},
}


@pytest.mark.parametrize("name", EXECUTIONS)
def test_fields_of_execute(cleatd, session, name):
    before = cleatd.api.session(session)["executions"]
    assert_refused(post(cleatd, json.dumps(EXECUTIONS[name]), f"/v1/sessions/{session}/execute"), (400, 413))
    assert cleatd.api.session(session)["executions"] == before


@pytest.mark.parametrize("target", [
    "/", "/v1", "/v2/sessions", "/v1/sessions/", "/v1/sessions/nope", "/v1/sessions/../../etc/passwd",
    "/v1/sessions/%2e%2e/%2e%2e/etc/passwd", "/v1/sessions/..%2f..", "/v1/../v1/sessions/x",
    "/v1/sessions/%00", "/v1/sessions/%zz", "/v1/sessions/" + "a" * 4000, "/status", "/v1/sessions/x/y/z",
    "/v1/sessions/00000000-0000-7000-8000-000000000000",
    "/v1/sessions/00000000-0000-7000-8000-000000000000/route"])
def test_paths(cleatd, target):
    assert_refused(cleatd.api.raw("GET", target))


@pytest.mark.parametrize("query", ["wait=never", "wait=ready&timeout_s=0", "wait=ready&timeout_s=-1",
                                   "wait=ready&timeout_s=1e3", "wait=ready&timeout_s=99999999999999999999",
                                   "wait=ready&timeout_s=%0d%0a", "wait="])
def test_queries(cleatd, session, query):
    assert_refused(cleatd.api.raw("GET", f"/v1/sessions/{session}?{query}"), (400,))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_methods(cleatd, method):
    status, document = cleatd.api.raw(method, "/v1/sessions", b"")
    assert status in (400, 404, 405, 501) and (document is None or "error" in document)


def test_huge_body(cleatd):
    """More than any request needs: 413, and the memory is not kept."""
    body = b'{"request_id":"' + b"x" * (96 << 20) + b'"}'
    length = len(body)
    head = f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
    answer = cleatd.api.send_bytes(head + body, timeout=60)
    assert answer.startswith(b"HTTP/1.1 413") and b'"too_large"' in answer, answer[:300]
    poll(lambda: resident_mb(cleatd.process.pid) < 600, 10, "the memory's return")


def resident_mb(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20


def test_announced_huge_body(cleatd):
    head = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"
    assert cleatd.api.send_bytes(head).split(b" ")[1] in (b"400", b"413")


RAW = {
    "no HTTP": b"hello\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunked": b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "odd encoding": b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
    "bare CR in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\rX-B: b\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
    "folded header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n",
    "huge head": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "many headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * 100000 + b"\r\n",
    "negative length": b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "raw bytes in the target": b"GET /v1/sessions/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", RAW)
def test_raw_bytes(cleatd, name):
    """Refused with a 4xx, or, where no answer can be sensible, hung up on."""
    answer = cleatd.api.send_bytes(RAW[name], timeout=20)
    assert answer == b"" or answer.split(b" ")[1][:1] == b"4", answer[:200]
    if answer and name != "no HTTP":
        body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert body["error"]["code"], answer


def test_header_injection_through_values(cleatd, session):
    """Nothing of a caller's text becomes a header: neither in answers nor in requests to containers."""
    text = 'print("a\\r\\nX-Evil: 1")'
    record = cleatd.api.execute(session, text)
    assert record["stdout"] == "a\r\nX-Evil: 1\n"
    answer = cleatd.api.send_bytes(
        b"GET /v1/sessions/x%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"\r\nX-Evil" not in answer and answer.split(b" ")[1][:1] == b"4"


def test_a_client_that_sends_half_a_request(cleatd):
    for part in (b"", b"GET", b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
                 b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"):
        cleatd.api.send_bytes(part, timeout=40)


def test_clients_that_leave_while_they_wait(cleatd):
    """Forty clients that wait for nothing and hang up."""
    import socket
    target = f"/v1/sessions/{cleatd.api.sessions()[0]['session_id']}?wait=closed&timeout_s=60"
    for _ in range(40):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(cleatd.api.path)
            s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    poll(lambda: len(os.listdir(f"/proc/{cleatd.process.pid}/fd")) < 60, 20, "the descriptors' return")


def test_no_secret_in_the_log(cleatd, session):
    """The log names sessions, but holds no session's secret and no whole cookie."""
    text = cleatd.log_path.read_text(errors="replace")
    assert f"session={session}" in text
    master = [p for p in (cleatd.root / "state").rglob("*") if p.is_file() and "key" in p.name]
    assert master and all(p.stat().st_mode & 0o077 == 0 for p in master)
    for p in master:
        assert p.read_bytes().hex() not in text and p.read_bytes().decode("latin-1").strip() not in text
