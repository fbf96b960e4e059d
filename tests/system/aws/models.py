"""botocore's service models, which are what requests and answers are checked against."""

import functools
import re

import botocore.session
from botocore.validate import ParamValidator

from aws.errors import AwsError

REGION, ACCOUNT = "eu-central-1", "123456789012"

# RunTask's idempotency (Amazon ECS API Reference, RunTask: clientToken, ConflictException) is
# younger than the models of Debian 12.
CLIENT_TOKEN = {"shape": "String", "idempotencyToken": True}
CONFLICT = {"type": "structure", "exception": True,
            "members": {"resourceIds": {"shape": "ResourceIds"}, "message": {"shape": "String"}}}


def amend(loader):
    """Adds to this loader's (cached) model of ECS what it is too old for."""
    model = loader.load_service_model("ecs", "service-2")
    shapes = model["shapes"]
    if "clientToken" not in shapes["RunTaskRequest"]["members"]:
        shapes["RunTaskRequest"]["members"]["clientToken"] = CLIENT_TOKEN
        shapes["ResourceIds"] = {"type": "list", "member": {"shape": "String"}}
        shapes["ConflictException"] = CONFLICT
        model["operations"]["RunTask"]["errors"].append({"shape": "ConflictException"})


def session(**variables):
    """A botocore session that knows the amended models and nothing of this machine's settings."""
    made = botocore.session.Session(profile=None)
    made.set_config_variable("region", REGION)
    amend(made.get_component("data_loader"))
    for name, value in variables.items():
        made.set_config_variable(name, value)
    return made


@functools.lru_cache(None)
def model(service):
    return _session().get_service_model(service)


@functools.lru_cache(None)
def _session():
    return session()


# ---- what a request may contain

LOOSE = ("CopySource",)  # both BUCKET/KEY and /BUCKET/KEY are right, says its documentation


def _limits(value, shape, name):
    """Lengths, patterns and enumerations, which botocore leaves to the service."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        for member, inner in value.items():
            yield from _limits(inner, shape.members[member], f"{name}.{member}")
    elif kind == "list":
        if len(value) > limits.get("max", len(value)):
            yield f"{name} has more than {limits['max']} members"
        for i, inner in enumerate(value):
            yield from _limits(inner, shape.member, f"{name}[{i}]")
    elif kind == "map":
        for key, inner in value.items():
            yield from _limits(inner, shape.value, f"{name}.{key}")
    elif kind == "string":
        if len(value) > limits.get("max", len(value)):
            yield f"{name} is longer than {limits['max']}"
        if "pattern" in limits and shape.name not in LOOSE and not _matches(limits["pattern"], value):
            yield f"{name} does not match {limits['pattern']}"
        if getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{name} is none of {', '.join(shape.enum)}"
    elif kind in ("integer", "long") and value > limits.get("max", value):
        yield f"{name} is above {limits['max']}"


def _matches(pattern, value):
    try:
        return re.fullmatch(pattern, value, re.S)
    except re.error:  # a dialect that Python does not speak
        return True


INVALID = {"ecs": "InvalidParameterException", "elbv2": "ValidationError", "sts": "ValidationError",
           "ec2": "InvalidParameterValue", "s3": "InvalidArgument"}


def check(service, operation, params):
    """AwsError unless the request is one that the model allows."""
    shape = operation.input_shape
    if shape is None:
        return
    report = ParamValidator().validate(params, shape)
    found = report.generate_report() if report.has_errors() else ""
    found = found or "; ".join(_limits(params, shape, operation.name))
    if found:
        raise AwsError(INVALID[service], found)
