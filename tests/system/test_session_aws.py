"""What a session does with an AWS account: credentials of its own, input from S3, bytes that survive a crash, the
account examined before a start."""

import json
import os
import subprocess

import pytest

from aws.models import ACCOUNT
from aws_harness import BUCKET, Aws
from cleat_harness import BUILD, ApiError, free_port, in_parallel, poll

ROLE = f"arn:aws:iam::{ACCOUNT}:role/session"


@pytest.fixture
def account(start):
    def make(**options):
        return start.add(Aws(start.root / "aws", clean=True, **options).start())
    return make


def session_role(aws):
    """A role for the whole of artifacts; what a session gets of it is narrower."""
    return aws.sts.role("session", json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{BUCKET}/artifacts/*", f"arn:aws:s3:::{BUCKET}"]}]}))


def coordinator(start, aws, classes=None, **options):
    classes = classes or {"default": aws.class_options()}
    return start.cleatd(classes=classes, environment=aws.environment(), **options)


def test_a_session_on_ecs_and_alb(start, account):
    aws = account()
    api = coordinator(start, aws).api
    s = api.ready()
    assert s["proof"] == "required" and s["waiting_for"] is None and s["progress"] is None
    api.execute(s["session_id"], "open('artifacts/x', 'w').write('x')")
    route = api.route(s["session_id"])
    assert route["base_url"] == aws.alb.urls[0] and "AWSALB" in route["headers"]["Cookie"]
    over = api.close(s["session_id"])
    assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "ok"
    assert api.status()["aws"]["calls"]["RunTask"]["calls"] == 1


def test_slots_carry_a_header(start, account):
    """Each session has a target group of its own; the fourth waits for a place and says so."""
    aws = account(groups=3, layout="header")
    api = coordinator(start, aws, {"default": aws.class_options(mode="slot")}).api
    sessions = in_parallel(lambda _: api.ready(), range(3))
    routes = [api.route(s["session_id"]) for s in sessions]
    name = aws.alb.listeners[0].header
    assert sorted(r["headers"][name] for r in routes) == ["1", "2", "3"]
    assert all("Cookie" not in r["headers"] for r in routes)
    for s in sessions:
        assert api.execute(s["session_id"], "import os; print(os.environ['SESSION_ID'])")["stdout"].strip() \
            == s["session_id"]
    assert sum(s["probes"] for s in sessions) == 0
    fourth = api.create()["session_id"]
    poll(lambda: "place" in (api.session(fourth)["waiting_for"] or ""), 10, "the reason of the wait")
    assert aws.ecs.of_session(fourth) == [], "nothing is launched for what cannot be reached"
    api.close(sessions[1]["session_id"])
    assert api.wait(fourth)["waiting_for"] is None


def test_a_place_is_kept_across_a_crash(start, account):
    """The only slot is that of the session which was about to be launched."""
    aws = account(groups=1, layout="header")
    cleatd = coordinator(start, aws, {"default": aws.class_options(mode="slot")})
    fault = aws.faults.add("RunTask", "hang")
    first = cleatd.api.create()["session_id"]
    poll(lambda: not fault.left, 10, "the RunTask that gets no answer")
    cleatd.kill()
    aws.faults.clear()
    cleatd.start()
    second = cleatd.api.create()["session_id"]
    assert cleatd.api.wait(first)["attempt"] == 1
    assert "place" in cleatd.api.session(second)["waiting_for"]
    cleatd.api.close(first)
    assert cleatd.api.wait(second)["state"] == "READY"


def test_a_target_that_was_registered_in_a_crash_stays(start, account):
    """The only slot is taken: by the target of the session that is about to register it."""
    aws = account(groups=1, layout="header")
    cleatd = coordinator(start, aws, {"default": aws.class_options(mode="slot")})
    fault = aws.faults.add("RegisterTargets", "reset_after", count=50)
    s = cleatd.api.create()["session_id"]
    poll(lambda: fault.went_off, 20, "the registration whose answer is lost")
    cleatd.kill()
    aws.faults.clear()
    cleatd.start()
    assert cleatd.api.wait(s)["attempt"] == 1
    assert not cleatd.api.status()["aws"]["calls"].get("DeregisterTargets")
    cleatd.api.close(s)


def test_a_restart_sends_nothing_into_anothers_slot(start, account):
    """The coordinator learns from the listings which slot is whose; before that it asks nobody."""
    aws = account(groups=3, layout="header")
    cleatd = coordinator(start, aws, {"default": aws.class_options(mode="slot")})
    ids = [s["session_id"] for s in in_parallel(lambda _: cleatd.api.ready(), range(3))]
    cleatd.kill()
    aws.faults.add("DescribeTargetHealth", "throttle", count=6)
    cleatd.start()
    for i in ids:
        assert cleatd.api.execute(i, "import os; print(os.environ['SESSION_ID'])")["stdout"].strip() == i
    assert [cleatd.api.session(i)["misroutes"] for i in ids] == [0] * 3


def test_two_target_groups_share_the_load(start, account):
    aws = account(groups=2)
    api = coordinator(start, aws).api
    sessions = in_parallel(lambda _: api.ready(), range(6))
    assert len({api.route(s["session_id"])["base_url"] for s in sessions}) == 2
    for s in sessions:
        assert api.execute(s["session_id"], "import os; print(os.environ['SESSION_ID'])")["stdout"].strip() \
            == s["session_id"]


def test_a_kill_right_after_run_task(start, account):
    """The answer never came to the journal; the same bytes lead to the same task."""
    aws = account()
    cleatd = coordinator(start, aws, {"default": aws.class_options(balancer="direct")})
    fault = aws.faults.add("RunTask", "hang")
    s = cleatd.api.create()["session_id"]
    poll(lambda: not fault.left, 10, "the RunTask that gets no answer")
    cleatd.kill()
    aws.faults.clear()
    cleatd.start()
    assert cleatd.api.wait(s)["attempt"] == 1
    assert len(aws.ecs.of_session(s)) == 1


def test_no_room_is_no_failure(start, account):
    """More refusals than launch_attempts, and the session waits on, and says for what."""
    aws = account()
    fault = aws.faults.add("RunTask", "capacity", count=4, reason="RESOURCE:MEMORY")
    api = coordinator(start, aws, {"default": aws.class_options(
        balancer="direct", launch_attempts=2, backoff_base_ms=30)}).api
    s = api.create()["session_id"]
    poll(lambda: (api.session(s)["waiting_for"] or "").startswith("capacity: "), 10, "the reason of the wait")
    ready = api.wait(s)
    assert not fault.left and ready["attempt"] == 5 and ready["waiting_for"] is None
    names = [p["name"] for p in ready["phases"]]
    assert names.count("capacity") == 1 and names.count("launch") == 1 and not ready["cleanup"]


def test_a_task_without_a_row_is_closed(start, account):
    aws = account()
    cleatd = coordinator(start, aws, {"default": aws.class_options(
        balancer="direct", upload_timeout_s=2, salvage_limit_s=1)},  # it proves nothing
        reap_grace_s=1, reap_interval_s=1).listed()
    s = cleatd.api.ready()["session_id"]
    cleatd.kill()
    stray = aws.task_of(s)
    before = f"{int(s[:13].replace('-', ''), 16) - 1:012x}"  # a millisecond: the journal can speak for it
    mine = {e["name"]: e["value"] for e in stray.params["overrides"]["containerOverrides"][0]["environment"]}
    mine |= {"SESSION_ID": f"{before[:8]}-{before[8:]}-774b-bcce-b302099a8057", "CLEAT_SECRET": "ab" * 32}
    aws.client("ecs").run_task(
        cluster="agents", taskDefinition="executor", launchType="FARGATE", startedBy="cleat",
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-a1"]}},
        overrides={"containerOverrides": [{"name": "executor", "environment": [
            {"name": k, "value": v} for k, v in mine.items()]}]})
    assert len(aws.ecs.alive()) == 2
    cleatd.start()
    poll(lambda: len(aws.ecs.alive()) == 1, 60, "the end of the stray task")
    assert cleatd.api.wait(s)["state"] == "READY" and [t.id for t in aws.ecs.alive()] == [stray.id]


def test_plain_containers(start, account):
    """What is told apart by address and session id only stays within one tenant."""
    aws = account()
    s3 = aws.client("s3")
    for n in range(2):
        s3.put_object(Bucket=BUCKET, Key=f"inputs/f{n}", Body=b"x")
    aws.define_plain("counting", "--sync-files", "2")
    plain = aws.class_options(template=aws.template("counting", "counting.json"),
                              proof="none", input_sources=[f"*=s3://{BUCKET}/inputs"])
    api = coordinator(start, aws, {"default": plain}).api
    sessions = in_parallel(lambda _: api.ready(tenant="ann", input=f"s3://{BUCKET}/inputs"), range(3))
    for s in sessions:
        assert s["proof"] == "none"
        record = api.execute(s["session_id"], "import os; print(os.environ['SESSION_ID'])")
        assert record["stdout"].strip() == s["session_id"]
    with pytest.raises(ApiError) as failed:
        api.create(tenant="bob")
    assert failed.value.code == "forbidden"
    requests = [json.loads(line) for line in (aws.plain_directory / "requests").read_text().splitlines()]
    synced = [json.loads(r["body"]) for r in requests if r["path"] == "/file-sync"]
    assert {(r["bucket_name"], r["s3_key_prefix"]) for r in synced} == {
        (BUCKET, f"artifacts/{s['session_id']}/input/") for s in sessions}
    for s in sessions:
        over = api.close(s["session_id"])
        assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "ok"


def test_plain_containers_in_slots(start, account):
    """A target group for each: nothing is shared, so tenants may be neighbours."""
    aws = account(groups=2, layout="header")
    api = coordinator(start, aws, {"default": aws.class_options(
        mode="slot", template=aws.template("plain"), proof="none")}).api
    for tenant in ("ann", "bob"):
        s = api.ready(tenant=tenant)["session_id"]
        assert api.execute(s, "import os; print(os.environ['SESSION_ID'])")["stdout"].strip() == s


def test_credentials_for_one_prefix(start, account):
    aws = account()
    api = coordinator(start, aws, {"default": aws.class_options(balancer="direct", s3_role=session_role(aws))}).api
    one, other = in_parallel(lambda _: api.ready()["session_id"], range(2))
    api.execute(one, "open('artifacts/x', 'w').write('mine')")
    api.close(one)
    assert aws.bucket.objects[f"artifacts/{one}/artifacts/x"].body() == b"mine"
    assert api.status()["aws"]["calls"]["AssumeRole"]["calls"] == 2


def test_credentials_are_renewed(start, account):
    aws = account(credential_life_s=3)
    cleatd = coordinator(start, aws, {"default": aws.class_options(balancer="direct", s3_role=session_role(aws))})
    s = cleatd.api.ready()["session_id"]
    poll(lambda: cleatd.api.status()["aws"]["calls"]["AssumeRole"]["calls"] >= 3, 20, "two renewals")
    cleatd.api.execute(s, "open('artifacts/x', 'w').write('late')")
    over = cleatd.api.close(s)
    assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "ok"


def test_a_renewal_that_fails_ends_no_session(start, account):
    aws = account(credential_life_s=4)
    cleatd = coordinator(start, aws, {"default": aws.class_options(
        balancer="direct", s3_role=session_role(aws), backoff_base_ms=100)})
    s = cleatd.api.ready()["session_id"]
    fault = aws.faults.add("AssumeRole", "error", count=3, code="AccessDenied", message="not now", status=403)
    poll(lambda: not fault.left, 20, "three renewals that fail")
    renewed = [l for l in cleatd.log_lines() if "event=credentials.renewed" in l]
    poll(lambda: len([l for l in cleatd.log_lines() if "event=credentials.renewed" in l]) > len(renewed), 20,
         "one that does not")
    assert cleatd.api.session(s)["state"] == "READY"
    cleatd.api.execute(s, "open('artifacts/x', 'w').write('late')")
    assert {c["name"]: c["result"] for c in cleatd.api.close(s)["cleanup"]}["upload"] == "ok"


def test_a_role_that_cannot_be_assumed(start, account):
    aws = account()
    api = coordinator(start, aws, {"default": aws.class_options(balancer="direct", s3_role=ROLE)}).api
    with pytest.raises(ApiError) as failed:
        api.ready()
    assert failed.value.code == "permanent" and "AccessDenied" in failed.value.error["message"]


def test_input_from_s3(start, account):
    aws = account(s3_page=2)
    s3 = aws.client("s3")
    for n in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"inputs/ann/f{n}", Body=f"text {n}".encode())
    api = coordinator(start, aws, {"default": aws.class_options(
        balancer="direct", input_sources=[f"*=s3://{BUCKET}/inputs/{{tenant}}"])}).api
    s = api.ready(tenant="ann", input=f"s3://{BUCKET}/inputs/ann")["session_id"]
    assert api.execute(s, "import os; print(sorted(os.listdir('input')))")["stdout"].strip() \
        == "['f0', 'f1', 'f2', 'f3', 'f4']"
    with pytest.raises(ApiError) as failed:
        api.create(tenant="bob", input=f"s3://{BUCKET}/inputs/ann")
    assert failed.value.code == "forbidden"


# ---- before the start


def check(start, environment, **values):
    """What --check-config says of a class with these options."""
    path = start.root / "checked.conf"
    options = {"artifacts": f"s3://{BUCKET}/artifacts", **values}
    lines = [f'    {key} = "{value}"' for key, value in options.items()]
    path.write_text(f'state_dir = "{start.root}/none"\nclass default {{\n' + "\n".join(lines) + "\n}\n")
    result = subprocess.run([BUILD / "cleatd", "--check-config", "--config", path], text=True, capture_output=True,
                            timeout=100, env={**os.environ, **environment})
    assert not (start.root / "none").exists(), "it only looks"
    return result.returncode, result.stdout


def test_an_account_that_fits(start, account):
    aws = account()
    status, text = check(start, aws.environment(), s3_role=session_role(aws))
    assert (status, text) == (0, "the configuration is fine\n")


def test_a_bucket_that_is_not_there(start, account):
    aws = account()
    status, text = check(start, aws.environment(), artifacts="s3://no-such-bucket/x")
    assert status == 1
    assert text == ("class default: error: the bucket no-such-bucket of artifacts does not exist; "
                    "cure: make it, or correct artifacts\n")


def test_a_bucket_elsewhere(start, account):
    aws = account()
    status, text = check(start, {**aws.environment(), "AWS_REGION": "eu-west-3"})
    assert status == 1 and "class default: error: the bucket agents-artifacts" in text


def test_a_role_of_somebody_else(start, account):
    aws = account()
    status, text = check(start, aws.environment(), s3_role=ROLE)
    assert status == 1
    assert "class default: error: s3_role cannot be assumed: AssumeRole: AccessDenied" in text
    assert "; cure: a trust policy" in text


def test_a_role_without_its_bucket(start, account):
    aws = account()
    role = aws.sts.role("session", json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}))
    status, text = check(start, aws.environment(), s3_role=role)
    assert status == 1 and "s3_role does not reach its sessions' prefix" in text


def test_credentials_that_are_not_narrow(start, account, monkeypatch):
    """As when a bucket policy names the role's sessions."""
    aws = account()
    role, whole = session_role(aws), aws.sts._session
    monkeypatch.setattr(aws.sts, "_session", lambda p: whole({k: v for k, v in p.items() if k != "Policy"}))
    status, text = check(start, aws.environment(), s3_role=role)
    assert status == 1 and "credentials of one session reach the prefix of another" in text


def test_nobody_answers(start, account):
    aws = account()
    closed = f"http://127.0.0.73:{free_port('127.0.0.73')}"
    status, text = check(start, {**aws.environment(), "AWS_ENDPOINT_URL": closed})
    assert status == 1 and text.count("class default: error: ") == 1


def test_somebody_is_there_and_silent(start, account):
    aws = account()
    aws.faults.add("HeadBucket", "hang", count=9)
    status, text = check(start, aws.environment())
    aws.faults.clear()
    assert status == 1 and "class default: error: no answer within 30 s; cure: " in text


def test_no_credentials(start, account):
    aws = account()
    status, text = check(start, {**aws.environment(), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    assert status == 1 and "credentials" in text


def test_no_account_is_asked_without_need(start):
    status, text = check(start, {"AWS_ENDPOINT_URL": "http://127.0.0.73:1"}, artifacts="")
    assert (status, text) == (0, "the configuration is fine\n")
