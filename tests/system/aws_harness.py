"""The AWS stand-in as tests use it, and what cleatd must be told to work with it."""

import fcntl
import json
import os
import pathlib
import subprocess
import tempfile
import types

import botocore.config

from aws import policy
from aws.alb import Alb
from aws.books import Books
from aws.ec2 import Ec2
from aws.ecs import Ecs
from aws.elbv2 import Elbv2, Group
from aws.faults import Faults
from aws.imds import Metadata
from aws.models import ACCOUNT, REGION, session
from aws.s3 import S3
from aws.server import Endpoint
from aws.sign import Identities
from aws.sts import Sts
from aws.tasks import Addresses, Platform
from cleat_harness import BUILD, HERE, PYTHON, SANITIZER_MARKS, poll

ENDPOINT_HOST, ALB_HOST = "127.0.0.73", "127.0.0.74"
BUCKET = "agents-artifacts"

# AWS's times, scaled so that a test takes seconds.
KNOBS = {
    "state_s": 0.03,  # each state of a task that is not RUNNING
    "missing_s": 0.05,  # DescribeTasks after RunTask: MISSING
    "retention_s": 3600,  # a stopped task is described
    "stop_scale": 1.0,  # of stopTimeout
    "list_page": 100, "elb_page": 400, "s3_page": 1000,
    "ecs_rates": {}, "elb_rates": {},  # name → (per second, burst)
    "group_limit": 1000,
    "registration_s": 0.05, "check_interval_s": 0.4, "check_timeout_s": 1.0, "check_rise": 2, "check_fall": 2,
    "check_interval_told_s": 10, "check_timeout_told_s": 5,
    "drain_s": 0.6,  # how long a deregistered target is draining
    "linger_s": 0.15,  # and how long it gets traffic of that
    "idle_s": 60,  # the load balancer's idle time-out
    "credential_life_s": None,  # of credentials handed out; None: as asked for
    "copy_limit": 5 << 30, "put_limit": 5 << 30, "part_minimum": 5 << 20,
}


def network():
    """A /20 of 127.73.0.0/16 that no other test run on this machine uses."""
    for slot in range(16):
        f = open(os.path.join(tempfile.gettempdir(), f"cleat-tests-127.73.{slot * 16}.lock"), "w")
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return f, f"127.73.{slot * 16}.0"
        except OSError:
            f.close()
    raise AssertionError("all sixteen address ranges are in use: is another test run stuck?")


class Aws:
    """One account: cluster "agents", task definitions "executor" and "plain", `groups` target groups
    behind a HAProxy, a bucket. layout, nodes, balance, group_attributes: the load balancer's. Other words are KNOBS."""

    def __init__(self, root, groups=1, layout="listeners", nodes=1, balance="round_robin", addresses=96,
                 role_policy=None, coordinator_policy=None, stop_timeout=10, certificate=None, clean=False, group_attributes=None,
                 **knobs):
        self.root, self.clean = pathlib.Path(root), clean
        self.root.mkdir(parents=True, exist_ok=True)
        self.knobs = types.SimpleNamespace(**{**KNOBS, **knobs})
        assert set(vars(self.knobs)) == set(KNOBS), f"no such knobs: {set(knobs) - set(KNOBS)}"
        self.slot, net = network()
        self.subnets = [self._subnet("subnet-a1", f"{net}/20")]
        self.faults, self.books, self.identities = Faults(), Books(), Identities()
        policies = [policy.parse(coordinator_policy)] if coordinator_policy else []
        self.coordinator = self.identities.add(policies=policies)
        self.metadata = Metadata(self.identities, self.faults, self.books, self.knobs)
        self.role_policies = [policy.parse(role_policy)] if role_policy else []
        self.s3 = S3(self.root / "s3", self.faults, self.knobs)
        self.bucket = self.s3.bucket(BUCKET)
        self.platform = Platform(self.root / "tasks", Addresses(net, addresses), self.knobs, self._engine)
        self.ecs = Ecs(self.platform, self.faults, self.knobs)
        self.ecs.subnets = self.subnets
        self.sts = Sts(self.identities, self.knobs)
        attributes = {"load_balancing.algorithm.type": "weighted_random" if balance == "random" else "round_robin",
                      **(group_attributes or {})}
        self.groups = [Group(n + 1, f"agents-{n + 1}", None, self.knobs, **attributes) for n in range(groups)]
        self.alb = Alb(self.root / "alb", self.groups, self.knobs, layout, nodes=nodes, host=ALB_HOST,
                       certificate=certificate)
        self.elb = Elbv2(self.alb, self.knobs, self.subnets)
        self.endpoint = Endpoint(ENDPOINT_HOST, self.identities, self.faults, self.books, {
            "ecs": self.ecs, "elbv2": self.elb, "s3": self.s3, "sts": self.sts, "ec2": Ec2(self.subnets)},
            self.metadata)
        self.url = self.endpoint.url
        self._define(stop_timeout)

    def _subnet(self, name, cidr):
        return {"SubnetId": name, "CidrBlock": cidr, "AvailabilityZone": f"{REGION}a", "VpcId": "vpc-1",
                "AvailableIpAddressCount": 4000, "State": "available", "OwnerId": ACCOUNT}

    def _define(self, stop_timeout):
        self.ecs.define("executor", [BUILD / "cleat-executor"], stop_timeout, {"CLEAT_SANDBOX": "none"})
        self.plain_directory = self.root / "plain"
        self.plain_directory.mkdir()
        self.define_plain("plain")

    def define_plain(self, family, *options):
        return self.ecs.define(family, [PYTHON, HERE / "plain_container.py", "--dir", self.plain_directory,
                                        *options], 2)

    def _engine(self, task):
        """What ECS itself puts into a container's environment, and what stands for its network."""
        path, token = self.metadata.container(
            f"arn:aws:sts::{ACCOUNT}:assumed-role/task/{task.id}", self.role_policies)
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + path,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": token, "AWS_ENDPOINT_URL": self.url,
                "AWS_REGION": REGION, "ASAN_OPTIONS": "detect_leaks=0"}

    def start(self):
        self.alb.start()
        return self

    def stop(self):
        """Ends what is there; with `clean` nothing may be."""
        try:
            if self.clean:
                self.assert_clean()
        finally:
            self.ecs.close()
            self.alb.stop()
            self.endpoint.close()
            self.slot.close()
        self.check_sanitizers()
        assert not self.alb.complaints, self.alb.complaints

    # ---- what cleatd is told

    def environment(self, identity=None):
        """Of a process that calls AWS: nothing but this account exists for it."""
        who = identity or self.coordinator
        made = {"AWS_ACCESS_KEY_ID": who.key, "AWS_SECRET_ACCESS_KEY": who.secret, "AWS_REGION": REGION,
                "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
        return {**made, "AWS_SESSION_TOKEN": who.token} if who.token else made

    def template(self, definition="executor", name="task.json", **members):
        path = self.root / name
        path.write_text(json.dumps({
            "taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": {
                "awsvpcConfiguration": {"subnets": [self.subnets[0]["SubnetId"]], "assignPublicIp": "DISABLED"}},
            **members}))
        return path

    def class_options(self, balancer="alb", mode="shared", template=None, **values):
        """Options of a class that runs here."""
        options = {"runtime": "ecs", "balancer": balancer, "ecs_cluster": "agents",
                   "ecs_task": template or self.template(), "ecs_container": "executor",
                   "artifacts": f"s3://{BUCKET}/artifacts"}
        if balancer == "alb":
            options |= {"alb_mode": mode, "alb_target_groups": [g.arn for g in self.groups],
                        "alb_urls": self.alb.urls, "cookies": ["AWSALB*"]}
            if self.alb.listeners[0].header:
                options["alb_header"] = self.alb.listeners[0].header
        return {**options, **values}

    def client(self, service, identity=None):
        """botocore's own client for it, without retries."""
        who = identity or self.coordinator
        return session().create_client(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id=who.key,
            aws_secret_access_key=who.secret, aws_session_token=who.token,
            config=botocore.config.Config(retries={"max_attempts": 0}, parameter_validation=False, read_timeout=20,
                                          s3={"addressing_style": "path"}))

    # ---- what is there

    def task_of(self, session_id):
        return self.ecs.of_session(session_id)[-1]

    def left(self):
        return {"tasks": [t.id for t in self.ecs.alive()],
                "targets": [t.key for t in self.alb.targets("initial", "healthy", "unhealthy")],
                "uploads": self.s3.open_uploads()}

    def assert_clean(self, timeout=20):
        poll(lambda: not any(self.left().values()), timeout, f"nothing left (now {self.left()})")

    def interrupt(self, task, notice_s=0.3):
        """A Spot interruption: SIGTERM, and after the notice the end."""
        task.definition = {**task.definition, "containerDefinitions": [
            {**c, "stopTimeout": notice_s} for c in task.definition["containerDefinitions"]]}
        task.stop("SpotInterruption", "Your Spot Task was interrupted.")

    def check_sanitizers(self):
        for path in (self.root / "tasks").glob("*.log"):
            text = path.read_text(errors="replace")
            assert not any(m in text for m in SANITIZER_MARKS), f"{path}:\n{text[-4000:]}"


def certificate(root, name):
    """A file with key and certificate of this name, which is its own authority."""
    path = pathlib.Path(root) / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
                    "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    with open(path, "a") as f:
        f.write(pathlib.Path(f"{path}.crt").read_text())
    return path


def program_that_knows(root, **names):
    """A cleatd for which these names have these addresses (and no name server is asked)."""
    hosts, script = pathlib.Path(root) / "hosts", pathlib.Path(root) / "named-cleatd"
    hosts.write_text("".join(f"{address} {name.replace('_', '.')}\n" for name, addresses in names.items()
                             for address in addresses))
    script.write_text("#!/bin/sh\nexec unshare -m sh -c 'mount --bind \"$0\" /etc/hosts && exec \"$@\"' "
                      f"{hosts} {BUILD / 'cleatd'} \"$@\"\n")
    script.chmod(0o755)
    return script


def account(start, **options):
    """An account of this test alone, which must be clean at its end."""
    return start.add(Aws(start.root / "aws", **{"clean": True, **options}).start())


def daemon(start, aws, environment=None, options=None, classes=None, **values):
    """A cleatd that works there. values: options of its class."""
    start.last = start.cleatd(environment={**aws.environment(), **(environment or {})},
                              classes=classes or {"default": aws.class_options(**values)}, **(options or {}))
    return start.last
