"""The AWS stand-in itself, asked with botocore's own client: what the other tests rest on."""

import datetime
import http.client
import json
import os
import signal
import time
import urllib.error
import urllib.request

import botocore.exceptions
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import InstanceMetadataFetcher

from aws.models import ACCOUNT, REGION
from aws_harness import BUCKET, Aws
from cleat_harness import in_parallel, poll

ERROR = botocore.exceptions.ClientError


@pytest.fixture(scope="module")
def aws(module_start):
    return module_start.add(Aws(module_start.root / "aws", groups=2, part_minimum=8, copy_limit=100,
                                elb_rates={"write": (1000, 1000), "read": (1000, 1000)}).start())


@pytest.fixture(autouse=True)
def as_it_was(aws):
    yield
    for task in aws.ecs.alive():
        task.stop("UserInitiated", "a test is over")
    poll(lambda: not aws.ecs.alive(), 20, "the end of a test's tasks")
    aws.knobs.missing_s = 0.05
    left = [(f.action, f.kind) for f in aws.faults.waiting if f.left]
    aws.faults.clear()
    assert not left, f"these never went off: {left}"


def code_of(function, **params):
    with pytest.raises(ERROR) as failed:
        function(**params)
    return failed.value.response["Error"]["Code"]


def run_params(aws, **more):
    environment = [{"name": k, "value": v} for k, v in {
        "SESSION_ID": "s1", "CLEAT_SECRET": "ab" * 32, "CLEAT_LISTEN": "0.0.0.0:8080"}.items()]
    return {"cluster": "agents", "taskDefinition": "executor", "launchType": "FARGATE", "startedBy": "owner",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a1"]}},
            "tags": [{"key": "cleat:owner", "value": "owner"}],
            "overrides": {"containerOverrides": [{"name": "executor", "environment": environment}]}, **more}


def run(aws, **more):
    [task] = aws.client("ecs").run_task(**run_params(aws, **more))["tasks"]
    return task


def describe(aws, arn):
    answer = aws.client("ecs").describe_tasks(cluster="agents", tasks=[arn], include=["TAGS"])
    return answer["tasks"][0] if answer["tasks"] else None


def state(aws, arn, wanted):
    def there():
        task = describe(aws, arn)
        return task and task["lastStatus"] == wanted and task
    return poll(there, 10, f"{wanted}")


def signed(aws, body, target="RunTask", who=None, secret=None, change=lambda request: None, stamp=None,
           service="ecs"):
    """A request made by hand: status and document."""
    who = who or aws.coordinator
    headers = {"X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{target}",
               "Content-Type": "application/x-amz-json-1.1", "Host": aws.endpoint.address}
    request = AWSRequest("POST", aws.url + "/", headers, body)
    signer = SigV4Auth(Credentials(who.key, secret or who.secret, who.token), service, REGION)
    signer.add_auth(request)
    change(request)
    connection = http.client.HTTPConnection(aws.endpoint.address, timeout=10)
    connection.request("POST", "/", request.data, dict(request.headers.items()))
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)["__type"] if answer.status != 200 else json.loads(text)


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
    info = json.load(urllib.request.urlopen(f"http://{address}:8080/container-info", timeout=5))
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


def answers(address):
    try:
        return ask(f"http://{address}:8080")
    except OSError:
        return None


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


# ---- ELBv2 and the load balancer


def health(aws, group, **more):
    answer = aws.client("elbv2").describe_target_health(TargetGroupArn=group.arn, **more)
    return {d["Target"]["Id"]: d["TargetHealth"] for d in answer["TargetHealthDescriptions"]}


def ask(url, cookie=None, path="/container-info", headers=None):
    request = urllib.request.Request(url + path, headers={**({"Cookie": cookie} if cookie else {}), **(headers or {})})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer), [v.split(";")[0] for v in answer.headers.get_all("Set-Cookie", [])]


def two_targets(aws, group):
    arns = [run(aws)["taskArn"] for _ in range(2)]
    tasks = [aws.ecs.tasks[state(aws, arn, "RUNNING")["taskArn"].rsplit("/", 1)[-1]] for arn in arns]
    targets = [{"Id": t.address, "Port": 8080} for t in tasks]
    aws.client("elbv2").register_targets(TargetGroupArn=group.arn, Targets=targets)
    assert len(health(aws, group)) == 2
    poll(lambda: [h for h in health(aws, group).values()] == [{"State": "healthy"}] * 2, 10, "two healthy targets")
    poll(lambda: all(t.ready for t in aws.alb.targets()), 5, "both in rotation")
    return tasks, targets


def test_targets_cookies_and_silent_rerouting(aws):
    group, url = aws.groups[0], aws.alb.urls[0]
    tasks, targets = two_targets(aws, group)
    first, cookies = ask(url)
    assert [c.split("=")[0] for c in cookies] == ["AWSALB", "AWSALBCORS"]
    seen = {first["private_ip"]} | {ask(url)[0]["private_ip"] for _ in range(3)}
    assert len(seen) == 2, "no cookie: round robin"
    cookie = cookies[0]
    for _ in range(4):
        info, fresh = ask(url, cookie)
        assert info["private_ip"] == first["private_ip"] and fresh[0] not in cookies, "a fresh value sticks as well"
        cookie = fresh[0]
    holder = next(t for t in tasks if t.address == first["private_ip"])
    holder.kill()

    def elsewhere():
        try:
            return ask(url, cookie)[0]["private_ip"] != first["private_ip"]
        except OSError:
            return False
    poll(elsewhere, 10, "the silent re-route")
    assert health(aws, group)[first["private_ip"]]["Reason"] == "Target.FailedHealthChecks"
    aws.client("elbv2").deregister_targets(TargetGroupArn=group.arn, Targets=targets)
    assert {h["Reason"] for h in health(aws, group).values()} == {"Target.DeregistrationInProgress"}
    poll(lambda: not health(aws, group), 10, "the end of draining")
    gone = health(aws, group, Targets=targets[:1])[targets[0]["Id"]]
    assert (gone["State"], gone["Reason"]) == ("unused", "Target.NotRegistered")
    for t in tasks:
        aws.client("ecs").stop_task(cluster="agents", task=t.arn)
    aws.assert_clean()


def test_the_reasons_of_bad_health_and_failing_open(start):
    aws = start.add(Aws(start.root / "aws", check_interval_s=0.05, check_timeout_s=0.2).start())
    aws.define_plain("sick", "--health", 500)
    group = aws.groups[0]
    arn = run(aws, taskDefinition="sick")["taskArn"]
    task = aws.ecs.tasks[state(aws, arn, "RUNNING")["taskArn"].rsplit("/", 1)[-1]]
    target = {"Id": task.address, "Port": 8080}
    aws.client("elbv2").register_targets(TargetGroupArn=group.arn, Targets=[target])

    def reason():
        return health(aws, group)[task.address].get("Reason")
    poll(lambda: reason() == "Target.ResponseCodeMismatch", 10, "the mismatch")
    assert aws.alb.fails_open(group)
    poll(lambda: aws.alb.targets()[0].ready, 5, "failing open")
    assert ask(aws.alb.urls[0])[0]["session_id"] == "s1"
    os.kill(task.process.pid, signal.SIGSTOP)
    poll(lambda: reason() == "Target.Timeout", 10, "the time-out")
    os.kill(task.process.pid, signal.SIGKILL)
    poll(lambda: reason() == "Target.FailedHealthChecks", 10, "the refused connection")


def test_what_elbv2_says_of_itself(start):
    aws = start.add(Aws(start.root / "aws", groups=3, layout="header", elb_page=2).start())
    client = aws.client("elbv2")
    first = client.describe_target_groups()
    assert len(first["TargetGroups"]) == 2
    assert len(client.describe_target_groups(Marker=first["NextMarker"])["TargetGroups"]) == 1
    [group] = client.describe_target_groups(TargetGroupArns=[aws.groups[2].arn])["TargetGroups"]
    attributes = client.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])["Attributes"]
    assert {"Key": "stickiness.enabled", "Value": "true"} in attributes
    [balancer] = client.describe_load_balancers(LoadBalancerArns=group["LoadBalancerArns"])["LoadBalancers"]
    assert client.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])["Attributes"]
    [listener] = client.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    rules = client.describe_rules(ListenerArn=listener["ListenerArn"])
    assert len(rules["Rules"]) == 2 and "NextMarker" in rules
    assert rules["Rules"][0]["Conditions"][0]["HttpHeaderConfig"]["HttpHeaderName"] == "X-Cleat-Slot"
    client.add_tags(ResourceArns=[group["TargetGroupArn"]], Tags=[{"Key": "cleat:owner", "Value": "o"}])
    [tags] = client.describe_tags(ResourceArns=[group["TargetGroupArn"]])["TagDescriptions"]
    assert tags["Tags"] == [{"Key": "cleat:owner", "Value": "o"}]
    subnets = aws.client("ec2").describe_subnets(SubnetIds=["subnet-a1"])["Subnets"]
    assert subnets[0]["CidrBlock"].startswith("127.73.")
    assert code_of(aws.client("ec2").describe_subnets, SubnetIds=["subnet-x"]) == "InvalidSubnetID.NotFound"


def test_a_header_leads_to_its_group(start):
    aws = start.add(Aws(start.root / "aws", groups=2, layout="header").start())
    tasks, _ = two_targets(aws, aws.groups[1])
    info, _ = ask(aws.alb.urls[0], headers={"X-Cleat-Slot": "2"})
    assert info["private_ip"] in {t.address for t in tasks}
    for headers in ({"X-Cleat-Slot": "1"}, {}):
        with pytest.raises(urllib.error.HTTPError) as failed:
            ask(aws.alb.urls[0], headers=headers)
        assert failed.value.code == 503


def test_an_answer_that_takes_longer_than_the_idle_time(start):
    aws = start.add(Aws(start.root / "aws", idle_s=0.4).start())
    tasks, _ = two_targets(aws, aws.groups[0])
    for t in tasks:
        os.kill(t.process.pid, signal.SIGSTOP)
    with pytest.raises(urllib.error.HTTPError) as failed:
        ask(aws.alb.urls[0])
    assert (failed.value.code, failed.value.headers["Server"]) == (504, "awselb/2.0")
    for t in tasks:
        t.kill()
    poll(lambda: status_of(aws.alb.urls[0]) == 502, 5, "a refused connection")


def status_of(url):
    try:
        ask(url)
        return 200
    except urllib.error.HTTPError as e:
        return e.code


def test_writes_to_elbv2_are_throttled_early(start):
    aws = start.add(Aws(start.root / "aws", elb_rates={"write": (0.1, 2)}).start())
    client, target = aws.client("elbv2"), [{"Id": aws.subnets[0]["CidrBlock"].split("/")[0][:-1] + "9"}]
    for _ in range(2):
        client.register_targets(TargetGroupArn=aws.groups[0].arn, Targets=target)
    assert code_of(client.register_targets, TargetGroupArn=aws.groups[0].arn, Targets=target) == "Throttling"


# ---- S3


def test_objects(aws):
    s3 = aws.client("s3")
    keys = ["a b/ü+&.txt", "a/1", "a/2", "b/1"]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode(), ContentType="text/plain")
    got = s3.get_object(Bucket=BUCKET, Key=keys[0])
    assert got["Body"].read() == keys[0].encode() and got["ContentType"] == "text/plain"
    assert s3.head_object(Bucket=BUCKET, Key="a/1")["ContentLength"] == 3
    assert s3.get_object(Bucket=BUCKET, Key="a/1", Range="bytes=1-")["Body"].read() == b"/1"
    assert code_of(s3.get_object, Bucket=BUCKET, Key="none") == "NoSuchKey"
    assert code_of(s3.get_object, Bucket="none", Key="none") == "NoSuchBucket"
    s3.copy_object(Bucket=BUCKET, Key="c/1", CopySource={"Bucket": BUCKET, "Key": keys[0]})
    assert aws.bucket.read("c/1") == keys[0].encode() and aws.bucket.get("c/1").headers["ContentType"] == "text/plain"
    listed = s3.list_objects_v2(Bucket=BUCKET, Delimiter="/")
    assert [p["Prefix"] for p in listed["CommonPrefixes"]] == ["a b/", "a/", "b/", "c/"]
    aws.knobs.s3_page = 1
    try:
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="a"))
    finally:
        aws.knobs.s3_page = 1000
    assert [o["Key"] for page in pages for o in page["Contents"]] == keys[:3]
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a/1"}, {"Key": "a/2"}]})
    for key in [keys[0], "b/1", "c/1"]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    assert aws.bucket.keys() == []


def test_multipart_uploads(aws):
    s3 = aws.client("s3")
    where = {"Bucket": BUCKET, "Key": "big"}
    number = s3.create_multipart_upload(**where, ContentType="image/png")["UploadId"]
    s3.put_object(Bucket=BUCKET, Key="source", Body=b"0123456789" * 10)
    tags = [s3.upload_part(**where, UploadId=number, PartNumber=1, Body=b"01234567")["ETag"],
            s3.upload_part_copy(**where, UploadId=number, PartNumber=2, CopySource=f"{BUCKET}/source",
                                CopySourceRange="bytes=8-11")["CopyPartResult"]["ETag"]]
    parts = {"Parts": [{"PartNumber": n + 1, "ETag": tag} for n, tag in enumerate(tags)]}
    assert code_of(s3.complete_multipart_upload, **where, UploadId=number, MultipartUpload={
        "Parts": parts["Parts"][::-1]}) == "InvalidPartOrder"
    aws.faults.add("CompleteMultipartUpload", "error_in_200")
    with pytest.raises(ERROR):  # though the status is 200
        s3.complete_multipart_upload(**where, UploadId=number, MultipartUpload=parts)
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["big"]
    done = s3.complete_multipart_upload(**where, UploadId=number, MultipartUpload=parts)
    assert done["ETag"].endswith('-2"') and aws.bucket.read("big") == b"012345678901"
    assert aws.bucket.get("big").headers["ContentType"] == "image/png"
    other = s3.create_multipart_upload(**where)["UploadId"]
    tags = [s3.upload_part(**where, UploadId=other, PartNumber=n + 1, Body=b"x")["ETag"] for n in range(2)]
    assert code_of(s3.complete_multipart_upload, **where, UploadId=other, MultipartUpload={"Parts": [
        {"PartNumber": n + 1, "ETag": tag} for n, tag in enumerate(tags)]}) == "EntityTooSmall"
    s3.abort_multipart_upload(**where, UploadId=other)
    assert aws.s3.open_uploads() == []
    s3.put_object(Bucket=BUCKET, Key="too-big", Body=b"x" * 101)
    assert code_of(s3.copy_object, Bucket=BUCKET, Key="c", CopySource=f"{BUCKET}/too-big") == "InvalidRequest"


def test_bodies_must_be_what_was_signed(aws):
    request = AWSRequest("PUT", f"{aws.url}/{BUCKET}/k", {"Host": aws.endpoint.address}, b"good")
    S3SigV4Auth(Credentials(aws.coordinator.key, aws.coordinator.secret), "s3", REGION).add_auth(request)
    connection = http.client.HTTPConnection(aws.endpoint.address, timeout=10)
    connection.request("PUT", f"/{BUCKET}/k", b"evil", dict(request.headers.items()))
    answer = connection.getresponse()
    assert answer.status == 400 and b"XAmzContentSHA256Mismatch" in answer.read()
    connection.close()


# ---- credentials


def test_a_session_policy_confines_to_its_prefix(aws):
    role = aws.sts.role("sessions")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{BUCKET}/p/s1/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}",
         "Condition": {"StringLike": {"s3:prefix": ["p/s1/*"]}}}]})
    made = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="s1", Policy=policy,
                                         DurationSeconds=900)["Credentials"]
    who = aws.identities.by_key[made["AccessKeyId"]]
    assert who.secret == made["SecretAccessKey"] and made["Expiration"] > datetime.datetime.now(datetime.timezone.utc)
    s3 = aws.client("s3", who)
    s3.put_object(Bucket=BUCKET, Key="p/s1/x", Body=b"1")
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="p/s1/")["KeyCount"] == 1
    assert code_of(s3.list_objects_v2, Bucket=BUCKET, Prefix="p/") == "AccessDenied"
    assert code_of(s3.put_object, Bucket=BUCKET, Key="p/s2/x", Body=b"1") == "AccessDenied"
    assert code_of(s3.copy_object, Bucket=BUCKET, Key="p/s1/y", CopySource=f"{BUCKET}/p/s2/x") == "AccessDenied"
    assert code_of(s3.delete_object, Bucket=BUCKET, Key="p/s1/x") == "AccessDenied"
    assert code_of(aws.client("ecs", who).describe_clusters) == "AccessDeniedException"
    assert code_of(aws.client("sts").assume_role, RoleArn=role + "x", RoleSessionName="s1") == "AccessDenied"
    assert code_of(aws.client("sts").assume_role, RoleArn=role, RoleSessionName="s1",
                   Policy="{}") == "MalformedPolicyDocument"
    assert aws.client("sts", who).get_caller_identity()["Arn"].endswith("assumed-role/sessions/s1")


def test_web_identity_needs_no_signature(aws):
    role = aws.sts.role("web")
    aws.sts.web_tokens["jwt1"] = role
    client = aws.client("sts")
    made = client.assume_role_with_web_identity(RoleArn=role, RoleSessionName="s1", WebIdentityToken="jwt1")
    who = aws.identities.by_key[made["Credentials"]["AccessKeyId"]]
    assert aws.client("sts", who).get_caller_identity()["Account"] == ACCOUNT
    assert code_of(client.assume_role_with_web_identity, RoleArn=role, RoleSessionName="s1",
                   WebIdentityToken="other") == "InvalidIdentityToken"


def test_metadata_services(aws):
    aws.metadata.instance_role = ("host", f"arn:aws:sts::{ACCOUNT}:assumed-role/host/i-1")
    found = InstanceMetadataFetcher(base_url=aws.url + "/").retrieve_iam_role_credentials()
    assert aws.client("sts", aws.identities.by_key[found["access_key"]]).get_caller_identity()
    path, token = aws.metadata.container("arn:aws:sts::1:assumed-role/task/t")

    def credentials(authorization):
        request = urllib.request.Request(aws.url + path, headers={"Authorization": authorization})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    assert credentials(token)["AccessKeyId"] in aws.identities.by_key
    with pytest.raises(urllib.error.HTTPError):
        credentials("other")


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
