"""cleatd --check-config with classes of runtime ecs: the example of etc with an account that has what
it names, and accounts that lack something."""

import json
import re

import pytest

from aws import policy
from aws.models import ACCOUNT, REGION
from aws_harness import Aws
from cleat_harness import HERE
from test_config import cleatd

ETC = HERE.parents[1] / "etc"


@pytest.fixture(scope="module")
def aws(module_start):
    """What etc/cleatd-ecs.conf and etc/ecs-task.json name, but for the target groups' ARNs."""
    made = module_start.add(Aws(module_start.root / "aws", groups=4, layout="header", stop_timeout=120,
                                elb_rates={"read": (100, 100)}).start())
    made.ecs.clusters.append("cleat")
    made.ecs.definitions["cleat-executor"] = made.ecs.definitions["executor"]
    subnets = json.loads((ETC / "ecs-task.json").read_text())["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    for zone, name in zip("ab", subnets):
        made.subnets.append({**made.subnets[0], "SubnetId": name, "AvailabilityZone": REGION + zone})
    made.s3.bucket("cleat-artifacts")
    made.s3.bucket("cleat-input")
    made.sts.role("cleat-session")
    return made


def check(aws, path, text, identity=None):
    path.write_text(text)
    result = cleatd("--check-config", "--config", path, **aws.environment(identity))
    assert result.stderr == "", result.stderr
    return result.returncode, result.stdout.splitlines()


def one_class(aws, tmp_path, identity=None, **values):
    options = {**aws.class_options(balancer="direct"), "sandbox": "none", "artifacts": "", **values}
    lines = [f'{k} = "{v}"' for k, v in options.items()]
    return check(aws, tmp_path / "c.conf", f'state_dir = "{tmp_path}/state"\nclass c {{\n' + "\n".join(lines) + "\n}\n",
                 identity)


def test_the_example(aws, tmp_path):
    text = (ETC / "cleatd-ecs.conf").read_text()
    text = text.replace("/etc/cleat/ecs-task.json", str(ETC / "ecs-task.json"))
    text = text.replace("123456789012", ACCOUNT).replace("https://agents.example.com", aws.alb.urls[0])
    groups = iter(aws.groups[-1:] + aws.groups)  # the first is the shared class's
    text = re.sub(r'"arn:aws:elasticloadbalancing:[^"]*"', lambda _: f'"{next(groups).arn}"', text)
    status, said = check(aws, tmp_path / "c.conf", text)
    assert status == 0 and said[-1] == "the configuration works", said
    assert all(re.search("health check|deregistration", line) for line in said[:-1]), said


def test_nothing_is_launched_by_a_check(aws):
    assert not aws.ecs.tasks


@pytest.mark.parametrize("values, words", [
    ({"ecs_cluster": "none"}, "cluster none does not exist; cure: set ecs_cluster"),
    ({"ecs_container": "other"}, "has no container other; cure: set ecs_container"),
    ({"port": 9999}, "maps no port 9999"),
    ({"sandbox": "bwrap"}, "no user namespaces; cure: set sandbox to none"),
])
def test_a_class_that_does_not_fit(aws, tmp_path, values, words):
    status, said = one_class(aws, tmp_path, **values)
    assert any(words in line for line in said), said
    assert status == (0 if "port" in values else 1)


@pytest.mark.parametrize("members, words", [
    ({"taskDefinition": "nobody"}, "Unable to describe task definition"),
    ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-none"]}}}, "subnet-none"),
    ({"launchType": None, "capacityProviderStrategy": [{"capacityProvider": "MINE"}]}, "no capacity provider MINE"),
    ({"overrides": {"containerOverrides": [{"name": "executor", "environment": [
        {"name": "BIG", "value": "x" * 8000}]}]}}, "8192"),
    ({"family": "x"}, 'RunTask knows no member "family"'),
])
def test_a_template_that_does_not_fit(aws, tmp_path, members, words):
    template = aws.template(name="odd.json", **members)
    document = {k: v for k, v in json.loads(template.read_text()).items() if v is not None}
    template.write_text(json.dumps(document))
    status, said = one_class(aws, tmp_path, ecs_task=template)
    assert status == 1 and any(words in line for line in said), said


def test_a_task_definition_that_does_not_fit(aws, tmp_path):
    aws.ecs.define("odd", ["/bin/false"], 20, {"CLEAT_SECRET": "x"}, networkMode="bridge")
    status, said = one_class(aws, tmp_path, ecs_task=aws.template("odd", name="odd.json"),
                             artifacts="s3://cleat-artifacts/x")
    assert status == 1
    for words in ("no address of their own", "sets CLEAT_SECRET", "nothing gives the container credentials",
                  "has 20 s for its upload"):
        assert any(words in line for line in said), (words, said)


def test_few_addresses(aws, tmp_path):
    aws.subnets[0]["AvailableIpAddressCount"] = 7
    try:
        status, said = one_class(aws, tmp_path)
    finally:
        aws.subnets[0]["AvailableIpAddressCount"] = 4000
    assert status == 0 and any("7 free addresses" in line for line in said), said


def test_what_may_not_be_read(aws, tmp_path):
    """Only the check needs these permissions: sessions do without."""
    who = aws.identities.add(policies=[policy.parse(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ecs:RunTask", "Resource": "*"}]}))])
    status, said = one_class(aws, tmp_path, identity=who)
    assert status == 0
    assert sum("allow ecs:Describe" in line or "allow ec2:Describe" in line for line in said) == 3, said


def test_nobody_answers(aws, tmp_path):
    aws.faults.add("DescribeClusters", "500", count=9)
    status, said = one_class(aws, tmp_path)
    aws.faults.clear()
    assert status == 1 and any("DescribeClusters" in line for line in said), said
