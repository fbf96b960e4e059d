"""cleatd is killed at moments that a seed draws, while twenty clients keep sessions in every state.

CLEAT_KILLS=100 kills more often, CLEAT_SEED=N draws other moments. What is true in the end is asked
of /proc, of HAProxy, of the artifacts' directory and of SQLite, never of cleatd itself.
"""

import collections
import os
import random

from cleat_harness import BUILD, haproxy_class, poll
from crowd import Crowd
from strikes import Watched, draw_moments

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


def kill_again_and_again(cleatd, crowd, moments):
    """How many of the moments came."""
    hits = 0
    for number, moment in enumerate(moments, 1):
        try:
            hits += cleatd.kill_at(moment)
            crowd.check()
        except Exception as e:
            raise AssertionError(f"seed {SEED}, kill {number} at {moment}: {e}") from e
    cleatd.start()
    crowd.go_home()
    return hits


def assert_nothing_happened_twice(cleatd):
    started = collections.Counter((l.session, l.attempt) for l in cleatd.launches())
    assert max(started.values()) == 1, f"doubled containers: {started}"
    assert not [l for l in cleatd.log_lines() if "event=artifacts.lost" in l or "event=session.stuck" in l]


def test_cleatd_is_killed(start):
    haproxy, other = start.haproxy(), start.haproxy("haproxy-2")
    inputs = source(start.root)
    common = {"command": [slow_executor(start.root)], "backoff_base_ms": 50, "input_sources": [f"*=file://{inputs}"]}
    cleatd = start.add(Watched(start.root / "cleatd", max_sessions=14, classes={
        "default": haproxy_class(haproxy, **common),
        "far": haproxy_class(other, direct_path="never", **common),
        "direct": common}))
    crowd = Crowd(cleatd.api, Processes(cleatd), start.shared, SEED, classes=["default", "default", "far", "direct"],
                  input=f"file://{inputs}")
    try:
        hits = kill_again_and_again(cleatd, crowd, draw_moments(random.Random(SEED), KILLS))
    finally:
        crowd.abandon()
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    assert haproxy.servers() == {} and other.servers() == {}
    lives = crowd.verify(artifact_of(cleatd))
    assert_nothing_happened_twice(cleatd)
    seen = cleatd.census.seen
    print(f"{KILLS} kills (seed {SEED}, {hits} at their moments), {len(lives)} sessions, {sum(len(l.answered) for l in lives)} executions, "
          f"{dict(crowd.retried)} repeated; at the kills: {dict(sorted(seen.items()))}")
    assert STATES <= set(seen), f"never met at a kill: {STATES - set(seen)}"
    cleatd.terminate()
    assert cleatd.leftovers() == []
    cleatd.check_journal()
    assert list((cleatd.root / "state" / "workspaces").iterdir()) == []
