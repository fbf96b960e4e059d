"""Executors, HAProxy, dockerd and the AWS endpoint are killed at moments that a seed draws, while about
ten clients keep sessions in every state: a session survives or fails typed, and nothing is left."""

import contextlib
import http.client
import json
import os
import random
import signal
import threading
import urllib.parse

from aws_harness import account
from cleat_harness import Launch, UnixConnection, haproxy_class, poll
from crowd import Crowd
from docker_harness import docker_class, dockerd, without_docker  # noqa: F401
from strikes import STEPS, WORDS, Watched, draw_moments, state, strike_again_and_again
from test_kill import Processes, artifact_of, assert_no_complaints, assert_nothing_happened_twice, source
from test_kill_aws import CALLS, Tasks, artifact_of as object_of, assert_one_task_per_attempt

STRIKES = int(os.environ.get("CLEAT_KILLS", "6"))
SEED = int(os.environ.get("CLEAT_SEED", "1"))


def moments(count=STRIKES, first=()):
    """No session of these crowds has an input."""
    return draw_moments(random.Random(SEED), count, first, restarts=False, without={"event=input.staged"})


def daemon(start, **options):
    return start.add(Watched(start.root / "cleatd", max_sessions=7, **options)).start()


def report(cleatd, crowd, what, hits):
    print(f"{what} (seed {SEED}, {hits} strikes at their moments): {len(crowd.lives)} sessions, "
          f"{sum(len(l.answered) for l in crowd.lives)} executions, {sum(bool(l.error) for l in crowd.lives)} ended "
          f"by it, {dict(crowd.retried)} repeated; at the strikes: {dict(sorted(cleatd.census.seen.items()))}")


def test_executors_are_killed(start):
    """Before its session was ready another container takes its place; afterwards the session ends."""
    haproxy, other = start.haproxy().keep(), start.haproxy("haproxy-2").keep()
    cleatd = daemon(start, classes={
        "default": haproxy_class(haproxy, backoff_base_ms=20),
        "far": haproxy_class(other, direct_path="never", backoff_base_ms=20), "direct": {"backoff_base_ms": 20}})
    crowd = Crowd(cleatd.api, Processes(cleatd), start.shared, SEED, clients=10,
                  classes=["default", "far", "direct"], forgive={"container_died"})
    victims = set()

    def kill_one(line):
        """Whose line it is, or anybody."""
        session = dict(WORDS.findall(line)).get("session")
        running = cleatd.containers_alive()
        for container in [l for l in running if l.session == session] or running[:1]:
            victims.add(container.session)
            os.kill(container.pid, signal.SIGKILL)

    first = [state("session", "BUSY"), state("session", "READY"), "event=cleanup.step .*step=deregister"]
    hits = strike_again_and_again(cleatd, crowd, moments(first=first), kill_one)
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    assert haproxy.servers() == {} and other.servers() == {}
    crowd.verify(artifact_of(cleatd), victims)
    assert_nothing_happened_twice(cleatd)
    assert_no_complaints(cleatd, victims)
    report(cleatd, crowd, "executors killed", hits)


def test_executors_are_killed_and_replaced(start):
    """And cleatd itself, while it replaces them: every session goes on, with one container at a time."""
    haproxy = start.haproxy().keep()
    inputs = source(start.root)
    cleatd = start.add(Watched(start.root / "cleatd", max_sessions=7, classes={"default": haproxy_class(
        haproxy, backoff_base_ms=20, on_death="replace", input_sources=[f"*=file://{inputs}"])}))
    cleatd.start()
    crowd = Crowd(cleatd.api, Processes(cleatd), start.shared, SEED, clients=10, input=f"file://{inputs}",
                  replaced=True)
    victims = set()

    def kill_both(line):
        """The container of the line's session, and cleatd a moment later."""
        session = dict(WORDS.findall(line)).get("session")
        for container in [l for l in cleatd.containers_alive() if l.session == session]:
            victims.add(session)
            os.kill(container.pid, signal.SIGKILL)
        threading.Event().wait(delays.uniform(0, 0.3))
        cleatd.process.kill()

    def start_again():
        cleatd.process.wait()
        cleatd.check_journal()
        cleatd.start()
    delays = random.Random(SEED)
    first = [state("session", "READY"), state("session", "BUSY")] * 2
    hits = strike_again_and_again(cleatd, crowd, moments(first=first), kill_both, start_again)
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    assert haproxy.servers() == {}
    crowd.verify(artifact_of(cleatd), victims)
    assert_nothing_happened_twice(cleatd)
    assert_no_complaints(cleatd, victims)
    assert not [l for l in crowd.lives if l.error]
    report(cleatd, crowd, f"executors of {len(victims)} sessions and cleatd killed", hits)


def test_haproxy_is_killed(start):
    """It comes back with no servers; no session ends for that."""
    haproxy = start.haproxy()
    cleatd = daemon(start, classes={"default": haproxy_class(haproxy, backoff_base_ms=20)})
    crowd = Crowd(cleatd.api, Processes(cleatd), start.shared, SEED, clients=10)
    hits = strike_again_and_again(cleatd, crowd, moments(), lambda _: haproxy.process.kill(),
                                  lambda: (haproxy.process.wait(), haproxy.start()))
    assert haproxy.servers() == {}
    crowd.verify(artifact_of(cleatd))
    assert_nothing_happened_twice(cleatd)
    assert_no_complaints(cleatd)
    report(cleatd, crowd, "HAProxy killed", hits)


class Boxes:
    """Containers as the engine knows them, with those that are gone: what it told of the making of any."""

    def __init__(self, engine):
        self.engine, self.made, self.over = engine, {}, threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        """Of each life of the engine from its beginning: it keeps its last 256 events."""
        wanted = urllib.parse.quote(json.dumps({"type": ["container"], "event": ["create"]}))
        while not self.over.wait(0.02):
            silence_s = 1
            with (contextlib.suppress(OSError, ValueError, http.client.HTTPException),
                  contextlib.closing(UnixConnection(self.engine.socket, silence_s)) as connection):
                connection.request("GET", f"/events?since=1&filters={wanted}")
                for line in connection.getresponse():
                    actor = json.loads(line)["Actor"]
                    self._note(actor["ID"], actor["Attributes"])

    def _note(self, container, labels):
        self.made[container] = Launch(labels["cleat.session"], int(labels["cleat.attempt"]), 0, container)

    def launches(self):
        for c in self.engine.containers():
            self._note(c["Id"], c["Labels"])
        return list(self.made.values())

    def stop(self):
        self.over.set()
        self.reader.join()

    def containers(self, session):
        return [c["Id"] for c in reversed(self.engine.of_session(session))]  # it lists the newest first

    def alive(self, container):
        return self.engine.inspect(container)["State"]["Running"]


@without_docker
def test_dockerd_is_killed(start, dockerd):  # noqa: F811
    """Its containers end with it: their sessions say so, and those that were not ready yet try again.
    (What a killed one left of its network may keep a next container from being reached.)"""
    cleatd = daemon(start, classes={"default": docker_class(
        dockerd, backoff_base_ms=200, stop_grace_s=1, start_timeout_s=8, create_timeout_s=30)})
    boxes = start.add(Boxes(dockerd))
    crowd = Crowd(cleatd.api, boxes, None, SEED, clients=4,
                  forgive={"container_died", "never_healthy", "create_timeout"})

    def launch():
        dockerd.process.wait()
        dockerd.kill_process()
        dockerd.launch()
    first = [STEPS[0], state("session", "READY"), state("attempt", "STARTING")]
    at = moments(max(3, STRIKES // 4), first)
    for moment in at:
        moment.nth = 1  # its clients are few, and lose time by each strike
    hits = strike_again_and_again(cleatd, crowd, at, lambda _: dockerd.process.kill(), launch, patience=20)
    poll(lambda: not dockerd.running(), 30, "the end of all containers")
    assert {l.container for l in crowd.lives if l.container} <= {l.address for l in boxes.launches()}
    victims = {l.session for l in crowd.lives if l.error}
    for kept in dockerd.containers():  # its upload was never confirmed
        victims.add(kept["Labels"]["cleat.session"])
        dockerd.remove(kept["Id"])
    crowd.verify(artifact_of(cleatd), victims)
    assert_nothing_happened_twice(boxes)
    assert_no_complaints(cleatd, victims)
    report(cleatd, crowd, "dockerd killed", hits)


def test_the_aws_endpoint_is_killed(start):
    """As one whose connections end in the middle of an answer, and which is started again: no session ends
    for that, and no call is made twice. (A process of its own would show no more: AWS keeps its state
    whatever becomes of the machine that answers, and so does the stand-in, in the tests' own process.)"""
    aws = account(start, groups=2)
    cleatd = daemon(start, environment=aws.environment(), classes={
        "default": aws.class_options(backoff_base_ms=50)})
    aws.books.watch = cleatd.see
    crowd = Crowd(cleatd.api, Tasks(aws), start.shared, SEED, clients=8)
    at = moments(max(4, STRIKES // 2), CALLS)
    hits = strike_again_and_again(cleatd, crowd, at, lambda _: aws.endpoint.away(), aws.endpoint.back,
                                  patience=15)
    assert aws.endpoint.resets >= len(at), "connections were there to break"
    assert aws.endpoint.cut >= sum(m.words in CALLS for m in at) // 2, "and ended in the middle of an answer"
    aws.assert_clean()
    crowd.verify(object_of(aws))
    assert_one_task_per_attempt(aws)
    assert_no_complaints(cleatd)
    report(cleatd, crowd, f"the AWS endpoint killed, {aws.endpoint.resets} connections reset, "
           f"{aws.endpoint.cut} in the middle of an answer", hits)
