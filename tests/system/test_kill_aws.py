"""cleatd is killed at moments that a seed draws, while its clients' sessions run on ECS behind a load
balancer. What is true in the end is the stand-in's word: its tasks, its targets, its objects."""

import collections
import os
import random

from aws_harness import BUCKET, account
from crowd import Crowd
from strikes import Watched, draw_moments, kill_again_and_again
from test_kill import assert_every_state_was_met, assert_no_complaints

KILLS = int(os.environ.get("CLEAT_KILLS", "10"))
SEED = int(os.environ.get("CLEAT_SEED", "1"))
CALLS = ["call=PutObject", "call=DeregisterTargets", "call=StopTask", "call=RegisterTargets", "call=RunTask"]


class Tasks:
    """Containers as the stand-in knows them."""

    def __init__(self, aws):
        self.aws = aws

    def containers(self, session):
        return self.aws.ecs.of_session(session)

    def alive(self, task):
        return task.status == "RUNNING" and task.process.poll() is None


def artifact_of(aws):
    def read(session, path):
        key = f"artifacts/{session}/{path}"
        return aws.bucket.read(key) if key in aws.bucket.keys(key) else None
    return read


def assert_one_task_per_attempt(aws):
    started = collections.Counter((t.environment_of(), t.environment_of("CLEAT_ATTEMPT"))
                                  for t in aws.ecs.tasks.values())
    assert max(started.values()) == 1, started
    taken = [c.params["clientToken"] for c in aws.books.of("RunTask") if c.outcome == "ok"]
    assert len(set(taken)) == len(aws.ecs.tasks)


def test_cleatd_is_killed_on_aws(start):
    aws = account(start, groups=2)
    aws.bucket.put("inputs/told", b"of the input\n")
    options = {"backoff_base_ms": 50, "input_sources": [f"*=s3://{BUCKET}/inputs"]}
    cleatd = start.add(Watched(start.root / "cleatd", max_sessions=14, environment=aws.environment(), classes={
        "default": aws.class_options(**options)}))
    aws.books.watch = cleatd.see
    moments = draw_moments(random.Random(SEED), KILLS, first=CALLS)
    crowd = Crowd(cleatd.api, Tasks(aws), start.shared, SEED, input=f"s3://{BUCKET}/inputs")
    hits = kill_again_and_again(cleatd, crowd, moments)
    aws.assert_clean()
    lives = crowd.verify(artifact_of(aws))
    assert_one_task_per_attempt(aws)
    print(f"{KILLS} kills (seed {SEED}, {hits} at their moments), {len(lives)} sessions, "
          f"{len(aws.ecs.tasks)} tasks, {aws.books.counts()['RunTask']} calls of RunTask, "
          f"{dict(crowd.retried)} repeated; at the kills: {dict(sorted(cleatd.census.seen.items()))}")
    assert_every_state_was_met(cleatd, KILLS)
    assert_no_complaints(cleatd)
    cleatd.terminate()
    cleatd.check_journal()
