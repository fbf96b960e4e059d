"""Sessions on ECS behind a load balancer, against the AWS stand-in."""

import json
import os
import signal
import time

import pytest

from aws_harness import account, certificate, daemon, program_that_knows
from cleat_harness import ApiError, in_parallel, poll, shared_connections

PRINT_ID = "import os; print(os.environ['SESSION_ID'])"


def steps(session):
    return {c["name"]: c for c in session["cleanup"]}


def own_answers(aws, api, ids):
    """Each session is where its task is, and its own container answers."""
    addresses = {}
    for i, record in zip(ids, in_parallel(lambda i: api.execute(i, PRINT_ID), ids, 16)):
        assert record["stdout"].strip() == i == record["session_id"]
        addresses[i] = api.session(i)["address"]
        assert addresses[i].split(":")[0] == aws.task_of(i).address
    assert len(set(addresses.values())) == len(ids), "two sessions on one address"


def all_closed(api, ids):
    for over in in_parallel(api.close, ids):
        step = steps(over)
        assert {c["result"] for c in step.values()} == {"ok"}, over
        assert step["stop"]["start_ms"] >= step["upload"]["end_ms"], over


def one_task_each(aws, ids):
    started = [t.environment_of() for t in aws.ecs.tasks.values()]
    assert sorted(started) == sorted(ids), "a task too many, or one too few"


def test_64_sessions_at_once(start, capsys):
    aws = account(start)
    api = daemon(start, aws).api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(64))]
    assert len(ids) == 64
    own_answers(aws, api, ids)
    all_closed(api, ids)
    one_task_each(aws, ids)
    assert shared_connections(aws.alb.requests()) == {}
    calls, ticks = aws.books.control()
    probes = len([r for r in aws.alb.requests() if r.path == "/container-info" and not r.session])
    with capsys.disabled():
        print(f"\n64 sessions: {calls / 64:.2f} calls of ECS and ELBv2 per session, {ticks} on ticks; "
              f"{probes / 64:.1f} probes per session; {dict(aws.books.counts())}")
    assert calls / 64 <= 3.5
    refused = [c for c in aws.books.calls if c.outcome not in ("ok", "ThrottlingException", "Throttling")]
    assert not refused, refused


@pytest.mark.parametrize("options", [
    {"groups": 3, "balance": "random"}, {"groups": 2, "layout": "header", "nodes": 2}])
def test_several_groups_and_nodes(start, options):
    """New attempts go to the smallest group; random picks and several nodes are swept as well."""
    aws = account(start, **options)
    api = daemon(start, aws).api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(9))]
    sizes = [len(g.targets) for g in aws.groups]
    assert max(sizes) - min(sizes) <= 1, sizes
    own_answers(aws, api, ids)
    all_closed(api, ids)
    assert shared_connections(aws.alb.requests()) == {}


def test_the_container_s_own_address(start):
    """Without a load balancer nothing is registered anywhere."""
    aws = account(start)
    api = daemon(start, aws, balancer="direct").api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(8))]
    own_answers(aws, api, ids)
    all_closed(api, ids)
    one_task_each(aws, ids)
    assert set(aws.books.counts()) & {"RegisterTargets", "DescribeTargetHealth"} == set()
    calls, _ = aws.books.control()
    assert calls / 8 <= 2.5, aws.books.counts()


def test_the_load_balancer_has_a_name_and_speaks_tls(start):
    """The name has two addresses: both are used, and the certificate is checked by the name."""
    (start.root / "tls").mkdir()
    path = certificate(start.root / "tls", "alb.test")
    aws = account(start, nodes=2, certificate=path)
    program = program_that_knows(start.root, alb_test=aws.alb.hosts)
    port = aws.alb.listeners[0].port
    api = daemon(start, aws, environment={"AWS_CA_BUNDLE": f"{path}.crt"}, options={"program": program},
                 alb_urls=[f"https://alb.test:{port}"]).api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(6))]
    own_answers(aws, api, ids)
    assert all(n > 0 for n in aws.alb.connections()), aws.alb.connections()
    assert api.route(ids[0])["base_url"].startswith("https://alb.test:")
    all_closed(api, ids)
    assert shared_connections(aws.alb.requests()) == {}


def test_addresses_that_are_given_again_at_once(start):
    """Six addresses, each given to the next task while its former target is still draining."""
    aws = account(start, addresses=6, drain_s=2, linger_s=1)
    api = daemon(start, aws).api

    def life(n):
        s = api.ready(user=f"u{n}")["session_id"]
        for _ in range(3):
            assert api.execute(s, PRINT_ID)["stdout"].strip() == s
        over = api.close(s)
        assert {c["result"] for c in over["cleanup"]} == {"ok"}, over
        return over["session_id"]

    ids = in_parallel(life, range(18), 5)
    one_task_each(aws, ids)
    assert shared_connections(aws.alb.requests()) == {}


def test_slots_need_no_sweep(start):
    """One target in each group, behind a rule: no cookie-less probe is ever sent."""
    aws = account(start, groups=4, layout="header")
    api = daemon(start, aws, mode="slot").api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(4))]
    assert [len(g.targets) for g in aws.groups] == [1] * 4
    own_answers(aws, api, ids)
    probes = [r for r in aws.alb.requests() if not r.session and r.path == "/container-info"]
    assert not probes, probes
    all_closed(api, ids)


def test_what_a_task_is_told_and_leaves(start):
    """The template's own words stay, cleat's are added, the secret is nowhere else; files arrive
    with their types, the manifest last."""
    aws = account(start)
    path = aws.template(tags=[{"key": "team", "value": "blue"}], enableExecuteCommand=False, overrides={
        "cpu": "256", "containerOverrides": [{"name": "executor", "environment": [{"name": "MINE", "value": "1"}]}]})
    cleatd = daemon(start, aws, template=path)
    api = cleatd.api
    s = api.ready()["session_id"]
    [call] = aws.books.of("RunTask")
    p, variables = call.params, aws.task_of(s).variables()
    tags = {t["key"]: t["value"] for t in p["tags"]}
    assert tags["team"] == "blue" and tags["cleat:session"] == s and tags["cleat:attempt"] == "1"
    assert tags["cleat:owner"] == p["startedBy"] == variables["CLEAT_OWNER"] and len(p["startedBy"]) <= 36
    assert variables["MINE"] == "1" and variables["SESSION_ID"] == s and variables["CLEAT_ATTEMPT"] == "1"
    assert p["overrides"]["cpu"] == "256" and p.get("count", 1) == 1 and 1 <= len(p["clientToken"]) <= 64
    assert variables["CLEAT_SECRET"] not in json.dumps({k: v for k, v in p.items() if k != "overrides"})
    api.execute(s, "open('artifacts/page.html', 'w').write('<p>')\nopen('data/d.json', 'w').write('{}')")
    all_closed(api, [s])
    assert variables["CLEAT_SECRET"] not in "\n".join(cleatd.log_lines())
    at = f"artifacts/{s}/"
    files = {f["path"] for f in json.loads(aws.bucket.read(at + "manifest.json"))["files"]}
    assert {"artifacts/page.html", "data/d.json"} <= files
    assert {at + f for f in files} | {at + "manifest.json"} == set(aws.bucket.keys(at))
    assert aws.bucket.get(at + "artifacts/page.html").headers["ContentType"].startswith("text/html")
    assert [c.params["Key"] for c in aws.books.of("PutObject")][-1] == at + "manifest.json"


def test_misrouted_completion_leaves_a_stranger_s_container(start):
    """The incident: the load balancer routes A's session to B's container without a word, and A is
    closed. B's container survives, A's files arrive once A is back."""
    aws = account(start, check_interval_s=0.2, check_timeout_s=0.5)
    api = daemon(start, aws, direct_path="never").api
    a, b = (s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(2)))
    api.execute(a, "open('artifacts/a.txt', 'w').write('a')")
    api.execute(b, "open('artifacts/b.txt', 'w').write('b')")
    stopped = aws.task_of(a)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    try:
        poll(lambda: [t for t in aws.alb.targets("unhealthy") if t.key[0] == stopped.address and not t.ready], 20,
             "the load balancer to route elsewhere")
        with pytest.raises(ApiError) as failed:
            api.execute(a, "print(1)", timeout_s=10)
        assert failed.value.code == "misroute" and failed.value.error["ran"] == "no"
        assert api.close(a, wait=False)["state"] == "CLOSING"
        record = api.execute(b, PRINT_ID)
        assert record["stdout"].strip() == b and record["total_executions"] == 2
        assert not aws.books.of("StopTask"), "A is not stopped: its upload is not confirmed"
    finally:
        os.kill(stopped.process.pid, signal.SIGCONT)
    over = api.wait(a, "closed")
    assert steps(over)["upload"]["result"] == "ok", over
    assert aws.bucket.read(f"artifacts/{a}/artifacts/a.txt") == b"a"
    assert api.session(b)["state"] == "READY" and aws.task_of(b).status == "RUNNING"
    all_closed(api, [b])
    assert aws.bucket.read(f"artifacts/{b}/artifacts/b.txt") == b"b"
    assert shared_connections(aws.alb.requests()) == {}


def test_stickiness_is_renewed_before_it_lapses(start):
    """Cookies are good for three seconds; idle sessions keep their routes for longer than that."""
    aws = account(start, group_attributes={"stickiness.lb_cookie.duration_seconds": "3"})
    api = daemon(start, aws).api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(3))]
    until = time.monotonic() + 7
    poll(lambda: time.monotonic() > until, 10, "idle time")
    own_answers(aws, api, ids)
    assert [api.session(i)["misroutes"] for i in ids] == [0] * 3
    all_closed(api, ids)


def test_a_load_balancer_that_fails_open(start):
    """No target is healthy, so any may get a request; nothing runs elsewhere, and all recover."""
    aws = account(start, check_interval_s=0.2, check_timeout_s=0.4)
    api = daemon(start, aws).api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(2))]
    tasks = [aws.task_of(i) for i in ids]
    for task in tasks:
        os.kill(task.process.pid, signal.SIGSTOP)
    try:
        poll(lambda: aws.alb.fails_open(aws.groups[0]), 20, "no healthy target")
        poll(lambda: '"fail_open": true' in json.dumps(api.status()), 20, "cleat to notice")
    finally:
        for task in tasks:
            os.kill(task.process.pid, signal.SIGCONT)

    def runs(i):
        try:
            return api.execute(i, PRINT_ID)["stdout"].strip() == i
        except ApiError as e:
            assert e.error["ran"] == "no", e
            return False
    for i in ids:
        poll(lambda i=i: runs(i), 30, "an execution")
        assert aws.task_of(i).status == "RUNNING"
    all_closed(api, ids)


def test_a_restart_finds_its_sessions(start):
    aws = account(start)
    cleatd = daemon(start, aws)
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(4))]
    cleatd.kill()
    lost = aws.task_of(ids[0])
    lost.kill()
    poll(lambda: lost.over, 10, "the end of a task that nobody watches")
    cleatd.start()
    assert api.wait(ids[0], "closed")["stop_reason"] == "container_died"
    own_answers(aws, api, ids[1:])
    one_task_each(aws, ids)
    all_closed(api, ids[1:])


def test_a_task_that_the_journal_lost_is_closed(start):
    """It uploads, its target is deregistered, the task ends; the session beside it goes on."""
    aws = account(start)
    cleatd = daemon(start, aws, options={"reap_grace_s": 1, "reap_interval_s": 1}).listed()
    lost, kept = (cleatd.api.ready()["session_id"] for _ in range(2))
    cleatd.api.execute(lost, "open('artifacts/kept.txt', 'w').write('kept')")
    task = aws.task_of(lost)
    cleatd.kill()
    cleatd.forget(lost)
    cleatd.start()
    over = cleatd.closed_orphan(lost)
    assert {r["result"] for r in steps(over).values()} == {"ok"}, over
    assert task.id not in aws.left()["tasks"]
    assert not [t for t in aws.left()["targets"] if t[0] == task.address]
    own_answers(aws, cleatd.api, [kept])
    cleatd.api.close(kept)
