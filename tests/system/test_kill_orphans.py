"""cleatd is killed while it closes what its journal does not know, and while it adopts what a lost
journal no longer tells."""

import os
import random

import pytest

from cleat_harness import haproxy_class, in_parallel, poll
from strikes import STEPS, Moment, Watched, count_hits
from test_kill import artifact_of, assert_no_complaints, assert_nothing_happened_twice

SEED = int(os.environ.get("CLEAT_SEED", "1"))
WORLDS = max(1, int(os.environ.get("CLEAT_KILLS", "5")) // 10)  # with a kill at each of these lines
SEEDS = range(SEED, SEED + WORLDS)
EACH = 2  # sessions that are lost before each kill
REAPING = ["event=orphan.found", "event=orphan.closing", *STEPS, "event=orphan.closed"]
ADOPTING = ["event=session.adopted", "event=attempt.state .*to=REGISTERING", "event=attempt.state .*to=ROUTING",
            "event=attempt.state .*to=LIVE", "event=session.state .*to=READY"]


def world(start, haproxy, sessions):
    cleatd = start.add(Watched(start.root / "cleatd", classes={
        "default": haproxy_class(haproxy, backoff_base_ms=50)}, reap_interval_s=1, reap_grace_s=0))
    cleatd.start()
    def ready(n):
        return cleatd.api.ready(user=f"u{n}", request_id=f"r-{n}")["session_id"]
    ids = [*in_parallel(ready, range(sessions)), ready(sessions)]  # the last one is certainly the newest
    for i in ids:
        cleatd.api.execute(i, f"BASH:echo {i} >artifacts/own")
    return cleatd, ids


def kill_at_each(cleatd, kinds, seed, latest, prepare=lambda: None):
    """At each of the lines in a start of its own, at one of the first `latest` of its kind."""
    rng, missed = random.Random(seed), []
    at = [Moment(words, rng.randrange(latest) + 1, rng.choice([0, rng.uniform(0, 10)]), at_start=True)
          for words in kinds]
    for moment in at:
        prepare()
        try:
            if not cleatd.kill_at(moment):
                missed.append(moment)
        except Exception as e:
            raise AssertionError(f"seed {seed}, killed at {moment}: {e}") from e
    cleatd.start()
    print(f"{len(at)} kills (seed {seed}, {count_hits(at, missed)} at their moments)")


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_while_it_reaps(start, seed):
    """Before each kill the rows of some sessions go, their containers and targets do not; the newest session
    is known, so the journal can speak for those before it."""
    haproxy = start.haproxy().keep()
    cleatd, ids = world(start, haproxy, len(REAPING) * EACH)
    *orphans, known = ids
    cleatd.kill()
    not_yet = list(orphans)

    def lose():
        for _ in range(EACH):
            cleatd.forget(not_yet.pop())
    kill_at_each(cleatd, REAPING, seed, EACH, lose)
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
    cleatd, ids = world(start, haproxy, 8)
    before = cleatd.launches()
    cleatd.kill()
    for path in (cleatd.root / "state").glob("journal.db*"):
        path.unlink()
    kill_at_each(cleatd, ADOPTING, seed, 3)
    for n, i in enumerate(ids):
        poll(lambda i=i: i in {s["session_id"] for s in cleatd.api.sessions()}, 60, f"{i} to be adopted")
        assert cleatd.api.wait(i)["state"] in ("READY", "BUSY")
        assert cleatd.api.execute(i, "BASH:cat artifacts/own")["stdout"] == f"{i}\n"
    assert cleatd.launches() == before
    again = in_parallel(lambda n: cleatd.api.create(user=f"u{n}", request_id=f"r-{n}"), range(len(ids)))
    assert {s["session_id"] for s in again} == set(ids)
    in_parallel(cleatd.api.close, ids)
    read = artifact_of(cleatd)
    for i in ids:
        assert read(i, "artifacts/own") == f"{i}\n".encode(), i
    assert haproxy.servers() == {} and not cleatd.containers_alive()
    assert_no_complaints(cleatd)
