"""cleatd is killed while it closes what its journal does not know, and while it adopts what a lost
journal no longer tells."""

import os
import random
import sqlite3

import pytest

from cleat_harness import haproxy_class, in_parallel, poll
from strikes import STEPS, Moment, Watched
from test_kill import artifact_of, assert_no_complaints, assert_nothing_happened_twice

KILLS = 5  # of one world; more kills are more worlds
SEED = int(os.environ.get("CLEAT_SEED", "1"))
SEEDS = range(SEED, SEED + max(1, int(os.environ.get("CLEAT_KILLS", "5")) // (2 * KILLS)))
SESSIONS = 8
REAPING = ["event=orphan.found", "event=orphan.closing", *STEPS, "event=orphan.closed"]
ADOPTING = ["event=session.adopted", "event=attempt.state .*to=REGISTERING", "event=attempt.state .*to=ROUTING",
            "event=attempt.state .*to=LIVE", "event=session.state .*to=READY"]


def moments(kinds, seed):
    rng = random.Random(seed)
    for n in range(KILLS):
        yield Moment(kinds[n % len(kinds)], rng.randrange(1, 4), rng.choice([0, rng.uniform(0, 10)]), at_start=True)


def world(start, haproxy):
    cleatd = start.add(Watched(start.root / "cleatd", classes={
        "default": haproxy_class(haproxy, backoff_base_ms=50)}, reap_interval_s=1, reap_grace_s=0))
    cleatd.start()
    def ready(n):
        return cleatd.api.ready(user=f"u{n}", request_id=f"r-{n}")["session_id"]
    ids = [*in_parallel(ready, range(SESSIONS)), ready(SESSIONS)]  # the last one is certainly the newest
    for i in ids:
        cleatd.api.execute(i, f"BASH:echo {i} >artifacts/own")
    return cleatd, ids


def kill_at_each(cleatd, kinds, seed):
    for moment in moments(kinds, seed):
        try:
            cleatd.kill_at(moment)
        except Exception as e:
            raise AssertionError(f"seed {seed}, killed at {moment}: {e}") from e
    cleatd.start()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_while_it_reaps(start, seed):
    """Rows are gone, their containers and targets are not; the newest session is known, so the journal
    can speak for those before it."""
    haproxy = start.haproxy().keep()
    cleatd, ids = world(start, haproxy)
    *orphans, known = ids
    cleatd.kill()
    journal = sqlite3.connect(cleatd.root / "state" / "journal.db")
    for table in ("session", "attempt"):
        journal.execute(f"DELETE FROM {table} WHERE key NOT LIKE ?", (f"{known}%",))
    journal.commit()
    journal.close()
    kill_at_each(cleatd, REAPING, seed)
    poll(lambda: {l.session for l in cleatd.containers_alive()} == {known}, 60, "the end of the orphans")
    poll(lambda: list(haproxy.servers()) == [f"cleat.{known}.1"], 60, "the end of their targets")
    read = artifact_of(cleatd)
    for i in orphans:
        assert read(i, "artifacts/own") == f"{i}\n".encode() and read(i, "manifest.json"), i
    assert cleatd.api.execute(known, "BASH:cat artifacts/own")["stdout"] == f"{known}\n"
    assert_nothing_happened_twice(cleatd)
    assert_no_complaints(cleatd)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_while_it_adopts(start, seed):
    """The journal is lost; its sessions are ready again with the containers that they had."""
    haproxy = start.haproxy().keep()
    cleatd, ids = world(start, haproxy)
    before = cleatd.launches()
    cleatd.kill()
    for path in (cleatd.root / "state").glob("journal.db*"):
        path.unlink()
    kill_at_each(cleatd, ADOPTING, seed)
    for n, i in enumerate(ids):
        poll(lambda i=i: i in {s["session_id"] for s in cleatd.api.sessions()}, 60, f"{i} to be adopted")
        assert cleatd.api.wait(i)["state"] in ("READY", "BUSY")
        assert cleatd.api.execute(i, "BASH:cat artifacts/own")["stdout"] == f"{i}\n"
    assert cleatd.launches() == before
    again = in_parallel(lambda n: cleatd.api.create(user=f"u{n}", request_id=f"r-{n}"), range(SESSIONS + 1))
    assert {s["session_id"] for s in again} == set(ids)
    in_parallel(cleatd.api.close, ids)
    read = artifact_of(cleatd)
    for i in ids:
        assert read(i, "artifacts/own") == f"{i}\n".encode(), i
    assert haproxy.servers() == {} and not cleatd.containers_alive()
    assert_no_complaints(cleatd)
