"""What `cleatd --check-config` says of target groups and their load balancer: each setting that
would hurt, with its cure."""

import os
import subprocess

import pytest

from aws_harness import BUCKET, account
from cleat_harness import BUILD


@pytest.fixture
def check(start):
    """The findings about target groups of a class with these options."""
    def run(aws, **values):
        options = {"artifacts": f"s3://{BUCKET}/artifacts", **aws.class_options(**values)}
        lines = [f"    {key} = " + ("{" + ", ".join(f'"{v}"' for v in value) + "}" if isinstance(value, list)
                                    else f'"{value}"') for key, value in options.items()]
        path = start.root / "checked.conf"
        path.write_text(f'state_dir = "{start.root}/none"\nclass default {{\n' + "\n".join(lines) + "\n}\n")
        result = subprocess.run([BUILD / "cleatd", "--check-config", "--config", path], text=True,
                                capture_output=True, timeout=100, env={**os.environ, **aws.environment()})
        said = [line for line in result.stdout.splitlines() if "target group agents" in line]
        assert result.returncode != 0 or not any(": error: " in line for line in said)
        return said
    return run


def fitting(start, **options):
    """An account without a finding."""
    aws = account(start, **options)
    for g in aws.groups:
        g.attributes["deregistration_delay.timeout_seconds"] = "20"
    aws.knobs.check_fall = 10
    return aws


def one(said, level, words):
    assert len(said) == 1 and f": {level}: " in said[0] and words in said[0], said


def test_nothing_to_say(start, check):
    aws = fitting(start, groups=2)
    assert check(aws, max_lifetime_s=3600) == []
    assert not aws.books.of("AddTags"), "it only looks"


def test_slots(start, check):
    """Pages of one: each listener's rules are found wherever they stand."""
    aws = fitting(start, groups=3, layout="header", elb_page=1)
    assert check(aws, mode="slot") == []
    said = check(aws, mode="slot", alb_header="X-Other")
    assert len(said) == 3 and "is for header X-Other with value 2" in said[1], said
    groups = [g.arn for g in aws.groups]
    said = check(aws, mode="slot", alb_target_groups=[groups[1], groups[0], groups[2]])
    assert len(said) == 2 and all("leads elsewhere" in line for line in said), said


@pytest.mark.parametrize("key, value, level, words", [
    ("stickiness.enabled", "false", "error", "stickiness is off"),
    ("stickiness.lb_cookie.duration_seconds", "600", "warning", "stickiness lapses after 600 s"),
    ("slow_start.duration_seconds", "60", "warning", "slow start of 60 s"),
    ("load_balancing.cross_zone.enabled", "false", "error", "cross-zone load balancing is off"),
    ("deregistration_delay.timeout_seconds", "300", "warning", "deregistration delay of 300 s"),
])
def test_attributes(start, check, key, value, level, words):
    aws = fitting(start, groups=2)
    aws.groups[1].attributes[key] = value
    said = check(aws, max_lifetime_s=3600)
    one(said, level, words)
    assert "agents-2" in said[0]


def test_the_rest(start, check):
    aws = fitting(start)
    aws.elb.attributes["idle_timeout.timeout_seconds"] = "60"
    one(check(aws), "warning", "504 after 60 s")
    aws.elb.attributes["idle_timeout.timeout_seconds"] = "4000"
    aws.knobs.check_fall = 2
    one(check(aws), "warning", "counts as dead after 20 s")
    aws.knobs.check_fall = 10
    aws.groups[0].tags["cleat:owner"] = "somebody"
    one(check(aws), "error", "belongs to owner somebody")
    one(check(aws, alb_target_groups=[aws.groups[0].arn.replace("agents-1", "agents-9")]), "error", "TargetGroupNotFound")
    aws.groups[0].tags["cleat:owner"] = "cleat"
    one(check(aws, alb_urls=["http://127.0.0.74:9"]), "error", "no listener on port 9")
