"""What goes wrong between cleat and AWS: ready or a typed failure, and nothing is left."""

import json
import time

import pytest

from aws_harness import BUCKET, account, daemon
from cleat_harness import ApiError, in_parallel, poll

CONTROL = ("RunTask", "DescribeTasks", "RegisterTargets", "DescribeTargetHealth", "DeregisterTargets", "StopTask")
KINDS = ("throttle", "500", "malformed", "truncated", "hang", "reset_before", "reset_after")


def results(session):
    return {c["name"]: c["result"] for c in session["cleanup"]}


def outcome(api, **fields):
    """The session when it became ready, else the typed failure; what became ready is closed."""
    try:
        s = api.ready(**fields)
    except ApiError as e:
        assert e.code and isinstance(e.error["retryable"], bool) and e.error["message"], e
        return e
    i = s["session_id"]
    api.execute(i, "open('artifacts/f', 'w').write('f')")
    over = api.close(i)
    assert over["state"] == "CLOSED" and results(over)["stop"] == "ok", over
    return s


@pytest.fixture(scope="module")
def aws(module_start):
    return account(module_start)


@pytest.fixture(scope="module")
def api(module_start, aws):
    return daemon(module_start, aws, create_timeout_s=30).api


def test_each_fault_at_each_call(aws, api):
    """Sessions come until each kind of fault went off once at each call; whatever that does to them,
    nothing is left and the next one is fine."""
    faults = [aws.faults.add(action, kind, seconds=1) for action in CONTROL for kind in KINDS]
    failures = []
    try:
        for _ in range(8):
            made = in_parallel(lambda n: outcome(api, user=f"u{n}"), range(6))
            failures += [e for e in made if isinstance(e, ApiError)]
            if all(f.went_off for f in faults):
                break
        assert [(f.action, f.kind) for f in faults if not f.went_off] == []
    finally:
        aws.faults.clear()
    assert all(e.error["retryable"] for e in failures), failures
    aws.assert_clean()
    assert not isinstance(outcome(api), ApiError)


@pytest.mark.parametrize("kind", ["500", "throttle", "reset_after"])
def test_a_call_that_fails_for_a_while(aws, api, kind):
    """Sessions begin while every call fails, and AWS is well again a second later."""
    for action in CONTROL:
        aws.faults.add(action, kind, count=1000)
    ids = [api.create(user=f"u{n}")["session_id"] for n in range(3)]
    until = time.monotonic() + 1
    poll(lambda: time.monotonic() > until, 5, "a second of failures")
    aws.faults.clear()
    for i in ids:
        try:
            assert api.wait(i)["state"] == "READY"
        except ApiError as e:
            assert e.error["retryable"], e
    in_parallel(api.close, ids)
    aws.assert_clean()


@pytest.mark.parametrize("kind", ["reset_after", "malformed", "hang"])
def test_a_lost_runtask_answer_launches_no_second_task(aws, api, kind):
    aws.faults.add("RunTask", kind, seconds=1)
    s = api.ready()["session_id"]
    assert len(aws.ecs.of_session(s)) == 1, "the same client token, the same bytes, the same task"
    api.close(s)


def test_permanent_errors_fail_at_once(aws, api):
    mark = aws.books.mark()
    aws.faults.add("RunTask", "error", code="AccessDeniedException", message="User cleatd is not authorized")
    begin = time.monotonic()
    with pytest.raises(ApiError) as failed:
        api.ready()
    assert time.monotonic() - begin < 5
    assert not failed.value.error["retryable"], failed.value
    assert "AccessDeniedException" in failed.value.error["message"]
    assert "User cleatd is not authorized" in failed.value.error["message"]
    assert len(aws.books.of("RunTask", since=mark)) == 1


def test_a_task_that_fails_to_start_says_why(aws, api):
    aws.faults.add("RunTask", "start_fails", count=100, reason="CannotPullContainerError: pull access denied for x")
    with pytest.raises(ApiError) as failed:
        api.ready()
    aws.faults.clear()
    assert failed.value.code in ("launch_failed", "permanent")
    assert "CannotPullContainerError: pull access denied" in failed.value.error["message"], failed.value
    aws.assert_clean()


def test_a_task_that_is_stuck(start):
    """The first attempt never starts: it is stopped, and the second serves the session."""
    aws = account(start)
    api = daemon(start, aws, start_timeout_s=2, backoff_base_ms=100).api
    aws.faults.add("RunTask", "stuck")
    s = api.ready()["session_id"]
    first, second = sorted(aws.ecs.of_session(s), key=lambda t: t.created)
    poll(lambda: first.over, 10, "the end of the stuck task")
    assert first.code == "UserInitiated" and second.status == "RUNNING"
    api.close(s)


def test_a_spot_interruption_uploads_and_says_so(aws, api):
    s = api.ready()["session_id"]
    api.execute(s, "open('artifacts/f', 'w').write('f')")
    aws.interrupt(aws.task_of(s), notice_s=5)
    over = api.wait(s, "closed")
    assert over["stop_reason"] == "container_died" and "Spot" in str(over), over
    assert aws.bucket.read(f"artifacts/{s}/artifacts/f") == b"f"
    assert aws.task_of(s).code == "SpotInterruption"


def test_credentials_that_expire_in_flight(start):
    """Keys from a container endpoint that AWS takes for expired before they say so."""
    aws = account(start, credential_life_s=3600)
    path, token = aws.metadata.container("arn:aws:sts::123456789012:assumed-role/coordinator/i")
    environment = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
                   "AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + path, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token}
    api = daemon(start, aws, environment=environment).api
    for _ in range(3):
        s = api.ready()["session_id"]
        api.execute(s, "print(1)")
        for identity in list(aws.identities.by_key.values()):
            if identity.expires and "coordinator" in identity.arn:
                aws.identities.expire(identity)
        over = api.close(s)
        assert over["state"] == "CLOSED", over
    refused = [c.outcome for c in aws.books.calls if c.service in ("ecs", "elbv2") and c.outcome != "ok"]
    assert len(refused) >= 3 and set(refused) <= {"ExpiredTokenException", "ExpiredToken"}


def test_one_request_id_is_one_task(aws, api):
    """Fifty creates of one request id at once."""
    sessions = in_parallel(lambda n: api.ready(request_id="the-same"), range(50), 50)
    [s] = {x["session_id"] for x in sessions}
    assert len(aws.ecs.of_session(s)) == 1
    api.close(s)


def test_an_upload_that_fails_is_salvaged(start):
    """S3 refuses for a while: the task stays until the files are there."""
    aws = account(start)
    api = daemon(start, aws, salvage_limit_s=120, backoff_base_ms=100).api
    s = api.ready()["session_id"]
    api.execute(s, "open('artifacts/f', 'w').write('f')")
    aws.faults.add("PutObject", "503", count=10000)
    api.close(s, wait=False)
    poll(lambda: len(aws.books.of("PutObject")) > 5, 60, "tries")
    poll(lambda: "SALVAGING" in str(api.session(s)), 60, "salvage")
    assert not aws.books.of("StopTask") and aws.task_of(s).status == "RUNNING"
    aws.faults.clear()
    over = api.wait(s, "closed")
    assert results(over)["upload"] == "ok" and results(over)["stop"] == "ok", over
    assert aws.bucket.read(f"artifacts/{s}/artifacts/f") == b"f"
    manifest = [c for c in aws.books.of("PutObject") if c.params["Key"].endswith("manifest.json")
                and c.outcome == "ok"]
    assert aws.books.of("StopTask")[0].at >= manifest[-1].at, "stopped only after the upload"


def test_a_session_s_credentials_reach_its_own_prefix_only(start):
    """s3_role: no task role; cleat hands over credentials that a session policy confines."""
    nothing = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
    aws = account(start, role_policy=json.dumps(nothing))
    role = aws.sts.role("artifacts")
    api = daemon(start, aws, s3_role=role).api
    ids = [api.ready()["session_id"] for _ in range(2)]
    for i in ids:
        api.execute(i, f"open('artifacts/own', 'w').write('{i}')")
    for i in ids:
        assert results(api.close(i))["upload"] == "ok"
        assert aws.bucket.read(f"artifacts/{i}/artifacts/own").decode() == i
    for identity in aws.sts.handed_out:
        assert len(identity.policies) == 1
    owners = {c.who for c in aws.books.of("PutObject")}
    assert all("assumed-role/artifacts/" in who for who in owners), owners
    asked = aws.books.of("AssumeRole")[0].params
    again = aws.client("sts").assume_role(**asked)
    who = aws.identities.by_key[again["Credentials"]["AccessKeyId"]]
    if ids[0] not in asked["Policy"]:
        ids.reverse()
    mine, other = aws.client("s3", who), f"artifacts/{ids[1]}/"
    assert mine.list_objects_v2(Bucket=BUCKET, Prefix=f"artifacts/{ids[0]}/")["KeyCount"] > 0
    for call in (lambda: mine.list_objects_v2(Bucket=BUCKET, Prefix=other),
                 lambda: mine.get_object(Bucket=BUCKET, Key=other + "artifacts/own"),
                 lambda: mine.put_object(Bucket=BUCKET, Key=other + "x", Body=b"")):
        with pytest.raises(Exception, match="AccessDenied"):
            call()
