"""cleatd is killed at moments that a seed draws, while twenty clients keep sessions in every state.

CLEAT_KILLS=100 kills more often, CLEAT_SEED=N draws other moments. What is true in the end is asked
of /proc, of HAProxy, of the artifacts' directory and of SQLite, never of cleatd itself.
"""

import collections
import os
import random
import sqlite3

from cleat_harness import BUILD, haproxy_class, poll
from crowd import Crowd
from strikes import WORDS, Watched, draw_moments, kill_again_and_again

KILLS = int(os.environ.get("CLEAT_KILLS", "10"))
SEED = int(os.environ.get("CLEAT_SEED", "1"))
STATES = {"QUEUED", "OPENING", "READY", "BUSY", "REROUTING", "CLOSING", "CLOSED"}


class Processes:
    """Containers of runtime process, by the tests' own book and /proc."""

    def __init__(self, cleatd):
        self.cleatd = cleatd

    def containers(self, session):
        return [l for l in self.cleatd.launches() if l.session == session]

    def alive(self, launch):
        return launch in self.cleatd.containers_alive()


def slow_executor(root):
    """Some containers take a moment to come up."""
    script = root / "slow-executor"
    script.write_text("#!/bin/sh\n"
                      '[ "$1" ] || sleep "0.$(( $$ % 4 ))"\n'
                      f'exec "{BUILD}/cleat-executor" "$@"\n')
    script.chmod(0o755)
    return script


def source(root):
    directory = root / "input"
    directory.mkdir()
    (directory / "told").write_text("of the input\n")
    return directory


def artifact_of(cleatd):
    """What has arrived in the store, for Crowd.verify."""
    def read(session, path):
        file = cleatd.artifacts / session / path
        return file.read_bytes() if file.exists() else None
    return read


def assert_nothing_happened_twice(cleatd):
    started = collections.Counter((l.session, l.attempt) for l in cleatd.launches())
    assert max(started.values()) == 1, f"doubled containers: {started}"


def assert_no_complaints(cleatd, victims=()):
    """victims: sessions whose container was killed."""
    assert not [l for l in cleatd.log_lines() if "event=session.stuck" in l]
    lost = [dict(WORDS.findall(l))["session"] for l in cleatd.log_lines() if "event=artifacts.lost" in l]
    assert set(lost) <= set(victims)


def assert_every_state_was_met(cleatd, strikes):
    """The usual ones, when the strikes are too few for all."""
    seen = cleatd.census.seen
    missing = (STATES if strikes >= 8 else {"OPENING", "READY", "CLOSING"}) - set(seen)
    assert not missing, f"never met at a strike: {missing}; met: {dict(sorted(seen.items()))}"


def test_cleatd_is_killed(start):
    haproxy, other = start.haproxy().keep(), start.haproxy("haproxy-2").keep()
    inputs = source(start.root)
    common = {"command": [slow_executor(start.root)], "backoff_base_ms": 50, "input_sources": [f"*=file://{inputs}"]}
    cleatd = start.add(Watched(start.root / "cleatd", max_sessions=14, classes={
        "default": haproxy_class(haproxy, **common),
        "far": haproxy_class(other, direct_path="never", **common),
        "direct": common}))
    crowd = Crowd(cleatd.api, Processes(cleatd), start.shared, SEED, classes=["default", "default", "far", "direct"],
                  input=f"file://{inputs}")
    hits = kill_again_and_again(cleatd, crowd, draw_moments(random.Random(SEED), KILLS))
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    assert haproxy.servers() == {} and other.servers() == {}
    lives = crowd.verify(artifact_of(cleatd))
    assert_nothing_happened_twice(cleatd)
    assert_no_complaints(cleatd)
    print(f"{KILLS} kills (seed {SEED}, {hits} at their moments), {len(lives)} sessions, {sum(len(l.answered) for l in lives)} executions, "
          f"{dict(crowd.retried)} repeated; at the kills: {dict(sorted(cleatd.census.seen.items()))}")
    assert_every_state_was_met(cleatd, KILLS)
    cleatd.terminate()
    assert cleatd.leftovers() == []
    cleatd.check_journal()
    assert list((cleatd.root / "state" / "workspaces").iterdir()) == []


def test_a_confirmation_that_did_not_reach_the_disk(start):
    """The only path to the container leads through the balancer; that its upload is done is known, but
    not yet written down, when cleatd is killed. It is asked again, over the same path."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, direct_path="never", backoff_base_ms=50)})
    api = cleatd.api
    s = api.ready()["session_id"]
    api.execute(s, "BASH:echo kept >artifacts/kept")
    cleatd.stop_process(s)
    api.close(s, wait=False)
    lock = sqlite3.connect(cleatd.root / "state" / "journal.db")
    lock.execute("BEGIN IMMEDIATE")
    cleatd.continue_process(s)
    poll(lambda: [l for l in cleatd.log_lines() if "event=cleanup.step" in l and "step=upload" in l], 30, "the upload")
    poll(lambda: [l for l in cleatd.log_lines() if "event=journal.failing" in l], 30, "a commit that fails")
    assert list(haproxy.servers()) == [f"cleat.{s}.1"], "not deregistered before that is durable"
    cleatd.kill()
    lock.close()
    cleatd.start()
    over = api.wait(s, "closed")
    assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "ok", over
    assert cleatd.file_of(s, "artifacts/kept") == b"kept\n"
