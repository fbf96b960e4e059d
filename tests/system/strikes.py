"""Strikes at moments that a seed draws: the very line of cleatd's log, and a little later."""

import collections
import os
import re
import shutil
import sqlite3
import tempfile
import threading

from cleat_harness import Cleatd

WORDS = re.compile(r"(\S+?)=(\S+)")


class Moment:
    """When the `nth` line with these words appears, and `delay_ms` after it; words None: after the
    delay alone. at_start: counted from the start of cleatd, else from when it answers."""

    def __init__(self, words, nth=1, delay_ms=0.0, at_start=False):
        self.words, self.nth, self.delay_ms, self.at_start = words, nth, delay_ms, at_start

    def __repr__(self):
        line = f"line {self.nth} with '{self.words}'" if self.words else "any time"
        return f"{line} + {self.delay_ms:.1f} ms{' of the start' * self.at_start}"


def state(kind, name):
    return f"event={kind}.state .*to={name}( |$)"


STEPS = [f"event=cleanup.step .*step={s} result=ok" for s in ("upload", "deregister", "drain", "stop")]

# What a kill may cut: each state's beginning, each step's end, and a start of cleatd itself.
SETTLED = ([state("attempt", s) for s in ("STARTING", "REGISTERING", "CHECKING", "ROUTING", "STAGING", "LIVE",
                                          "ENDING", "ENDED")]
           + [state("session", s) for s in ("OPENING", "READY", "BUSY", "CLOSING", "CLOSED")]
           + STEPS + ["event=session.new", "event=input.staged", None])
SELDOM = "event=container.adopted"  # a crash fell between a launch and its commit
STARTING = ["event=cleatd.start", SELDOM, state("session", "REROUTING"),
            state("attempt", "ROUTING"), state("session", "READY"), "event=session.new", None]


def draw_moments(rng, count, first=(), restarts=True, without=()):
    """Each kind comes before any comes again, those in `first` before the others; with restarts every
    fourth is in a start of cleatd. without: lines that are never told."""
    settled, starting, drawn = list(first), [state("session", "REROUTING")], []
    for n in range(count):
        at_start = restarts and n % 4 == 3
        kinds, rest = (STARTING, starting) if at_start else ([*first, *SETTLED], settled)
        kinds = [k for k in kinds if k not in without]
        if not rest:
            rest += rng.sample(kinds, len(kinds))
        words = rest.pop()
        delay = rng.choice([0, 0, rng.uniform(0, 3), rng.uniform(0, 40)]) if words else rng.uniform(0, 900)
        nth = 1 if at_start else rng.randrange(1, 5)
        drawn.append(Moment(words, nth, delay, at_start))
    return drawn


class Census:
    """Which session is in which state, as the log says."""

    def __init__(self):
        self.sessions, self.attempts, self.seen = {}, {}, collections.Counter()

    def read(self, line):
        words = dict(WORDS.findall(line))
        event, session = words.get("event"), words.get("session")
        if event == "session.new":
            self.sessions[session] = "QUEUED"
        elif event == "session.state":
            self.sessions[session] = words["to"]
        elif event == "attempt.state":
            self.attempts[session] = words["to"] if words["to"] != "ENDING" else "ENDING:"
        elif event == "cleanup.step" and words["step"] not in self.attempts.get(session, words["step"]):
            self.attempts[session] += f" {words['step']}"

    def count(self):
        """Adds what there is now to what was seen at other strikes."""
        self.seen.update(self.sessions.values())
        self.seen.update(f"{self.sessions[session]} {attempt}" for session, attempt in self.attempts.items()
                         if self.sessions.get(session) in ("OPENING", "CLOSING"))


class Watched(Cleatd):
    """A cleatd whose log passes through a thread that sees each line when it is written."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.census, self.moment, self.action, self.struck = Census(), None, None, threading.Event()
        self.left, self.lock = 0, threading.Lock()

    def _open_log(self):
        reader, writer = os.pipe()
        threading.Thread(target=self._copy, args=(reader,), daemon=True).start()
        return os.fdopen(writer, "wb")

    def _copy(self, reader):
        with os.fdopen(reader, "rb") as lines, open(self.log_path, "ab", buffering=0) as log:
            for line in lines:
                log.write(line)
                self.see(line.decode("utf-8", "replace"))

    def see(self, line):
        """Also for what others tell of: it returns when the strike is over, if it is the line for it."""
        with self.lock:
            self.census.read(line)
            moment = self.moment
            if not moment or not moment.words or not re.search(moment.words, line):
                return
            self.left -= 1
            if self.left:
                return
            self.moment = None
        self._strike_after(moment.delay_ms, line)

    def _strike_after(self, delay_ms, line=""):
        if delay_ms:
            threading.Event().wait(delay_ms / 1000)
        self.strike(line)

    def strike(self, line=""):
        with self.lock:
            self.moment = None
            self.census.count()
        self.action(line)
        self.struck.set()

    def aim(self, moment, action):
        """action(line) at that moment; struck is set when it was."""
        with self.lock:
            self.struck.clear()
            self.left, self.action, self.moment = moment.nth, action, moment
        if not moment.words:
            threading.Thread(target=self._strike_after, args=(moment.delay_ms,), daemon=True).start()

    def strike_within(self, seconds):
        """Waits for the moment; False: it did not come, and the strike was made all the same."""
        if self.struck.wait(seconds):
            return True
        with self.lock:
            waiting, self.moment = self.moment, None
        if waiting and waiting.words:
            self.strike()
            return False
        assert self.struck.wait(30), "a strike that does not end"
        return True

    def kill_at(self, moment, patience=5):
        """Kills it at that moment, or when that has not come in time, and then says so: False."""
        if moment.at_start:
            self.spawn_and_aim(moment)
        else:
            self.start()
            self.aim(moment, lambda _: self.process.kill())
        hit = self.strike_within(patience)
        self.process.wait()
        self.check_journal()
        return hit

    def spawn_and_aim(self, moment):
        """The line may come before spawn has told whom to kill."""
        spawned = threading.Event()
        self.aim(moment, lambda _: spawned.wait(30) and self.process.kill())
        self.spawn()
        spawned.set()

    def check_journal(self):
        """What a crash left on disk is sound; a copy is read, the next start finds it untouched."""
        with tempfile.TemporaryDirectory(dir=self.root) as copy:
            for path in (self.root / "state").glob("journal.db*"):
                if not path.name.endswith("-shm"):
                    shutil.copy(path, copy)
            connection = sqlite3.connect(f"{copy}/journal.db")
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()


def kill_again_and_again(cleatd, crowd, moments):
    """Then its clients end what they are at. How many of the moments came."""
    missed = repeat(crowd, moments, cleatd.kill_at)
    cleatd.start()
    crowd.go_home()
    return count_hits(moments, missed)


def strike_again_and_again(cleatd, crowd, moments, hit, heal=lambda: None, patience=5):
    """hit(line) at each moment of a cleatd that runs on; heal() after it."""
    def once(moment):
        cleatd.aim(moment, hit)
        came = cleatd.strike_within(patience)
        heal()
        return came
    missed = repeat(crowd, moments, once)
    crowd.go_home()
    return count_hits(moments, missed)


def repeat(crowd, moments, strike):
    """The moments that did not come."""
    missed, number, moment = [], 0, None
    try:
        for number, moment in enumerate(moments, 1):
            if not strike(moment):
                missed.append(moment)
            crowd.check()
    except Exception as e:
        crowd.abandon()
        raise AssertionError(f"seed {crowd.seed}, strike {number} at {moment}: {e}") from e
    return missed


def count_hits(moments, missed):
    """Strikes at any time are few, or a line that reads otherwise now has made them so."""
    told = f"{len(missed)} of {len(moments)} moments did not come: {missed}"
    if missed:
        print(told)
    assert len(missed) <= len(moments) // 2, told
    for words in {m.words for m in moments}:
        drawn, lost = (sum(m.words == words for m in some) for some in (moments, missed))
        assert words == SELDOM or lost < max(3, drawn), f"'{words}' never came; {told}"
    return len(moments) - len(missed)
