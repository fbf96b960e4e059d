"""An API server on a Unix socket that answers what a test tells it to: for what the real cleatd
seldom or never says."""

import base64
import datetime
import http.server
import json
import os
import socketserver
import threading

ORIGIN = datetime.datetime(2026, 3, 4, 5, 6, 7, tzinfo=datetime.timezone.utc)


def session_id(n):
    """A UUIDv7 that begins like its neighbours', as real ones do."""
    return f"019cb6a1-5c00-7000-8000-{n * 0x9E3779B97F4A & 0xFFFFFFFFFFFF:012x}"


def stamp(ms):
    moment = ORIGIN + datetime.timedelta(milliseconds=ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def session(n, state="READY", at=0, **members):
    document = {
        "session_id": session_id(n), "request_id": f"r{n}", "tenant": None, "user": None,
        "thread": None, "run": None, "parent": None, "class": "default", "state": state,
        "created_at": stamp(at), "expires_at": stamp(at + 3600000), "stop_reason": None,
        "error": None, "proof": "required", "attempt": 1, "attempt_state": "LIVE",
        "container": f"cleat.{n}", "address": f"127.64.0.{n % 250 + 1}:8080", "direct_path": True,
        "executions": 10, "executions_failed": 0, "executions_queued": 0, "probes": 1,
        "misroutes": 0, "phases": [], "cleanup": [], "ready_ms": None, "closing_ms": None,
        "closed_ms": None,
    }
    document.update(members)
    return document


def job(n, state="succeeded", at=0, waited=0, start=100, ran=1000, **members):
    """One that waited, started and ran for so many ms; None: it did not get that far."""
    times, moment = {}, at
    for key, ms in (("started_at", (waited or 0) + (start or 0) if start is not None else None), ("ended_at", ran)):
        moment = None if moment is None or ms is None else moment + ms
        times[key] = None if moment is None else stamp(moment)
    document = {
        "job_id": session_id(n), "name": f"job-{n}", "request_id": f"r{n}", "tenant": None, "user": None,
        "thread": None, "run": None, "parent": None, "class": "default", "state": state,
        "exit_code": 0 if state == "succeeded" else None, "signal": None, "error": None, "queue": None,
        "created_at": stamp(at), **times, "queue_ms": waited, "start_ms": start, "run_ms": ran,
        "output": {"bytes": 0, "truncated": False}, "timeout_s": 60, "session_state": "CLOSED",
        "stop_reason": "job_ended",
    }
    document.update(members)
    return document


def phases(*steps, attempt=1, start=0):
    """("launch", 120), … one after the other."""
    rows = []
    for name, ms in steps:
        end = None if ms is None else start + ms
        rows.append({"name": name, "attempt": attempt, "start_ms": start, "end_ms": end})
        start = end
    return rows


def step(name, start, end, result="ok", **more):
    return {"name": name, "start_ms": start, "end_ms": end, "result": result, **more}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class FakeApi:
    """answers maps "METHOD path" (without the query) to (status, document) or to a function of the
    request that gives one; requests keeps what came."""

    def __init__(self, path):
        self.path = str(path)
        self.answers = {}
        self.requests = []
        self.lock = threading.Lock()
        self.server = Server(self.path, self.handler())
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.path)

    def list(self, sessions):
        self.answers["GET /v1/sessions"] = (200, {"sessions": sessions})
        for s in sessions:
            self.answers[f"GET /v1/sessions/{s['session_id']}"] = (200, s)

    def list_jobs(self, jobs):
        self.answers["GET /v1/jobs"] = (200, {"jobs": jobs})
        for j in jobs:
            self.answers[f"GET /v1/jobs/{j['job_id']}"] = (200, j)

    def on_submit(self, status=201, **members):
        def submit(request):
            n = sum(r["method"] == "POST" for r in self.requests)
            given = {k: v for k, v in request["body"].items() if k in ("name", "class", "tenant", "user")}
            return status, job(n, "queued", waited=None, start=None, ran=None, **{**given, **members})
        self.answers["POST /v1/jobs"] = submit

    def on_logs(self, n, pieces, ended=True, truncated=False):
        """pieces: (stream, bytes) in the order of arrival; two to an answer."""
        def logs(request):
            query = dict(p.split("=") for p in request["query"].split("&"))
            after, chunks, offset = int(query["after"]), [], 0
            for stream, data in pieces:
                begin, offset = offset, offset + len(data)
                if begin < after or len(chunks) == 2:
                    continue
                try:
                    text = {"data": data.decode()}
                except UnicodeDecodeError:
                    text = {"data_base64": base64.b64encode(data).decode()}
                chunks.append({"offset": begin, "time": stamp(begin), "stream": stream, **text})
                after = offset
                if len(chunks) == 2:
                    break
            wanted = [c for c in chunks if query.get("stream") in (None, c["stream"])]
            end = sum(len(d) for _, d in pieces)
            return 200, {"chunks": wanted, "next": after if chunks else int(query["after"]),
                         "ended": ended and after == end, "truncated": truncated}
        self.answers[f"GET /v1/jobs/{session_id(n)}/logs"] = logs

    def on_create(self, status=201, **members):
        def create(request):
            n = sum(r["method"] == "POST" for r in self.requests)
            return status, session(n, **{**members, **request["body"], "created": status == 201})
        self.answers["POST /v1/sessions"] = create

    def error(self, key, status, code, retryable=False, **more):
        self.answers[key] = (status, {"error": {"code": code, "message": f"it is {code}",
                                                "retryable": retryable, "admitted": False, **more}})

    def handler(fake):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self):
                return "unix"

            def log_message(self, *args):
                pass

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length)
                path, _, query = self.path.partition("?")
                request = {"method": self.command, "path": path, "query": query,
                           "type": self.headers.get("Content-Type"),
                           "body": json.loads(text) if text else None}
                with fake.lock:
                    fake.requests.append(request)
                    answer = fake.answers.get(f"{self.command} {path}")
                    if callable(answer):
                        answer = answer(request)
                if answer is None:
                    answer = 404, {"error": {"code": "not_found", "message": "no such session",
                                             "retryable": False, "admitted": False}}
                if answer == "hang up":
                    self.close_connection = True
                    return
                status, document = answer
                data = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status == 429:
                    self.send_header("Retry-After", "7")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer

        return Handler
