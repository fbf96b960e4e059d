#!/usr/bin/python3
"""A container of the plain contract: user code runs in the web process, nothing is proven.

It takes its address and identity from the environment and never calls home. Options make it
misbehave in one way each, so that a test can see what cleat does about it. Every request that
reaches it, health checks excepted, is appended to DIR/requests as one JSON line.
"""

import argparse
import contextlib
import http.server
import io
import json
import os
import socketserver
import sys
import threading
import time

options = argparse.ArgumentParser()
options.add_argument("--dir", required=True, help="where the record of requests goes")
options.add_argument("--health", type=int, default=200, help="what /health answers")
options.add_argument("--health-gate", help="/health is 503 until this file exists")
options.add_argument("--info-gate", help="/container-info is 503 until this file exists")
options.add_argument("--impersonate", help="a file with the session id to claim")
options.add_argument("--complete-status", type=int, default=200)
options.add_argument("--lose-complete", action="store_true",
                     help="the answer of complete is lost, once five health checks have found it over")
options.add_argument("--sync-files", type=int, default=0, help="files that /file-sync counts")
args = options.parse_args()

session_id = os.environ["SESSION_ID"]
address = os.environ["CLEAT_LISTEN"]
lock = threading.Lock()
state = {"executions": 0, "complete": False}
found_over = threading.Semaphore(0)


def claimed_id():
    try:
        with open(args.impersonate) as f:
            return f.read().strip() or session_id
    except (OSError, TypeError):
        return session_id


def record(handler, body):
    write({
        "address": address,
        "method": handler.command,
        "path": handler.path,
        "headers": {k.lower(): v for k, v in handler.headers.items()},
        "body": body.decode("utf-8", "replace"),
    })


def write(entry):
    with lock, open(os.path.join(args.dir, "requests"), "a") as f:
        f.write(json.dumps(entry) + "\n")


def run_python(code):
    out, err = io.StringIO(), io.StringIO()
    failure = None
    begin = time.monotonic()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exec(code, {"__name__": "__main__"})
    except Exception as e:  # whatever user code does is the user's
        failure = f"{type(e).__name__}: {e}"
    state["executions"] += 1
    return {
        "session_id": session_id,
        "execution_num": state["executions"],
        "status": "failed" if failure else "completed",
        "stdout": out.getvalue(),
        "stderr": err.getvalue(),
        "error": failure,
        "execution_time_ms": int((time.monotonic() - begin) * 1000),
        "total_executions": state["executions"],
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if args.impersonate:
            self.send_header("X-Cleat-Session", claimed_id())
            self.send_header("X-Cleat-Attempt", os.environ.get("CLEAT_ATTEMPT", "1"))
            self.send_header("X-Cleat-Address", address)
            self.send_header("X-Cleat-Proof", "0" * 64)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            ready = not args.health_gate or os.path.exists(args.health_gate)
            status = 503 if state["complete"] or not ready else args.health
            if state["complete"]:
                found_over.release()
            return self.answer(status, {"status": "healthy" if status == 200 else "no",
                                        "session_id": claimed_id()})
        record(self, b"")
        if self.path == "/container-info":
            if args.info_gate and not os.path.exists(args.info_gate):
                return self.answer(503, {"error": "not yet"})
            return self.answer(200, {
                "private_ip": address.rsplit(":", 1)[0],
                "hostname": "plain",
                "session_id": claimed_id(),
                "known_sessions": [claimed_id()],
                "executions_completed": state["executions"],
            })
        return self.answer(404, {"error": "not found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        record(self, body)
        request = json.loads(body)
        if request.get("session_id", claimed_id()) != claimed_id():
            return self.answer(403, {"error": "another session"})
        if self.path == "/execute":
            with lock_of_user_code:
                return self.answer(200, run_python(request["code"]))
        if self.path == "/session/complete":
            done = args.complete_status == 200
            state["complete"] = done
            if args.lose_complete:
                for _ in range(5):
                    found_over.acquire(timeout=20)
                write({"address": address, "path": "the answer is lost", "time": time.time()})
                self.close_connection = True
                return None
            return self.answer(args.complete_status,
                               {"upload_completed": done, "session_id": claimed_id()})
        if self.path == "/file-sync":
            return self.answer(200, {"status": "success", "files_count": args.sync_files})
        return self.answer(404, {"error": "not found"})


lock_of_user_code = threading.Lock()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *unused):
        """A client that hangs up (health checks do) is no news."""


host, port = address.rsplit(":", 1)
try:
    Server((host, int(port)), Handler).serve_forever()
except OSError as e:
    sys.exit(f"plain_container: {address}: {e}")
