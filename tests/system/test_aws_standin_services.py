"""The AWS stand-in's load balancer, S3 and sources of credentials, asked with botocore's client."""

import datetime
import http.client
import json
import os
import signal
import urllib.error
import urllib.request

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import InstanceMetadataFetcher

from aws.models import ACCOUNT, REGION
from aws_harness import BUCKET, Aws
from cleat_harness import poll
from standin_help import (  # noqa: F401 (fixtures)
    ERROR, as_it_was, ask, aws, code_of, health, run, state, status_of, two_targets)

# ---- ELBv2 and the load balancer


def test_targets_cookies_and_silent_rerouting(aws, monkeypatch):
    monkeypatch.setattr(aws.knobs, "drain_s", 5)  # seen to drain on a busy machine, too
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
