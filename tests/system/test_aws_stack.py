"""contrib/aws as it stands: who reaches a task's port, what a task may, and who is who in the image."""

import re
import subprocess

import pytest
import yaml
from cleat_harness import BUILD, SOURCE


@pytest.fixture(scope="module")
def resources():
    return yaml.safe_load((SOURCE / "contrib/aws/cleat.yaml").read_text())["Resources"]


def test_a_tasks_port_is_open_to_the_load_balancer_and_the_coordinator_only(resources):
    rules = resources["TaskSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    sources = {rule["SourceSecurityGroupId"]["Fn::GetAtt"][0] for rule in rules}
    assert sources == {"LoadBalancerSecurityGroup", "CoordinatorSecurityGroup"}
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(8080, 8080)}
    assert not any("CidrIp" in rule for rule in rules)


def test_the_load_balancer_is_open_to_the_coordinator_only(resources):
    [rule] = resources["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"]["Fn::GetAtt"][0] == "CoordinatorSecurityGroup"
    assert resources["LoadBalancer"]["Properties"]["Scheme"] == "internal"


def test_a_task_may_nothing_by_itself(resources):
    role = resources["TaskRole"]["Properties"]
    assert "Policies" not in role and "ManagedPolicyArns" not in role


def test_parts_of_uploads_that_were_cut_off_go_away(resources):
    [rule] = resources["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled" and rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1


def test_the_image_keeps_server_and_user_code_apart():
    text = (SOURCE / "contrib/aws/Dockerfile").read_text()
    words = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    variables = dict(re.findall(r"\b(CLEAT_\w+)=(\S+)", words))
    assert variables["CLEAT_SANDBOX_UID"] == re.search(r"useradd --uid (\d+)", words)[1] != "0"
    assert not re.search(r"^USER ", words, re.M), "the server gives user code its uid: it starts as root"
    assert not re.search(r"AWS_|SECRET|TOKEN", words)


def strings(value, function=None):
    """Every string that is a value, with the function that it is given to."""
    if isinstance(value, str):
        yield function, value
    elif isinstance(value, list):
        for v in value:
            yield from strings(v, function)
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from strings(v, k if k == "Fn::Sub" else None)


def test_cloudformation_understands_it():
    """It refuses aliases, and replaces a loop's variable in keys, Ref and Fn::Sub alone."""
    text = (SOURCE / "contrib/aws/cleat.yaml").read_text()
    assert not any(isinstance(t, (yaml.AliasToken, yaml.AnchorToken)) for t in yaml.scan(text))
    template = yaml.safe_load(text)
    assert [v for function, v in strings(template) if "${" in v and function != "Fn::Sub"] == []
    references = [v for function, v in strings(template) if function == "Fn::Sub"]
    assert "SlotTargetGroup${Slot}" in references


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_image_holds_every_library_of_the_executor():
    text = (SOURCE / "contrib/aws/Dockerfile").read_text().split("debian:12-slim")[1]
    packages = re.search(r"--no-install-recommends install ((?:[^&\\]|\\\n)+)", text)[1].replace("\\", " ").split()
    assert "python3" in packages
    depends = said("dpkg-query", "-W", "-f", "${Depends}, ", *packages)
    there = {*packages, *re.findall(r"(?:^|, )([a-z0-9.+-]+)", depends)}
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", said("readelf", "-d", BUILD / "cleat-executor"))
    ours = [name for name in needed if not re.match(r"lib(asan|ubsan|c|m|gcc_s)\.", name)]
    assert len(ours) > 5
    for name in ours:
        assert said("dpkg", "-S", f"*/{name}").split(":")[0] in there, name
