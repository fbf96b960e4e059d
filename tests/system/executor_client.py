"""A small client of cleat-executor that makes and checks proofs. Standard library only."""

import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import subprocess
import time

DEADLINE_S = 30


def build_dir():
    return os.path.abspath(os.environ.get("CLEAT_BUILDDIR", "."))


def wait_for(condition, what, deadline_s=DEADLINE_S):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %s s: %s" % (deadline_s, what))
        time.sleep(0.01)


def sign(secret, text):
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Client:
    """Speaks to one executor. Checks the proof of every answer unless told not to."""

    def __init__(self, address, port, session, attempt, secret):
        self.address, self.port = address, port
        self.session, self.attempt, self.secret = session, attempt, secret

    def request_headers(self, method, target, body, nonce=None):
        nonce = nonce or secrets.token_hex(16)
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join(["request", method, target, self.session, str(self.attempt), nonce, digest])
        return {
            "X-Cleat-Session": self.session,
            "X-Cleat-Attempt": str(self.attempt),
            "X-Cleat-Nonce": nonce,
            "X-Cleat-Proof": sign(self.secret, text),
        }

    def answer_proof(self, nonce, status):
        address = "%s:%d" % (self.address, self.port)
        text = "\n".join(["answer", nonce, self.session, str(self.attempt), address, str(status)])
        return sign(self.secret, text)

    def connect(self, timeout=DEADLINE_S):
        return http.client.HTTPConnection(self.address, self.port, timeout=timeout)

    def raw(self, method, target, body=b"", headers=None, timeout=DEADLINE_S):
        """Sends exactly these headers; no check of the answer."""
        connection = self.connect(timeout)
        try:
            connection.request(method, target, body=body or None, headers=headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def call(self, method, target, body=None, headers=None, timeout=DEADLINE_S):
        data = b"" if body is None else json.dumps(body).encode()
        sent = self.request_headers(method, target, data)
        sent.update(headers or {})
        answer = self.raw(method, target, data, sent, timeout)
        self.check(answer, sent["X-Cleat-Nonce"])
        return answer

    def check(self, answer, nonce):
        assert answer.headers["X-Cleat-Session"] == self.session
        assert answer.headers["X-Cleat-Attempt"] == str(self.attempt)
        assert answer.headers["X-Cleat-Address"] == "%s:%d" % (self.address, self.port)
        assert answer.headers["X-Cleat-Proof"] == self.answer_proof(nonce, answer.status)

    def get(self, target, **more):
        return self.call("GET", target, **more)

    def post(self, target, fields=None, **more):
        body = {"session_id": self.session}
        body.update(fields or {})
        return self.call("POST", target, body, **more)

    def execute(self, code=None, timeout=DEADLINE_S, **fields):
        if code is not None:
            fields["code"] = code
        return self.post("/execute", fields, timeout=timeout)

    def run(self, code=None, **fields):
        """Executes to the end and returns the document."""
        answer = self.execute(code, **fields)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def start(self, code=None, **fields):
        """Starts an execution and returns its id."""
        answer = self.execute(code, wait_s=0, **fields)
        assert answer.status == 202, (answer.status, answer.body)
        return answer.json["execution_id"]

    def record(self, execution_id):
        answer = self.get("/executions/" + execution_id)
        assert answer.status == 200
        return answer.json

    def ended(self, execution_id):
        def look():
            record = self.record(execution_id)
            return record["status"] != "running" and record
        return wait_for(look, "the end of execution " + execution_id)

    def output(self, execution_id, stream="stdout", offset=0, wait_s=0):
        target = "/executions/%s/output?stream=%s&offset=%d&wait_s=%d" % (
            execution_id, stream, offset, wait_s)
        return self.get(target, timeout=DEADLINE_S + wait_s)

    def wait_output(self, execution_id, text):
        """Waits until the execution printed text on stdout."""
        def look():
            return text in self.output(execution_id).body.decode(errors="replace")
        wait_for(look, "output " + repr(text))

    def complete(self, **more):
        return self.post("/session/complete", {"nonce": "n-1"}, **more)


class Executor(Client):
    """A real executor process in a fresh workspace."""

    def __init__(self, address, root, session="s-1", attempt=1, user=0, lock_fd=None, **environment):
        super().__init__(address, 8080, session, attempt, secrets.token_bytes(32))
        self.workspace = os.path.join(root, "workspace")
        self.artifacts = os.path.join(root, "artifacts")
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "SESSION_ID": session,
            "CLEAT_ATTEMPT": str(attempt),
            "CLEAT_OWNER": "test",
            "CLEAT_SECRET": self.secret.hex(),
            "CLEAT_LISTEN": "%s:8080" % address,
            "CLEAT_WORKSPACE": self.workspace,
            "CLEAT_ARTIFACTS": "file://" + self.artifacts,
            "CLEAT_SANDBOX": "auto",
            "CLEAT_NETWORK": "none",
        }
        self.environment.update(environment)
        self.user = user
        self.lock_fd = lock_fd
        self.command = [os.path.join(build_dir(), "cleat-executor")]
        self.log_path = os.path.join(root, "executor.log")
        self.process = None

    @property
    def home(self):
        return os.path.join(self.workspace, "home")

    @property
    def store(self):
        return os.path.join(self.artifacts, self.session)

    @property
    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def _before_exec(self):
        if self.lock_fd is not None:
            os.dup2(self.lock_fd, 3, inheritable=True)
        if self.user:
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self._before_exec,
                pass_fds=() if self.lock_fd is None else (3,))
        return self

    def boot(self):
        """Starts it and waits until it is healthy."""
        self.spawn()
        wait_for(self.is_healthy, "health of the executor")
        return self

    def is_healthy(self):
        assert self.process.poll() is None, self.log
        try:
            return self.raw("GET", "/health", timeout=5).status == 200
        except (ConnectionRefusedError, socket.timeout):
            return False

    def wait_exit(self, deadline_s=DEADLINE_S):
        return self.process.wait(deadline_s)

    def stop(self):
        """Ends it if it still runs. A sanitizer's complaint, a leak too, is a failure."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                status = self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
            assert status in (0, 1), self.log
        if os.path.exists(self.log_path):
            assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log

    def manifest(self):
        with open(os.path.join(self.store, "manifest.json")) as manifest:
            return json.load(manifest)
