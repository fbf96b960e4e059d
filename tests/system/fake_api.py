"""An API server on a Unix socket that answers what a test tells it to: for what the real cleatd
seldom or never says."""

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
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer

        return Handler
