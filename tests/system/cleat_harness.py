"""Runs the real cleatd, executors and HAProxy on loopback, and reads what they did.

Containers are started through a small script that notes session, attempt, pid and address before
it becomes the executor: that book is the tests' own, so that "one container per session" and
"nothing is left" are never asked of cleatd itself.
"""

import base64
import collections
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import select
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = pathlib.Path(os.environ.get("CLEAT_SRCDIR", HERE.parent.parent)).resolve()
BUILD = pathlib.Path(os.environ.get("CLEAT_BUILDDIR", os.getcwd())).resolve()
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
HAPROXY_HOST = "127.0.0.24"

SANITIZER_MARKS = ("AddressSanitizer", "LeakSanitizer", "runtime error:")


# ---- waiting


class TimedOut(AssertionError):
    pass


def poll(check, timeout=20, what="a condition"):
    """The first true value of check(); no sleep stands for an event, only the deadline is fixed."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimedOut(f"{what} did not come about within {timeout} s (last: {value!r})")
        select.select([], [], [], 0.02)


def in_parallel(function, items, workers=64):
    """function over all items at once, answers in order; the first exception is raised."""
    items = list(items)
    with ThreadPoolExecutor(max_workers=min(workers, len(items)) or 1) as pool:
        return list(pool.map(function, items))


def scratch(name):
    """A directory that other uids may pass through: user code runs under one of its own."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"cleat-{name[:24]}-"))
    path.chmod(0o711)
    return path


def free_port(host):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host, 0))
        return s.getsockname()[1]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


_slots = []


def address_range():
    """A /20 of 127.66.0.0/16 that no other test run on this machine uses."""
    for slot in range(16):
        f = open(os.path.join(tempfile.gettempdir(), f"cleat-tests-127.66.{slot * 16}.lock"), "w")
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            f.close()
            continue
        _slots.append(f)
        return f, f"127.66.{slot * 16}.0/20"
    raise AssertionError("all sixteen address ranges are in use: is another test run stuck?")


# ---- the API over its Unix socket


class ApiError(Exception):
    def __init__(self, status, document):
        super().__init__(f"{status}: {document}")
        self.status = status
        self.document = document
        self.error = document.get("error", {}) if isinstance(document, dict) else {}
        self.code = self.error.get("code")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Api:
    def __init__(self, path):
        self.path = str(path)

    def connection(self, timeout):
        return UnixConnection(self.path, timeout)

    def raw(self, method, target, body=None, headers=None, timeout=120):
        connection = self.connection(timeout)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text) if text else None
        except ValueError:
            return answer.status, text

    def call(self, method, target, body=None, timeout=120):
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if data else {}
        status, document = self.raw(method, target, data, headers, timeout)
        if status >= 400:
            raise ApiError(status, document)
        return document

    def send_bytes(self, data, timeout=15):
        """What cleatd answers to these very bytes, until it has nothing more to say."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(self.path)
            answer = b""
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while True:
                    piece = s.recv(65536)
                    if not piece:
                        break
                    answer += piece
            return answer

    def create(self, wait=False, timeout_s=60, **fields):
        fields.setdefault("request_id", f"r-{uuid.uuid4()}")
        query = f"?wait=ready&timeout_s={timeout_s}" if wait else ""
        return self.call("POST", f"/v1/sessions{query}", fields, timeout_s + 30)

    def ready(self, **fields):
        return self.create(wait=True, **fields)

    def session(self, session):
        return self.call("GET", f"/v1/sessions/{session}")

    def sessions(self):
        return self.call("GET", "/v1/sessions")["sessions"]

    def wait(self, session, state="ready", timeout_s=60):
        return self.call("GET", f"/v1/sessions/{session}?wait={state}&timeout_s={timeout_s}",
                         timeout=timeout_s + 30)

    def execute(self, session, code=None, **fields):
        if code is not None:
            fields["code"] = code
        return self.call("POST", f"/v1/sessions/{session}/execute", fields)

    def close(self, session, wait=True, timeout_s=60):
        query = f"?wait=closed&timeout_s={timeout_s}" if wait else ""
        return self.call("DELETE", f"/v1/sessions/{session}{query}", timeout=timeout_s + 30)

    # jobs

    def submit(self, *argv, **fields):
        fields.setdefault("request_id", f"r-{uuid.uuid4()}")
        if argv:
            fields["argv"] = [str(a) for a in argv]
        return self.call("POST", "/v1/jobs", fields)

    def job(self, job):
        return self.call("GET", f"/v1/jobs/{job}")

    def jobs(self, query=""):
        return self.call("GET", f"/v1/jobs{query}")["jobs"]

    def ended(self, job, timeout_s=60):
        return self.call("GET", f"/v1/jobs/{job}?wait=ended&timeout_s={timeout_s}", timeout=timeout_s + 30)

    def cancel(self, job):
        return self.call("DELETE", f"/v1/jobs/{job}")

    def logs(self, job, after=0, query=""):
        return self.call("GET", f"/v1/jobs/{job}/logs?after={after}{query}")

    def output(self, job, stream=None):
        """All bytes of its streams, each checked to begin where the one before ended."""
        after, data = 0, b""
        while True:
            answer = self.logs(job, after, f"&stream={stream}" if stream else "")
            for chunk in answer["chunks"]:
                piece = (chunk["data"].encode() if "data" in chunk
                         else base64.b64decode(chunk["data_base64"], validate=True))
                assert chunk["offset"] == after or (stream and chunk["offset"] > after), (chunk, after)
                after = chunk["offset"] + len(piece)
                data += piece
            assert stream or answer["next"] == after, answer
            if answer["ended"] or answer["next"] == after and not answer["chunks"]:
                return data
            after = answer["next"]

    def close_all(self):
        open_ones = [s["session_id"] for s in self.sessions() if s["state"] != "CLOSED"
                     and s["closed_ms"] is None]
        in_parallel(self.close, open_ones)

    def route(self, session):
        return self.call("GET", f"/v1/sessions/{session}/route")

    def status(self):
        return self.call("GET", "/v1/status")

    def isolation(self):
        return self.call("GET", "/v1/isolation")


# ---- cleatd

Launch = collections.namedtuple("Launch", "session attempt pid address")


class Cleatd:
    """One cleatd with its state directory, its book of containers and its log."""

    everyone = []

    def __init__(self, root, classes=None, program=None, executor=None, asan="",
                 environment=None, **options):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.slot, self.range = address_range()
        self.program = pathlib.Path(program or BUILD / "cleatd")
        self.executor = pathlib.Path(executor or BUILD / "cleat-executor")
        self.socket = self.root / "socket"
        self.log_path = self.root / "cleatd.log"
        self.book = self.root / "launches"
        self.artifacts = self.root / "artifacts"
        self.artifacts.mkdir(exist_ok=True)
        self.config_path = self.root / "cleatd.conf"
        self.process = None
        self.environment = environment or {}
        self.asan = f"detect_leaks=1{asan and ':' + asan}"
        self.api = Api(self.socket)
        self.options = {"state_dir": self.root / "state", "socket": self.socket, "log": "stderr",
                        "log_level": "debug", "executor": self.executor, **options}
        self.classes = {name: self._class(values) for name, values in (classes or {"default": {}}).items()}
        self.config_path.write_text(self._config())
        Cleatd.everyone.append(self)

    def _class(self, values):
        chosen = {
            "runtime": "process", "balancer": "direct", "address_range": self.range,
            "sandbox": "none", "network": "host", "artifacts": f"file://{self.artifacts}",
            "stop_grace_s": 5, "check_interval_ms": 100, "check_fall": 2, "check_rise": 1,
            "create_timeout_s": 60, **values,
        }
        if chosen["address_range"].startswith("/"):  # a narrower one of our own
            chosen["address_range"] = self.range.split("/")[0] + chosen["address_range"]
        if chosen["runtime"] == "process":
            chosen["command"] = self.container_script(chosen.get("command"))
        return chosen

    def container_script(self, command=None):
        """A program that writes the container into the book and becomes `command` (a list)."""
        command = command or [self.executor]
        path = self.root / f"container-{len(list(self.root.glob('container-?')))}"
        logs = shlex.quote(str(self.root / "container-log"))
        path.write_text(
            "#!/bin/sh\n"
            "export ASAN_OPTIONS=detect_leaks=0\n"
            f'ln "$CLEAT_WORKSPACE/executor.log" {logs}."$SESSION_ID.$CLEAT_ATTEMPT" 2>/dev/null\n'
            f'echo "$SESSION_ID $CLEAT_ATTEMPT $$ $CLEAT_LISTEN" >>{shlex.quote(str(self.book))}\n'
            + "exec " + " ".join(c if c == '"$@"' else shlex.quote(str(c)) for c in command) + "\n")
        path.chmod(0o755)
        return path

    def _config(self):
        def value(v):
            if isinstance(v, (list, tuple)):
                return "{" + ", ".join(f'"{x}"' for x in v) + "}"
            return f'"{v}"'

        lines = [f"{k} = {value(v)}" for k, v in self.options.items()]
        for name, options in self.classes.items():
            lines.append(f"class {name} {{")
            lines += [f"    {k} = {value(v)}" for k, v in options.items()]
            lines.append("}")
        return "\n".join(lines) + "\n"

    def start(self):
        self.spawn()
        poll(self._answers, 30, "cleatd's /healthz")
        return self

    def spawn(self):
        with self._open_log() as log:
            self.process = subprocess.Popen(
                [self.program, "--config", self.config_path], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
                env={**os.environ, **self.environment, "ASAN_OPTIONS": self.asan,
                     "UBSAN_OPTIONS": "print_stacktrace=1"})

    def _open_log(self):
        return open(self.log_path, "ab")

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"cleatd ended with {self.process.returncode}:\n{self.log_tail()}")
        try:
            return self.api.raw("GET", "/healthz", timeout=5)[0] == 200
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM: it must end cleanly and leave its containers alone."""
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.check_sanitizers()
        assert code == 0, f"cleatd ended with {code}:\n{self.log_tail()}"

    def stop(self):
        """Closes every session, ends cleatd and proves that nothing of it is left."""
        try:
            if self.process and self.process.poll() is None:
                for l in self.launches():
                    with contextlib.suppress(ProcessLookupError):
                        if alive(l.pid):
                            os.kill(l.pid, signal.SIGCONT)
                self.api.close_all()
                poll(lambda: not self.containers_alive(), 30, "the end of all containers")
                self.terminate()
                left = self.leftovers()
                assert not left, f"still running: {left}"
            else:  # the test ended it, or failed before it could start it again
                self.check_sanitizers()
        finally:
            self.destroy()

    def destroy(self):
        """The floor: whatever a failed test left behind ends here."""
        if self.process and self.process.poll() is None:
            self.kill()
        for pid, _ in self.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.slot.close()

    def forget(self, session):
        """While it is down: its journal loses the rows of a session."""
        journal = sqlite3.connect(self.root / "state" / "journal.db")
        for table in ("session", "attempt"):
            gone = journal.execute(f"DELETE FROM {table} WHERE key LIKE ?", (session + "%",)).rowcount
            assert gone == 1, f"{gone} rows of {session} in {table}"
        journal.commit()
        journal.close()

    def listed(self):
        """All that there is has been listed, late answers of a remote engine included: its journal can speak for
        the sessions that are made from now on."""
        def noted():
            with contextlib.closing(sqlite3.connect(self.root / "state" / "journal.db", timeout=10)) as journal:
                [[row]] = journal.execute("SELECT row FROM meta WHERE key = 'journal'").fetchall()
            return json.loads(row)["unlisted_from"] == 2 ** 63 - 1
        poll(noted, 60, "all that there is to be listed")
        return self

    def closed_orphan(self, session):
        """The session that is made for it, when its end has come."""
        poll(lambda: session in [s["session_id"] for s in self.api.sessions()], 60, "an orphan's session")
        over = self.api.wait(session, "closed")
        assert over["stop_reason"] == "orphan", over
        return over

    # what happened

    def launches(self):
        try:
            lines = self.book.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Launch(f[0], int(f[1] or 0), int(f[2]), f[3]) for f in map(str.split, lines)
                if len(f) == 4]

    def pid_of(self, session):
        return [l.pid for l in self.launches() if l.session == session][-1]

    def containers_alive(self):
        return [l for l in self.launches() if self._is_ours(l.pid)]

    def _is_ours(self, pid):
        """Whether it runs below our directory: its cwd, command or environment names it."""
        if pid == os.getpid() or not alive(pid):
            return None
        root, proc = f"{self.root}/".encode(), pathlib.Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            command = (proc / "cmdline").read_bytes()
            if (root in os.readlink(bytes(proc / "cwd")) + b"/" or root in command
                    or root in (proc / "environ").read_bytes()):
                return command.replace(b"\0", b" ").decode("utf-8", "replace") or "?"
        return None

    def leftovers(self):
        """Processes that run below our directory, whoever started them."""
        found = [(int(e), self._is_ours(int(e))) for e in os.listdir("/proc") if e.isdigit()]
        return [(pid, command) for pid, command in found if command]

    def log_lines(self):
        return self.log_path.read_text(errors="replace").splitlines()

    def log_tail(self, count=40):
        return "\n".join(self.log_lines()[-count:])

    def check_sanitizers(self):
        for path in [self.log_path, *self.root.glob("container-log.*")]:
            lines = path.read_text(errors="replace").splitlines()
            for number, line in enumerate(lines):
                if any(m in line for m in SANITIZER_MARKS):
                    raise AssertionError(f"{path.name}:\n" + "\n".join(lines[number:number + 25]))

    def stop_process(self, session):
        os.kill(self.pid_of(session), signal.SIGSTOP)

    def continue_process(self, session):
        os.kill(self.pid_of(session), signal.SIGCONT)

    def manifest(self, session):
        return json.loads((self.artifacts / session / "manifest.json").read_text())

    def file_of(self, session, path):
        return (self.artifacts / session / path).read_bytes()


# ---- HAProxy

Request = collections.namedtuple("Request", "client at server status method path session cookie given")


class HAProxy:
    """A HAProxy in front of containers, with a frontend log that shows which client connection
    carried which session."""

    COOKIE_RULES = ('    http-response add-header Set-Cookie "AWSALB=%[var(txn.alb)]; Path=/"\n'
                    '    http-response add-header Set-Cookie "AWSALBCORS=%[var(txn.alb)]; Path=/; SameSite=None"')

    everyone = []

    def __init__(self, root, template="alb", balance="roundrobin", frontend_rules="",
                 cookie_rules=None, key="k"):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.socket = self.root / "haproxy.sock"
        self.log_path = self.root / "frontend.log"
        self.port = free_port(HAPROXY_HOST)
        self.url = f"http://{HAPROXY_HOST}:{self.port}"
        self.process = None
        self.config_path = self.root / "haproxy.cfg"
        self.configure(template, balance, frontend_rules, cookie_rules, key)
        HAProxy.everyone.append(self)

    def configure(self, template="alb", balance="roundrobin", frontend_rules="", cookie_rules=None,
                  key="k"):
        text = (HERE / "haproxy" / f"{template}.cfg.in").read_text()
        for name, value in {
            "SOCKET": self.socket, "LISTEN": f"{HAPROXY_HOST}:{self.port}", "BALANCE": balance,
            "FRONTEND_RULES": frontend_rules, "KEY": key,
            "COOKIE_RULES": self.COOKIE_RULES if cookie_rules is None else cookie_rules,
        }.items():
            text = text.replace(f"@{name}@", str(value))
        self.config_path.write_text(text)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["haproxy", "-db", "-f", self.config_path],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        poll(self._answers, 10, "HAProxy's Runtime API")
        return self

    def keep(self):
        """As a service manager does: one that aborts is started again, with no servers. (2.6.12 does so
        once in many hundreds of dynamic servers that come and go: "unaligned tcache chunk detected".)"""
        threading.Thread(target=self._keep, args=(self.process,), daemon=True).start()
        return self

    def _keep(self, process):
        if process.wait() in (-signal.SIGABRT, -signal.SIGSEGV):
            print(f"{self.root} ended by itself: {process.returncode}")
            self.start()
            self.keep()

    def _answers(self):
        assert self.process.poll() is None, self.log_path.read_text()
        with contextlib.suppress(OSError):
            return "Uptime" in self.admin("show info")
        return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def admin(self, command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self.socket))
            s.sendall(command.encode() + b"\n")
            answer = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return answer.decode()
                answer += piece

    def servers(self):
        """name → (address, status) of the backend's servers."""
        rows = [line.split(",") for line in self.admin("show stat cleat 4 -1").splitlines()]
        head = [h.lstrip("# ") for h in rows[0]]
        table = [dict(zip(head, row)) for row in rows[1:] if len(row) > 1]
        return {row["svname"]: (row["addr"], row["status"]) for row in table}

    def requests(self, skip=0):
        """The frontend's log, from line `skip` on."""
        found = []
        for line in self.log_path.read_text(errors="replace").splitlines()[skip:]:
            fields = line[line.find(">") + 1:].split("|")
            if len(fields) == 9 and fields[1].isdigit():
                blank = [None if f == "-" else f for f in fields]
                found.append(Request(blank[0], int(fields[1]), blank[2], int(fields[3]), blank[4],
                                     blank[5], blank[6], blank[7], blank[8]))
        return found

    def mark(self):
        return len(self.log_path.read_text(errors="replace").splitlines())


def haproxy_class(*nodes, **values):
    """Class options that put containers behind these HAProxies."""
    return {
        "balancer": "haproxy", "haproxy_backend": "cleat", "cookies": ["AWSALB*"],
        "haproxy_sockets": [n.socket for n in nodes], "haproxy_urls": [n.url for n in nodes], **values,
    }


def shared_connections(requests):
    """Client connections that carried more than one session, or a session and a probe: what I1
    forbids. A request that is no probe and names no session belongs to somebody else's test."""
    carried = collections.defaultdict(set)
    for r in requests:
        carried[r.client].add(r.session or "probe")
    return {client: who for client, who in carried.items() if len(who) > 1}


# ---- a Runtime API that answers when the test lets it


class Gate:
    """Stands between cleatd and HAProxy's Runtime API; while held, commands wait unanswered."""

    def __init__(self, path, behind):
        self.path, self.behind = str(path), str(behind)
        self.free = threading.Event()
        self.free.set()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.socket = self.path
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self):
        self.free.clear()

    def release(self):
        self.free.set()

    def close(self):
        self.release()
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as upstream:
            with contextlib.suppress(OSError):
                upstream.connect(self.behind)
                back = threading.Thread(target=self._pipe, args=(upstream, client, False), daemon=True)
                back.start()
                self._pipe(client, upstream, True)
                back.join()

    def _pipe(self, source, target, gated):
        with contextlib.suppress(OSError):
            while True:
                piece = source.recv(65536)
                if not piece:
                    break
                if gated:
                    self.free.wait()
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
