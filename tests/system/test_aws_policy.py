"""Least privilege: the roles of contrib/aws suffice for all that cleat does, and allow no more calls
than it makes."""

import json
import re
import subprocess

import pytest
import yaml

from aws.models import ACCOUNT, REGION
from aws_harness import BUCKET, account, daemon
from cleat_harness import BUILD, SOURCE, ApiError, in_parallel

NAMES = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "Owner": "cleat",
         "Cluster": "agents", "Bucket": BUCKET}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
ARNS = {"Bucket": f"arn:aws:s3:::{BUCKET}", "Cluster": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/agents",
        **{name: ROLE + name for name in ("SessionRole", "TaskRole", "ExecutionRole", "CoordinatorRole")}}


def resolved(value):
    """With CloudFormation's functions replaced by what they give in this account."""
    if isinstance(value, list):
        return [resolved(v) for v in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return NAMES[value["Ref"]]
    if set(value) == {"Fn::GetAtt"}:
        name, attribute = value["Fn::GetAtt"]
        assert attribute == "Arn"
        return ARNS[name]
    if set(value) == {"Fn::Sub"}:
        return re.sub(r"\$\{([A-Za-z:]+)(\.Arn)?\}", lambda m: (ARNS if m[2] else NAMES)[m[1]], value["Fn::Sub"])
    return {k: resolved(v) for k, v in value.items()}


@pytest.fixture(scope="module")
def resources():
    return yaml.safe_load((SOURCE / "contrib/aws/cleat.yaml").read_text())["Resources"]


def coordinator_policy(resources):
    return resolved(resources["CoordinatorPolicy"]["Properties"]["PolicyDocument"])


def session_policy(resources):
    [policy] = resources["SessionRole"]["Properties"]["Policies"]
    return resolved(policy["PolicyDocument"])


def slot_group(resources):
    [group] = resources["Fn::ForEach::SlotGroups"][2].values()
    return group


def actions(document):
    return {a for s in document["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}


@pytest.fixture
def aws(start, resources):
    aws = account(start, groups=2, layout="header", coordinator_policy=json.dumps(coordinator_policy(resources)))
    aws.ecs.define("cleat-executor", [BUILD / "cleat-executor"], 120, {"CLEAT_SANDBOX": "none"},
                   taskRoleArn=ARNS["TaskRole"], executionRoleArn=ARNS["ExecutionRole"])
    aws.role_policies.append({"Version": "2012-10-17", "Statement": []})  # the task role may nothing
    assert aws.sts.role("SessionRole", json.dumps(session_policy(resources))) == ARNS["SessionRole"]
    for group in aws.groups:
        group.tags.update({t["Key"]: resolved(t["Value"]) for t in slot_group(resources)["Properties"]["Tags"]})
    return aws


def test_the_roles_suffice_and_no_call_is_allowed_in_vain(start, aws, resources):
    for name in ("one", "two"):
        aws.bucket.put(f"inputs/{name}", name.encode())
    options = {"template": aws.template("cleat-executor"), "s3_role": ARNS["SessionRole"],
               "artifacts": f"s3://{BUCKET}/sessions", "input_sources": [f"*=s3://{BUCKET}/inputs"],
               "exec_timeout_s": 60}
    cleatd = daemon(start, aws, options={"owner": "cleat"}, mode="slot", **options)
    api = cleatd.api
    checked = subprocess.run([cleatd.program, "--config", cleatd.config_path, "--check-config"], text=True,
                             env=aws.environment(), capture_output=True, timeout=60)
    assert "denied" not in checked.stderr.lower() + checked.stdout.lower(), checked
    ids = [s["session_id"] for s in in_parallel(
        lambda n: api.ready(user=f"u{n}", input=f"s3://{BUCKET}/inputs"), range(2))]
    for i in ids:
        api.execute(i, "open('artifacts/kept', 'w').write('kept')\n"
                       "open('artifacts/big', 'wb').write(bytes(9 << 20))")
    for over in in_parallel(api.close, ids):
        assert {c["result"] for c in over["cleanup"]} == {"ok"}, over
        assert aws.bucket.read(f"sessions/{over['session_id']}/artifacts/kept") == b"kept"
    denied = [c for c in aws.books.calls if "Denied" in c.outcome or c.outcome == "UnauthorizedOperation"]
    [probe] = denied
    assert probe.params["Prefix"] == "sessions/cleat-check-other/", "the check tries what must not work"

    prefixes = {"ecs": "ecs", "elbv2": "elasticloadbalancing", "sts": "sts", "ec2": "ec2"}
    made = {f"{prefixes[c.service]}:{c.action}" for c in aws.books.calls if c.service in prefixes}
    allowed = {a for a in actions(coordinator_policy(resources)) if a.split(":")[0] in prefixes.values()}
    assert allowed - made - {"ecs:TagResource"} == set(), "allowed, and never used"


def test_a_group_of_another_owner_is_out_of_reach(start, aws):
    """By cleat's own word, which reads the tag; and by the policy, were it to try."""
    aws.groups[0].tags["cleat:owner"] = "somebody-else"
    api = daemon(start, aws, options={"owner": "cleat"}, template=aws.template("cleat-executor"),
                 alb_target_groups=[aws.groups[0].arn], artifacts="", create_timeout_s=5).api
    with pytest.raises(ApiError):
        api.ready()
    assert not aws.alb.targets()
    with pytest.raises(Exception, match="AccessDenied"):
        aws.client("elbv2").register_targets(TargetGroupArn=aws.groups[0].arn, Targets=[{"Id": "127.0.0.1"}])


def test_a_group_without_an_owner_is_out_of_reach(aws):
    group = aws.groups[0]
    group.tags.clear()
    client, targets = aws.client("elbv2"), [{"Id": "127.0.0.1"}]
    for change in (lambda: client.register_targets(TargetGroupArn=group.arn, Targets=targets),
                   lambda: client.deregister_targets(TargetGroupArn=group.arn, Targets=targets),
                   lambda: client.add_tags(ResourceArns=[group.arn], Tags=[{"Key": "cleat:owner", "Value": "cleat"}])):
        with pytest.raises(Exception, match="AccessDenied"):
            change()
