"""Elastic Load Balancing v2: its objects and calls. alb.py is the machine behind them."""

import base64
import ipaddress

from aws.errors import AwsError
from aws.models import ACCOUNT, REGION
from aws.pace import Bucket

ATTRIBUTES = {  # of a new target group of the type ip, as AWS sets them
    "deregistration_delay.timeout_seconds": "300", "stickiness.enabled": "true",
    "stickiness.type": "lb_cookie", "stickiness.lb_cookie.duration_seconds": "86400",
    "slow_start.duration_seconds": "0", "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
}
BALANCER_ATTRIBUTES = {"idle_timeout.timeout_seconds": "4000", "deletion_protection.enabled": "false",
                       "routing.http2.enabled": "true", "load_balancing.cross_zone.enabled": "true"}


def arn(kind, rest):
    return f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:{kind}/{rest}"


class Group:
    def __init__(self, number, name, listener, knobs, **attributes):
        self.number, self.name, self.listener = number, name, listener
        self.arn = arn("targetgroup", f"{name}/{number:016x}")
        self.attributes = {**ATTRIBUTES, **attributes}
        self.tags = {}
        self.knobs = knobs
        self.targets = {}  # (address, port) → alb.Target

    @property
    def random(self):
        return self.attributes["load_balancing.algorithm.type"] == "weighted_random"

    @property
    def sticky(self):
        return self.attributes["stickiness.enabled"] == "true"


class Elbv2:
    def __init__(self, alb, knobs, subnets):
        self.alb, self.knobs, self.subnets = alb, knobs, subnets
        self.name = "agents"
        self.arn = arn("loadbalancer", "app/agents/00000000000000a1")
        self.attributes = dict(BALANCER_ATTRIBUTES)
        rates = {"write": (4, 10), "read": (10, 40), **knobs.elb_rates}
        self.buckets = {name: Bucket(*rate) for name, rate in rates.items()}

    # ---- calls that change something

    def RegisterTargets(self, who, p):
        self.buckets["write"].take("elbv2")
        group = self._group(p)
        wanted = self._wanted(group, p)
        with self.alb.lock:
            if len(set(group.targets) | set(wanted)) > self.knobs.group_limit:
                raise AwsError("TooManyTargets", f"up to {self.knobs.group_limit} targets")
            for key in wanted:
                self.alb.register(group, key)
        return {}

    def DeregisterTargets(self, who, p):
        self.buckets["write"].take("elbv2")
        group = self._group(p)
        for key in self._wanted(group, p):
            self.alb.deregister(group, key)
        return {}

    def _wanted(self, group, p):
        if not p["Targets"]:
            raise AwsError("ValidationError", "At least one target must be specified")
        return [self._target(group, t) for t in p["Targets"]]

    def _target(self, group, t):
        try:
            address = ipaddress.ip_address(t["Id"])
            assert any(address in ipaddress.ip_network(s["CidrBlock"]) for s in self.subnets)
        except (ValueError, AssertionError):
            raise AwsError("InvalidTarget", f"The IP address '{t['Id']}' is not within a subnet of the VPC") from None
        if not 1 <= t.get("Port", 8080) <= 65535:
            raise AwsError("ValidationError", f"Port {t['Port']}")
        return t["Id"], t.get("Port", 8080)

    def AddTags(self, who, p):
        self.buckets["write"].take("elbv2")
        for name in p["ResourceArns"]:
            tags = self._tags(name)
            for tag in p["Tags"]:
                tags[tag["Key"]] = tag.get("Value", "")
        return {}

    # ---- calls that look

    def DescribeTargetHealth(self, who, p):
        self.buckets["read"].take("elbv2")
        group = self._group(p)
        with self.alb.lock:
            wanted = [(t["Id"], t.get("Port", 8080)) for t in p["Targets"]] if "Targets" in p else list(group.targets)
            return {"TargetHealthDescriptions": [self._health(group, key) for key in wanted]}

    def _health(self, group, key):
        target = group.targets.get(key)
        health = target.health() if target else {
            "State": "unused", "Reason": "Target.NotRegistered",
            "Description": "Target is not registered to the target group"}
        document = {"Target": {"Id": key[0], "Port": key[1]}, "TargetHealth": health}
        if target:
            document["Target"]["AvailabilityZone"] = f"{REGION}a"
            document["HealthCheckPort"] = str(key[1])
        return document

    def DescribeTargetGroups(self, who, p):
        self.buckets["read"].take("elbv2")
        groups = self.alb.groups
        if "TargetGroupArns" in p:
            groups = [self._group({"TargetGroupArn": name}) for name in p["TargetGroupArns"]]
        if "Names" in p:
            groups = [g for g in groups if g.name in p["Names"]]
        if p.get("LoadBalancerArn", self.arn) != self.arn:
            groups = []
        page, marker = self._page(groups, p)
        return {"TargetGroups": [self._group_document(g) for g in page], **marker}

    def _group_document(self, g):
        return {"TargetGroupArn": g.arn, "TargetGroupName": g.name, "Protocol": "HTTP", "Port": 8080,
                "VpcId": "vpc-1", "HealthCheckProtocol": "HTTP", "HealthCheckPort": "traffic-port",
                "HealthCheckEnabled": True, "HealthCheckIntervalSeconds": self.knobs.check_interval_told_s,
                "HealthCheckTimeoutSeconds": self.knobs.check_timeout_told_s,
                "HealthyThresholdCount": self.knobs.check_rise, "UnhealthyThresholdCount": self.knobs.check_fall,
                "HealthCheckPath": "/health", "Matcher": {"HttpCode": "200"}, "TargetType": "ip",
                "LoadBalancerArns": [self.arn] if g.listener is not None else [],
                "ProtocolVersion": "HTTP1", "IpAddressType": "ipv4"}

    def DescribeTargetGroupAttributes(self, who, p):
        self.buckets["read"].take("elbv2")
        return {"Attributes": [{"Key": k, "Value": v} for k, v in self._group(p).attributes.items()]}

    def DescribeLoadBalancers(self, who, p):
        self.buckets["read"].take("elbv2")
        if any(name != self.arn for name in p.get("LoadBalancerArns", [])):
            raise AwsError("LoadBalancerNotFound", "One or more load balancers not found")
        return {"LoadBalancers": [{
            "LoadBalancerArn": self.arn, "LoadBalancerName": self.name, "DNSName": self.alb.host,
            "CanonicalHostedZoneId": "Z1", "Scheme": "internal", "VpcId": "vpc-1", "Type": "application",
            "State": {"Code": "active"}, "IpAddressType": "ipv4", "SecurityGroups": ["sg-1"],
            "AvailabilityZones": [{"ZoneName": f"{REGION}a", "SubnetId": self.subnets[0]["SubnetId"]}]}]}

    def DescribeLoadBalancerAttributes(self, who, p):
        self.buckets["read"].take("elbv2")
        self.DescribeLoadBalancers(who, {"LoadBalancerArns": [p["LoadBalancerArn"]]})
        return {"Attributes": [{"Key": k, "Value": v} for k, v in self.attributes.items()]}

    def DescribeListeners(self, who, p):
        self.buckets["read"].take("elbv2")
        listeners = [x for x in self.alb.listeners if p.get("ListenerArns") is None or x.arn in p["ListenerArns"]]
        if p.get("LoadBalancerArn", self.arn) != self.arn:
            raise AwsError("LoadBalancerNotFound", "One or more load balancers not found")
        page, marker = self._page(listeners, p)
        return {"Listeners": [{"ListenerArn": x.arn, "LoadBalancerArn": self.arn, "Port": x.port,
                               "Protocol": x.protocol, "DefaultActions": [x.action()]} for x in page], **marker}

    def DescribeRules(self, who, p):
        self.buckets["read"].take("elbv2")
        rules = [r for x in self.alb.listeners if p.get("ListenerArn") in (None, x.arn) for r in x.rules()]
        if "RuleArns" in p:
            rules = [r for r in rules if r["RuleArn"] in p["RuleArns"]]
        elif not any(x.arn == p.get("ListenerArn") for x in self.alb.listeners):
            raise AwsError("ListenerNotFound", "One or more listeners not found")
        page, marker = self._page(rules, p)
        return {"Rules": page, **marker}

    def DescribeTags(self, who, p):
        self.buckets["read"].take("elbv2")
        if len(p["ResourceArns"]) > 20:
            raise AwsError("ValidationError", "You can describe the tags of up to 20 resources in a single call")
        return {"TagDescriptions": [{"ResourceArn": name, "Tags": [
            {"Key": k, "Value": v} for k, v in self._tags(name).items()]} for name in p["ResourceArns"]]}

    # ---- permissions

    def needs(self, action, p):
        """Looking has no permissions by resource (Service Authorization Reference)."""
        names = p["ResourceArns"] if action == "AddTags" else [p.get("TargetGroupArn")]
        for name in ["*"] if action.startswith("Describe") else names:
            tags = {} if name == "*" else self._tags(name)
            yield action, name, {f"aws:ResourceTag/{k}": v for k, v in tags.items()}

    # ---- names and pages

    def _group(self, p):
        for group in self.alb.groups:
            if group.arn == p["TargetGroupArn"]:
                return group
        raise AwsError("TargetGroupNotFound", "One or more target groups not found")

    def _tags(self, name):
        return self._group({"TargetGroupArn": name}).tags

    def _page(self, items, p):
        try:
            first = int(base64.b64decode(p["Marker"])) if "Marker" in p else 0
        except ValueError:
            raise AwsError("ValidationError", "the marker is none of ours") from None
        last = first + min(p.get("PageSize", 400), self.knobs.elb_page)
        marker = {"NextMarker": base64.b64encode(str(last).encode()).decode()} if last < len(items) else {}
        return items[first:last], marker
