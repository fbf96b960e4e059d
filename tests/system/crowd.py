"""Clients that keep sessions in every state, and hold cleatd to what it promised each of them.

A client opens a session, uses it and closes it, and again, until it is told to leave. Whatever cuts
its connection, it repeats the request with the same request id or execution id, as the API says.
"""

import collections
import http.client
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cleat_harness import ApiError, poll

PATIENCE_S = 150  # of a client whose cleatd is killed again and again on a busy machine
NOBODY = (OSError, http.client.HTTPException)


class Ended(Exception):
    """The session is over, with an error that this test takes for right."""


def persist(call, timeout=PATIENCE_S):
    """Its answer, however often the connection breaks before."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return call()
        except NOBODY as e:
            assert time.monotonic() < deadline, f"no answer within {timeout} s: {e!r}"
            threading.Event().wait(0.02)


class Life:
    """One session as its client knows it."""

    def __init__(self, request, fields):
        self.request, self.fields = request, {**fields, "request_id": request}
        self.session, self.container, self.closed, self.error = None, None, False, None
        self.asked, self.answered = [], []  # execution ids
        self.cut = None  # the execution that its own closing met


class Crowd:
    """shared: a directory that user code of every session can write to, or None. world: containers(session) → what was ever started for it, alive(container); forgive: error
    codes that may end a session, which is then said to be closed. replaced: a container that dies ends
    the execution that it was at, no session."""

    def __init__(self, api, world, shared, seed, clients=20, classes=("default",), input=None, forgive=(),
                 replaced=False):
        self.api, self.world, self.shared, self.seed = api, world, shared, seed
        self.classes, self.input, self.replaced = list(classes), input, replaced
        self.forgive = {*forgive, "session_closed", "request_id_closed"} if forgive else set()
        self.lives, self.retried, self.leave = [], collections.Counter(), threading.Event()
        self.pool = ThreadPoolExecutor(clients)
        self.clients = [self.pool.submit(self._client, n) for n in range(clients)]

    def check(self):
        """Raises what a client found."""
        for client in self.clients:
            if client.done():
                client.result()

    def go_home(self):
        """Every client ends the life that it is at."""
        self.leave.set()
        self.pool.shutdown()
        self.check()

    def abandon(self):
        self.leave.set()

    # ---- a client

    def _client(self, n):
        life = 0
        while not self.leave.is_set():
            rng = random.Random(f"{self.seed}.{n}.{life}")
            self._pause(rng, 0.5)
            one = Life(f"r-{self.seed}-{n}-{life}", self._fields(rng, n))
            self.lives.append(one)
            if self.shared:  # each container's user code has a uid of its own
                self.ledger(one).touch()
                self.ledger(one).chmod(0o666)
            try:
                self._live(one, rng)
            except Ended:
                self._gone(one)
            except Exception as e:
                raise AssertionError(f"client {n}, life {life}, session {one.session}: {e}") from e
            life += 1

    def _pause(self, rng, most):
        threading.Event().wait(rng.uniform(0, most))

    def _fields(self, rng, n):
        fields = {"class": rng.choice(self.classes), "user": f"u{n}", "env": {"WHO": f"client-{n}"}}
        if self.input and rng.random() < 0.3:
            fields["input"] = self.input
        return fields

    def _live(self, life, rng):
        life.session = self._create(life)["session_id"]
        if rng.random() < 0.15:  # closed wherever it is
            self._pause(rng, 0.8)
            return self._close(life)
        self._ready(life)
        assert self._create(life)["session_id"] == life.session, "one request id, one session"
        for n in range(rng.randrange(4)):
            self._pause(rng, 0.4)
            self._execute(life, n, rng.uniform(0, 0.4))
            if not self.replaced:
                self._same_container(life)
        self._pause(rng, 0.8)
        if rng.random() < 0.2:
            self._close_while_busy(life)
        else:
            self._close(life)

    def _typed(self, life, call):
        """call(), which may end the session with an error that is forgiven."""
        try:
            return persist(call)
        except ApiError as e:
            if e.code in self.forgive:
                life.error = e
                raise Ended from e
            raise

    def _create(self, life):
        return self._typed(life, lambda: self.api.create(**life.fields))

    def _ready(self, life):
        def ready():
            try:
                return self.api.wait(life.session, timeout_s=30)
            except ApiError as e:
                if e.code != "wait_timeout":
                    raise
                return None
        document = poll(lambda: self._typed(life, ready), PATIENCE_S, f"{life.session} to be ready")
        life.container = self.world.containers(life.session)[-1]
        assert document["state"] in ("READY", "BUSY", "REROUTING"), document

    def _same_container(self, life):
        """Ready is ready with the container that it had, whatever became of cleatd."""
        now = self.world.containers(life.session)[-1]
        assert now == life.container, f"{life.container} became {now}"
        assert self.world.alive(now) or self.forgive, f"{now} is not alive"

    def ledger(self, life):
        """Outside of any container: what user code wrote."""
        return self.shared / f"ran-{life.request}" if self.shared else "/dev/null"

    def ran(self, life):
        return self.ledger(life).read_text().split() if self.shared else []

    def _code(self, life, execution, seconds):
        read = "; cat input/*" if "input" in life.fields else ""
        return (f"BASH:echo {execution} >>artifacts/ran; echo {execution} >>{self.ledger(life)}; "
                f"sleep {seconds:.3f}; echo {execution} $WHO{read}")

    def _execute(self, life, n, seconds):
        execution = f"{life.request}-x{n}"
        life.asked.append(execution)
        try:
            record = self._typed(life, lambda: self._record(life, execution, seconds))
        except ApiError as e:
            assert self.replaced and (e.code, e.error["ran"]) == ("container_died", "unknown"), e
            return
        told = f"{execution} {life.fields['env']['WHO']}\n" + ("of the input\n" if "input" in life.fields else "")
        assert record["status"] == "completed" and record["stdout"] == told, record
        life.answered.append(execution)

    def _record(self, life, execution, seconds):
        """Of an execution that is asked for again where its answer is lost or it may not have run."""
        code = self._code(life, execution, seconds)

        def once():
            try:
                return self.api.execute(life.session, code, execution_id=execution, timeout_s=60)
            except NOBODY:
                self.retried["connection"] += 1
            except ApiError as e:
                if not e.error["retryable"]:
                    raise
                self.retried[f"{e.code}, ran {e.error['ran']}"] += 1
        return poll(once, PATIENCE_S, f"the record of {execution}")

    def _close(self, life):
        over = self._typed(life, lambda: self._closed(life))
        assert over["state"] in ("CLOSED", "FAILED"), over
        life.closed = True
        self._refused(life)

    def _closed(self, life):
        self.api.close(life.session, wait=False)
        return self._over(life)

    def _over(self, life):
        """Its document, when it is over; connections may break here as well."""
        def over():
            s = persist(lambda: self.api.session(life.session))
            return s["closed_ms"] is not None and s
        return poll(over, PATIENCE_S, f"the end of {life.session}")

    def _close_while_busy(self, life):
        """The execution gets its record or says why not; the files of both are whole."""
        life.cut = f"{life.request}-cut"
        with ThreadPoolExecutor(1) as second:
            busy = second.submit(self._record, life, life.cut, 0.3)
            poll(lambda: busy.done() or life.cut in self.ran(life), PATIENCE_S, "the execution")
            self._close(life)
            try:
                busy.result()
            except ApiError as e:
                died = {"container_died"} if self.replaced else self.forgive
                assert e.code in {"cancelled", "session_closed", *died}, e

    def _refused(self, life):
        try:
            persist(lambda: self.api.create(**life.fields))
        except ApiError as e:
            assert (e.status, e.code) == (410, "request_id_closed"), e
        else:
            raise AssertionError(f"{life.request} was opened again")

    def _gone(self, life):
        """It failed: then its session is over, for a reason that is forgiven."""
        over = self._over(life)
        assert over["stop_reason"] in self.forgive, over
        life.closed = True
        self._refused(life)

    # ---- at the end

    def verify(self, artifact, victims=()):
        """artifact(session, path) → bytes or None: what the store has. victims: sessions whose container
        was killed; nobody else's may have failed."""
        lives = [l for l in self.lives if l.session]
        assert len({l.session for l in lives}) == len(lives)
        for life in lives:
            self._refused(life)
            assert not life.error or life.session in victims, f"{life.session}: {life.error}"
            if self.shared:
                self._verify_ran(life, self.ran(life))
            if life.session not in victims:
                kept = (artifact(life.session, "artifacts/ran") or b"").decode().split()
                assert set(self.ran(life) or life.answered) <= set(kept), f"{life.session}: {kept} arrived"
                self._verify_ran(life, kept)
                assert not kept or artifact(life.session, "manifest.json"), f"{life.session} has no manifest"
        return lives

    def _verify_ran(self, life, ran):
        assert len(ran) == len(set(ran)), f"{life.session}: something ran twice: {ran}"
        assert set(life.answered) <= set(ran) <= {*life.asked, life.cut}, f"{life.session}: {life.answered}, {ran} ran"
