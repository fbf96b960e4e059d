"""What the tests of the AWS stand-in share."""

import http.client
import json
import urllib.error
import urllib.request

import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aws.models import REGION
from aws_harness import Aws
from cleat_harness import poll

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


def signed(aws, body, target="RunTask", who=None, secret=None, change=lambda request: None,
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


def answers(address):
    try:
        return ask(f"http://{address}:8080")
    except OSError:
        return None


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


def status_of(url):
    try:
        ask(url)
        return 200
    except urllib.error.HTTPError as e:
        return e.code
