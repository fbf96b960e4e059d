"""Amazon ECS with tasks that are processes of this machine."""

import base64
import json
import re
import threading
import time

from aws.errors import AwsError
from aws.models import ACCOUNT, REGION
from aws.pace import Bucket
from aws.parse import utc_now
from aws.tasks import Task

STARTED_BY = re.compile(r"[A-Za-z0-9_/-]{1,36}")


def arn(kind, name):
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}"


class Ecs:
    def __init__(self, platform, faults, knobs):
        self.platform, self.faults, self.knobs = platform, faults, knobs
        self.clusters, self.definitions, self.programs = ["agents"], {}, {}
        self.subnets = []
        self.tasks = {}  # id → Task, also stopped ones
        self.tokens = {}  # (cluster, client token) → (request, tasks, when)
        self.lock = threading.RLock()
        rates = {"RunTask": (20, 20), "StopTask": (40, 100), "read": (20, 100), **knobs.ecs_rates}
        self.buckets = {name: Bucket(*rate) for name, rate in rates.items()}

    # ---- for the tests

    def define(self, family, program, stop_timeout=None, environment=None, name="executor", **members):
        """A task definition whose one container is `program` (argv)."""
        image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{family}:latest"
        self.programs[image] = [str(word) for word in program]
        container = {"name": name, "image": image, "cpu": 0, "essential": True,
                     "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
                     "environment": [{"name": k, "value": v} for k, v in (environment or {}).items()],
                     "mountPoints": [], "volumesFrom": []}
        if stop_timeout is not None:
            container["stopTimeout"] = stop_timeout
        revisions = self.definitions.setdefault(family, [])
        revisions.append({"taskDefinitionArn": arn("task-definition", f"{family}:{len(revisions) + 1}"),
                          "family": family, "revision": len(revisions) + 1, "networkMode": "awsvpc",
                          "status": "ACTIVE", "requiresCompatibilities": ["FARGATE"], "cpu": "256",
                          "memory": "512", "containerDefinitions": [container], **members})
        return f"{family}:{len(revisions)}"

    def alive(self):
        with self.lock:
            return [t for t in self.tasks.values() if not t.over]

    def of_session(self, session):
        with self.lock:
            return [t for t in self.tasks.values() if t.environment_of() == session]

    def close(self):
        self.platform.closing.set()
        for task in list(self.tasks.values()):
            task.stop("UserInitiated", "the stand-in ends")
            task.kill()
        for task in list(self.tasks.values()):
            task.thread.join(10)

    # ---- the API

    def RunTask(self, who, p):
        self.buckets["RunTask"].take("ecs")
        cluster, definition = self._cluster(p), self._definition(p["taskDefinition"], "TaskDefinition not found.")
        self._check_run(p, definition)
        with self.lock:
            known = self._known(cluster, p)
            if known is not None:
                return {"tasks": [self._task(t, tags=True) for t in known], "failures": []}
            fault = self.faults.take("RunTask", "capacity")
            if fault:
                return {"tasks": [], "failures": [{"reason": fault.details.get("reason", "RESOURCE:ENI")}]}
            tasks = [self._run(cluster, definition, p) for _ in range(p.get("count", 1))]
            if "clientToken" in p:
                self.tokens[cluster, p["clientToken"]] = (self._fingerprint(p), tasks, time.monotonic())
        return {"tasks": [self._task(t, tags=True) for t in tasks], "failures": []}

    def _run(self, cluster, definition, p):
        fault = self.faults.take("RunTask", "stuck", "start_fails")
        task = Task(self.platform, cluster, definition, p, self.programs, fault)
        self.tasks[task.id] = task
        task.thread.start()
        return task

    def _fingerprint(self, p):
        return json.dumps({k: v for k, v in p.items() if k != "clientToken"}, sort_keys=True)

    def _known(self, cluster, p):
        """The tasks that this client token already started."""
        found = self.tokens.get((cluster, p.get("clientToken")))
        if not found or time.monotonic() - found[2] > 24 * 3600:
            return None
        if found[0] != self._fingerprint(p):
            raise AwsError("ConflictException", "The request could not be processed because of conflict in the "
                           "current state of the resource.", resourceIds=[t.arn for t in found[1]])
        return found[1]

    def _check_run(self, p, definition):
        def refuse(text):
            raise AwsError("InvalidParameterException", text)

        if not 1 <= p.get("count", 1) <= 10:
            refuse("count must be between 1 and 10")
        if not STARTED_BY.fullmatch(p.get("startedBy", "x")):
            refuse("startedBy: up to 36 letters, numbers, hyphens, forward slashes, and underscores")
        if len(p.get("clientToken", "x")) > 64:
            refuse("clientToken: up to 64 characters")
        size = len(json.dumps(p.get("overrides", {}), separators=(",", ":"), ensure_ascii=False))
        if size > 8192:
            refuse(f"Container Overrides length must be at most 8192, it is {size}")
        names = [c["name"] for c in definition["containerDefinitions"]]
        for override in p.get("overrides", {}).get("containerOverrides", []):
            if override.get("name") not in names:
                refuse(f"Override for container named {override.get('name')} is not a container in the "
                       "TaskDefinition.")
        network = p.get("networkConfiguration", {}).get("awsvpcConfiguration")
        if not network:
            refuse("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        unknown = set(network["subnets"]) - {s["SubnetId"] for s in self.subnets}
        if unknown:
            refuse(f"Error retrieving subnet information for {sorted(unknown)}: The subnet ID does not exist")
        tags = p.get("tags", [])
        if len(tags) > 50 or len({t["key"] for t in tags}) < len(tags):
            refuse("up to 50 tags, each key once")

    def DescribeTasks(self, who, p):
        self.buckets["read"].take("ecs")
        cluster = self._cluster(p)
        if len(p["tasks"]) > 100 or not p["tasks"]:
            raise AwsError("InvalidParameterException", "Tasks must have between 1 and 100 identifiers.")
        found, failures = [], []
        for name in p["tasks"]:
            task = self._find(cluster, name)
            if task:
                found.append(self._task(task, "TAGS" in p.get("include", [])))
            else:
                full = name if name.startswith("arn:") else arn("task", f"{cluster}/{name}")
                failures.append({"arn": full, "reason": "MISSING"})
        return {"tasks": found, "failures": failures}

    def _find(self, cluster, name):
        task = self.tasks.get(name.rsplit("/", 1)[-1])
        if not task or task.cluster != cluster:
            return None
        now = utc_now()
        if (now - task.created).total_seconds() < self.knobs.missing_s:
            return None
        if task.stopped and (now - task.stopped).total_seconds() > self.knobs.retention_s:
            return None
        return task

    def ListTasks(self, who, p):
        self.buckets["read"].take("ecs")
        cluster = self._cluster(p)
        others = set(p) - {"cluster", "startedBy", "nextToken", "maxResults"}
        if "startedBy" in p and others:
            raise AwsError("InvalidParameterException", f"startedBy cannot be used together with {sorted(others)}")
        wanted = p.get("desiredStatus", "RUNNING")
        with self.lock:
            matching = [t for t in self.tasks.values()
                        if self._find(cluster, t.id) and t.desired == wanted
                        and p.get("startedBy") in (None, t.params.get("startedBy"))
                        and p.get("family") in (None, t.definition["family"])]
        try:
            first = int(base64.b64decode(p.get("nextToken", ""))) if "nextToken" in p else 0
        except ValueError:
            raise AwsError("InvalidParameterException", "Invalid token") from None
        last = first + min(p.get("maxResults", 100), self.knobs.list_page)
        answer = {"taskArns": [t.arn for t in matching[first:last]]}
        if last < len(matching):
            answer["nextToken"] = base64.b64encode(str(last).encode()).decode()
        return answer

    def StopTask(self, who, p):
        self.buckets["StopTask"].take("ecs")
        cluster = self._cluster(p)
        task = self.tasks.get(p["task"].rsplit("/", 1)[-1])
        if task and task.stopped and not self._find(cluster, p["task"]):
            task = None
        if not task or task.cluster != cluster:
            raise AwsError("InvalidParameterException", "The referenced task was not found.")
        task.tags = []
        task.stop("UserInitiated", p.get("reason", "Task stopped by user"))
        return {"task": self._task(task, tags=False)}

    def DescribeTaskDefinition(self, who, p):
        self.buckets["read"].take("ecs")
        return {"taskDefinition": self._definition(p["taskDefinition"], "Unable to describe task definition."),
                "tags": []}

    def DescribeClusters(self, who, p):
        self.buckets["read"].take("ecs")
        found, failures = [], []
        for name in p.get("clusters", ["default"]):
            short = name.rsplit("/", 1)[-1]
            if short in self.clusters:
                found.append({"clusterArn": arn("cluster", short), "clusterName": short, "status": "ACTIVE",
                              "runningTasksCount": len(self.alive()), "pendingTasksCount": 0,
                              "activeServicesCount": 0, "registeredContainerInstancesCount": 0,
                              "capacityProviders": ["FARGATE", "FARGATE_SPOT"]})
            else:
                failures.append({"arn": arn("cluster", short), "reason": "MISSING"})
        return {"clusters": found, "failures": failures}

    # ---- permissions

    def needs(self, action, p):
        """(action, resource, context) of all that the call takes (Service Authorization Reference)."""
        cluster = p.get("cluster", "default").rsplit("/", 1)[-1]
        context = {"ecs:cluster": arn("cluster", cluster)}
        if action == "RunTask":
            definition = self._definition(p["taskDefinition"], "TaskDefinition not found.")
            yield action, definition["taskDefinitionArn"], context
            if p.get("tags"):
                yield "ecs:TagResource", arn("task", f"{cluster}/{'0' * 32}"), {"ecs:CreateAction": "RunTask"}
            for role in ("taskRoleArn", "executionRoleArn"):
                if role in definition:
                    yield "iam:PassRole", definition[role], {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
        elif action in ("DescribeTasks", "StopTask"):
            for name in p.get("tasks", [p.get("task")]):
                yield action, arn("task", f"{cluster}/{name.rsplit('/', 1)[-1]}"), context
        elif action == "DescribeClusters":
            for name in p.get("clusters", ["default"]):
                yield action, arn("cluster", name.rsplit("/", 1)[-1]), {}
        else:
            yield action, "*", context

    # ---- names and documents

    def _cluster(self, p):
        name = p.get("cluster", "default").rsplit("/", 1)[-1]
        if name not in self.clusters:
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return name

    def _definition(self, name, message):
        family, _, revision = name.rsplit("/", 1)[-1].partition(":")
        revisions = self.definitions.get(family, [])
        number = int(revision) if revision.isdigit() else len(revisions)
        if not 1 <= number <= len(revisions):
            raise AwsError("ClientException", message)
        return revisions[number - 1]

    def _task(self, t, tags):
        p, d = t.params, t.definition
        document = {
            "taskArn": t.arn, "clusterArn": arn("cluster", t.cluster),
            "taskDefinitionArn": d["taskDefinitionArn"], "lastStatus": t.status, "desiredStatus": t.desired,
            "createdAt": t.created, "version": t.version, "group": p.get("group", f"family:{d['family']}"),
            "launchType": p.get("launchType", "FARGATE"), "platformVersion": "1.4.0", "platformFamily": "Linux",
            "cpu": d["cpu"], "memory": d["memory"], "availabilityZone": f"{REGION}a", "attributes": [],
            "enableExecuteCommand": p.get("enableExecuteCommand", False), "inferenceAccelerators": [],
            "attachments": [self._attachment(t)], "containers": [self._container(t, c)
                                                                 for c in d["containerDefinitions"]],
            "overrides": {"inferenceAcceleratorOverrides": [], **p.get("overrides", {})},
            "tags": t.tags if tags else [],
        }
        optional = {"startedBy": p.get("startedBy"), "stopCode": t.code, "stoppedReason": t.reason,
                    "startedAt": t.started, "stoppingAt": t.stopping, "stoppedAt": t.stopped}
        document.update({k: v for k, v in optional.items() if v is not None})
        return document

    def _attachment(self, t):
        subnet = t.params["networkConfiguration"]["awsvpcConfiguration"]["subnets"][0]
        details = [{"name": "subnetId", "value": subnet}]
        if t.address:
            details += [{"name": "networkInterfaceId", "value": f"eni-{t.id[:17]}"},
                        {"name": "macAddress", "value": "0a:00:00:00:00:01"},
                        {"name": "privateDnsName", "value": f"ip-{t.address.replace('.', '-')}.{REGION}.compute"
                                                            ".internal"},
                        {"name": "privateIPv4Address", "value": t.address}]
        status = "DELETED" if t.over else "ATTACHED" if t.address else "PRECREATED"
        return {"id": t.attachment, "type": "ElasticNetworkInterface", "status": status, "details": details}

    def _container(self, t, c):
        status = "PENDING" if t.status in ("PROVISIONING", "ACTIVATING") else t.status
        if t.exit_code is not None or t.over:
            status = "STOPPED"
        document = {"containerArn": arn("container", f"{t.cluster}/{t.id}/{t.attachment}"), "taskArn": t.arn,
                    "name": c["name"], "image": c["image"], "lastStatus": status, "healthStatus": "UNKNOWN",
                    "cpu": "0", "networkInterfaces": []}
        if t.address:
            document["networkInterfaces"] = [{"attachmentId": t.attachment, "privateIpv4Address": t.address}]
        if t.exit_code is not None:
            document["exitCode"] = t.exit_code
        if t.exit_reason:
            document["reason"] = t.exit_reason
        return document
