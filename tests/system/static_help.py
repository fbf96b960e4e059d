"""Static hosts for tests: real executors that are leased, and what a coordinator says to them."""

import hashlib
import hmac
import http.client
import http.server
import json
import os
import secrets
import socket
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from executor_client import Client, Executor, wait_for

UIDS = 64  # of this run alone: a host ends whatever carries its user id
UID_BASE = 400000 + os.getpid() % 20000 * UIDS
_uids = iter(range(UID_BASE, UID_BASE + UIDS))


def own_uid():
    return next(_uids)


def seal(key, message):
    cipher = AESGCM(hmac.new(key, b"credentials", hashlib.sha256).digest())
    nonce = secrets.token_bytes(12)
    return (nonce + cipher.encrypt(nonce, json.dumps(message).encode(), None)).hex()


def unseal(key, text):
    cipher = AESGCM(hmac.new(key, b"credentials", hashlib.sha256).digest())
    data = bytes.fromhex(text)
    return json.loads(cipher.decrypt(data[:12], data[12:], None))


class Lease(Client):
    """The session that a host was leased to."""

    def __init__(self, host, session, attempt, secret):
        super().__init__(host.address, host.port, session, attempt, secret)
        self.key = f"test.{session}.{attempt}"


class StaticHost(Executor):
    """A real executor that is leased. Its claim key is that of the hosts of its test."""

    def __init__(self, address, root, claim_key=None, sandbox="none", uid=None, **environment):
        super().__init__(address, root, **environment)
        self.claim_key = claim_key or secrets.token_bytes(32)
        self.key_file = os.path.join(root, "lease.key")
        with open(self.key_file, "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(self.claim_key.hex() + "\n")
        self.uid = uid if uid is not None else own_uid()
        for name in "SESSION_ID", "CLEAT_ATTEMPT", "CLEAT_OWNER", "CLEAT_SECRET", "CLEAT_ARTIFACTS":
            del self.environment[name]
        self.environment.update(CLEAT_LEASE_KEY_FILE=self.key_file, CLEAT_SANDBOX=sandbox,
                                CLEAT_SANDBOX_UID=str(self.uid))
        self.environment.update(environment)

    @property
    def home(self):
        return os.path.join(self.workspace, "lease", "home")

    @property
    def salvage(self):
        try:
            return sorted(os.listdir(os.path.join(self.workspace, "salvage")))
        except FileNotFoundError:
            return []

    def send_sealed(self, path, text):
        return self.raw("POST", path, json.dumps({"sealed": text}).encode(),
                        {"Content-Type": "application/json"})

    def ask(self, path, sealed_under=None, **fields):
        """The host's answer to a sealed message; checks that it is one."""
        nonce = secrets.token_hex(16)
        answer = self.send_sealed(path, seal(sealed_under or self.claim_key, {"path": path, "nonce": nonce, **fields}))
        assert answer.status == 200, (answer.status, answer.body)
        message = unseal(self.claim_key, answer.json["sealed"])
        assert message["answers"] == nonce
        return message

    def state(self):
        return self.ask("/lease/state")

    def terms(self, session="s-1", attempt=1, secret=None, challenge=None, **settings):
        store = {"CLEAT_ARTIFACTS": "file://" + self.artifacts, "CLEAT_NETWORK": "none"}
        return {"challenge": challenge or self.state()["challenge"], "key": f"test.{session}.{attempt}",
                "session": session, "attempt": attempt, "owner": "test", "label": "1abc",
                "secret": (secret or secrets.token_bytes(32)).hex(), "settings": {**store, **settings}}

    def lease(self, session="s-1", attempt=1, **settings):
        secret = secrets.token_bytes(32)
        answer = self.ask("/lease", **self.terms(session, attempt, secret, **settings))
        assert answer["state"] == "leased" and answer["key"] == f"test.{session}.{attempt}", answer
        return Lease(self, session, attempt, secret)

    def release(self, lease, keep=False):
        """Until the host says that it is free."""
        def ask():
            try:
                return self.ask("/release", key=lease.key, keep=keep)["state"] == "free"
            except (ConnectionError, socket.timeout, http.client.HTTPException):
                return False
        wait_for(ask, "release of the host")

    def wait_free(self):
        def ask():
            try:
                return self.state()["state"] == "free"
            except (ConnectionError, socket.timeout, http.client.HTTPException):
                return False
        wait_for(ask, "a free host")


class Liar:
    """Something else where a host should be: it keeps all that it is sent, and answers lie(body)."""

    def __init__(self, address, lie, port=8080):
        self.address, self.port, self.heard = address, port, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append((self.path, str(self.headers), body))
                answer = lie(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self):
                outer.heard.append((self.path, str(self.headers), b""))
                self.send_error(404)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
