"""The AWS stand-in itself, asked with botocore's own client: what the other tests rest on."""

import datetime
import json
import time

import botocore.exceptions
import pytest

from aws.models import ACCOUNT, REGION
from aws_harness import BUCKET, Aws
from cleat_harness import in_parallel, poll
from standin_help import (  # noqa: F401 (fixtures)
    ERROR, answers, as_it_was, aws, code_of, describe, run, run_params, signed, state)

# ---- who calls, and with what


def test_signatures_are_recomputed(aws):
    fine = json.dumps({"clusters": ["agents"]})
    assert signed(aws, fine, "DescribeClusters")[0] == 200
    assert signed(aws, fine, "DescribeClusters", secret="another")[1] == "InvalidSignatureException"

    def another_body(request):
        request.data = fine.replace("agents", "others")
    assert signed(aws, fine, "DescribeClusters", change=another_body)[1] == "InvalidSignatureException"

    def unsigned_header(request):
        request.headers["x-amz-meta"] = "1"
    assert signed(aws, fine, "DescribeClusters", change=unsigned_header)[1] == "IncompleteSignatureException"

    unknown = aws.identities.add(key="AKIAUNKNOWN0000")
    del aws.identities.by_key[unknown.key]
    assert signed(aws, fine, "DescribeClusters", who=unknown)[1] == "UnrecognizedClientException"
    assert code_of(aws.client("elbv2", unknown).describe_load_balancers) == "InvalidClientTokenId"
    assert code_of(aws.client("s3", unknown).list_objects_v2, Bucket=BUCKET) == "InvalidAccessKeyId"


def test_tokens_expire_and_clocks_differ(aws):
    role = aws.identities.mint("arn:aws:sts::1:assumed-role/r/s", 60)
    assert aws.client("ecs", role).describe_clusters(clusters=["agents"])["clusters"]
    aws.identities.expire(role)
    assert code_of(aws.client("ecs", role).describe_clusters) == "ExpiredTokenException"
    assert code_of(aws.client("sts", role).get_caller_identity) == "ExpiredToken"
    assert code_of(aws.client("s3", role).list_objects_v2, Bucket=BUCKET) == "ExpiredToken"
    aws.identities.skew_s = 1000
    try:
        assert code_of(aws.client("s3").list_objects_v2, Bucket=BUCKET) == "RequestTimeTooSkewed"
        assert code_of(aws.client("elbv2").describe_load_balancers) == "SignatureDoesNotMatch"
    finally:
        aws.identities.skew_s = 0


@pytest.mark.parametrize("defect", [
    {"invented": 1}, {"count": "1"}, {"taskDefinition": None}, {"launchType": "MOON"}, {"count": 11},
    {"startedBy": "x" * 37}, {"startedBy": "a b"}, {"networkConfiguration": {}}, {"clientToken": "t" * 65},
    {"overrides": {"containerOverrides": [{"name": "other"}]}},
    {"overrides": {"containerOverrides": [{"name": "executor", "command": ["x" * 8192]}]}}])
def test_requests_that_the_model_or_ecs_forbids(aws, defect):
    params = {k: v for k, v in {**run_params(aws), **defect}.items() if v is not None}
    assert signed(aws, json.dumps(params)) == (400, "InvalidParameterException")
    assert not aws.ecs.alive()


def test_forms_are_checked(aws):
    client = aws.client("elbv2")
    assert code_of(client.register_targets, TargetGroupArn=aws.groups[0].arn, Targets=[]) == "ValidationError"
    assert code_of(client.describe_target_health, TargetGroupArn="arn:none") == "TargetGroupNotFound"
    assert code_of(client.register_targets, TargetGroupArn=aws.groups[0].arn,
                   Targets=[{"Id": "10.0.0.1"}]) == "InvalidTarget"


# ---- ECS


def test_a_task_walks_through_its_states(aws):
    aws.knobs.missing_s = 60
    arn = run(aws)["taskArn"]
    assert describe(aws, arn) is None, "eventual consistency"
    aws.knobs.missing_s = 0.05
    task = state(aws, arn, "RUNNING")
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    address = details["privateIPv4Address"]
    info, _ = poll(lambda: answers(address), 10, "its server")
    assert info["session_id"] == "s1" and task["startedBy"] == "owner"
    assert task["tags"] == [{"key": "cleat:owner", "value": "owner"}]
    assert isinstance(task["createdAt"], datetime.datetime)
    assert aws.client("ecs").list_tasks(cluster="agents", startedBy="owner")["taskArns"] == [arn]
    stopped = aws.client("ecs").stop_task(cluster="agents", task=arn, reason="test")["task"]
    assert stopped["desiredStatus"] == "STOPPED"
    assert aws.client("ecs").list_tasks(cluster="agents", startedBy="owner")["taskArns"] == []
    task = state(aws, arn, "STOPPED")
    assert (task["stopCode"], task["stoppedReason"], task["tags"]) == ("UserInitiated", "test", [])
    assert task["containers"][0]["exitCode"] == 0
    walk = [s for s, _ in aws.ecs.tasks[arn.rsplit("/", 1)[-1]].history]
    assert walk == ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING",
                    "DEPROVISIONING", "STOPPED"]
    again = state(aws, run(aws)["taskArn"], "RUNNING")
    assert again["attachments"][0]["details"][-1]["value"] == address, "the address is given again at once"
    aws.client("ecs").stop_task(cluster="agents", task=again["taskArn"])
    aws.assert_clean()


def test_client_tokens(aws):
    client = aws.client("ecs")
    first = run(aws, clientToken="token-1")
    assert run(aws, clientToken="token-1")["taskArn"] == first["taskArn"]
    with pytest.raises(ERROR) as failed:
        client.run_task(**run_params(aws, clientToken="token-1", startedBy="other"))
    assert failed.value.response["Error"]["Code"] == "ConflictException"
    assert failed.value.response["resourceIds"] == [first["taskArn"]]
    assert len(aws.ecs.alive()) == 1
    client.stop_task(cluster="agents", task=first["taskArn"])
    aws.assert_clean()


def test_a_task_that_ends_by_itself_or_by_spot(aws):
    for end, code, exit_code in ((lambda t: t.kill(), "EssentialContainerExited", 137),
                                 (aws.interrupt, "SpotInterruption", 0)):
        arn = run(aws)["taskArn"]
        state(aws, arn, "RUNNING")
        task = aws.ecs.tasks[arn.rsplit("/", 1)[-1]]
        poll(lambda: answers(task.address), 10, "its server")
        end(task)
        task = state(aws, arn, "STOPPED")
        assert (task["stopCode"], task["containers"][0]["exitCode"]) == (code, exit_code)


def test_names_that_ecs_does_not_know(aws):
    client = aws.client("ecs")
    assert code_of(client.run_task, **run_params(aws, cluster="x")) == "ClusterNotFoundException"
    assert code_of(client.run_task, **run_params(aws, taskDefinition="x")) == "ClientException"
    assert code_of(client.stop_task, cluster="agents", task="x") == "InvalidParameterException"
    assert code_of(client.list_tasks, cluster="agents", startedBy="o",
                   desiredStatus="STOPPED") == "InvalidParameterException"
    assert code_of(client.describe_tasks, cluster="agents", tasks=["x"] * 101) == "InvalidParameterException"
    failures = client.describe_tasks(cluster="agents", tasks=["x"])["failures"]
    assert failures == [{"arn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/agents/x", "reason": "MISSING"}]
    assert client.describe_clusters(clusters=["agents", "x"])["failures"][0]["reason"] == "MISSING"
    definition = client.describe_task_definition(taskDefinition="executor")["taskDefinition"]
    assert definition["containerDefinitions"][0]["stopTimeout"] == 10


def test_lists_come_in_pages_and_too_many_calls_are_throttled(start):
    aws = start.add(Aws(start.root / "aws", list_page=3, ecs_rates={"RunTask": (0.1, 7)}).start())
    params = run_params(aws, taskDefinition="plain")
    params["overrides"]["containerOverrides"][0]["name"] = "executor"
    for _ in range(7):
        aws.client("ecs").run_task(**params)
    assert code_of(aws.client("ecs").run_task, **params) == "ThrottlingException"
    client = aws.client("ecs")
    poll(lambda: len(aws.ecs.alive()) == 7 and all(t.status == "RUNNING" for t in aws.ecs.alive()), 20, "7 tasks")
    found, page, pages = [], {}, 0
    while True:
        answer = client.list_tasks(cluster="agents", startedBy="owner", **page)
        found, pages = found + answer["taskArns"], pages + 1
        if "nextToken" not in answer:
            break
        page = {"nextToken": answer["nextToken"]}
    assert (len(set(found)), pages) == (7, 3)


# ---- faults


def test_faults_on_the_wire(aws):
    client = aws.client("ecs")

    def call():
        return client.describe_clusters(clusters=["agents"])
    codes = {"throttle": "ThrottlingException", "500": "ServerException", "503": "ServiceUnavailable"}
    for kind, code in codes.items():
        aws.faults.add("DescribeClusters", kind)
        assert code_of(call) == code
    for kind in ("malformed", "truncated"):
        aws.faults.add("DescribeClusters", kind)
        assert "clusters" not in call()
    for kind in ("reset_before", "reset_after"):
        aws.faults.add("DescribeClusters", kind)
        with pytest.raises(botocore.exceptions.BotoCoreError):
            call()
    aws.faults.add("DescribeClusters", "hang", seconds=0.2)
    begin = time.monotonic()
    with pytest.raises(botocore.exceptions.BotoCoreError):
        call()
    assert time.monotonic() - begin >= 0.2
    aws.faults.add("DescribeClusters", "error", code="AccessDeniedException", after=1)
    assert call()["clusters"]
    assert code_of(call) == "AccessDeniedException"
    assert call()["clusters"]


def test_a_reset_comes_before_or_after_the_effect(aws):
    for kind, tasks in (("reset_before", 0), ("reset_after", 1)):
        aws.faults.add("RunTask", kind)
        with pytest.raises(botocore.exceptions.BotoCoreError):
            run(aws)
        assert len(aws.ecs.alive()) == tasks
    aws.client("ecs").stop_task(cluster="agents", task=aws.ecs.alive()[0].arn)
    aws.assert_clean()


def test_tasks_that_do_not_start(aws):
    client = aws.client("ecs")
    aws.faults.add("RunTask", "capacity", reason="Capacity is unavailable at this time.")
    answer = client.run_task(**run_params(aws))
    assert (answer["tasks"], answer["failures"]) == ([], [{"reason": "Capacity is unavailable at this time."}])
    aws.faults.add("RunTask", "start_fails")
    task = state(aws, run(aws)["taskArn"], "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart" and "CannotPullContainer" in task["stoppedReason"]
    aws.faults.add("RunTask", "stuck")
    arn = run(aws)["taskArn"]
    assert state(aws, arn, "PENDING")["attachments"][0]["details"]
    client.stop_task(cluster="agents", task=arn)
    state(aws, arn, "STOPPED")


def test_books(aws):
    mark = aws.books.mark()
    in_parallel(lambda n: aws.client("ecs").describe_tasks(cluster="agents", tasks=["x"]), range(3), 3)
    aws.client("elbv2").describe_load_balancers()
    code_of(aws.client("ecs").stop_task, cluster="agents", task="x")
    assert aws.books.control(mark) == (2, 3)
    assert [c.outcome for c in aws.books.of("StopTask", since=mark)] == ["InvalidParameterException"]
