"""Requests, from bytes to the parameters that the service's model names."""

import base64
import datetime
import json
import urllib.parse
import xml.etree.ElementTree as ElementTree

import botocore.utils

from aws import models
from aws.errors import AwsError


def _scalar(shape, text, name):
    kind = shape.type_name
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if kind == "timestamp":
            return botocore.utils.parse_timestamp(text)
        if kind == "blob":
            return base64.b64decode(text, validate=True)
    except (ValueError, KeyError):
        raise AwsError("MalformedInput", f"{name}: {text!r} is no {kind}") from None
    return text


# ---- JSON (ECS)


def json_request(headers, body):
    target = headers.get("X-Amz-Target", "")
    prefix, _, action = target.partition(".")
    service = models.model("ecs")
    if prefix != service.metadata["targetPrefix"] or action not in service.operation_names:
        raise AwsError("UnknownOperationException", f"no such operation: {target}")
    wanted = f"application/x-amz-json-{service.metadata['jsonVersion']}"
    if headers.get("Content-Type") != wanted:
        raise AwsError("SerializationException", f"Content-Type must be {wanted}")
    try:
        params = json.loads(body, object_pairs_hook=_once)
    except ValueError as e:
        raise AwsError("SerializationException", str(e)) from None
    if not isinstance(params, dict):
        raise AwsError("SerializationException", "the body is no JSON object")
    return service.operation_model(action), params


def _once(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise ValueError("a member is there twice")
    return dict(pairs)


# ---- forms (ELBv2, STS, EC2)


def form_request(name, headers, body):
    service = models.model(name)
    if headers.get("Content-Type", "").split(";")[0] != "application/x-www-form-urlencoded":
        raise AwsError("MalformedInput", "Content-Type must be application/x-www-form-urlencoded")
    try:
        pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError as e:
        raise AwsError("MalformedQueryString", str(e)) from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise AwsError("MalformedQueryString", "a parameter is there twice")
    action, version = form.pop("Action", ""), form.pop("Version", "")
    if action not in service.operation_names or version != service.metadata["apiVersion"]:
        raise AwsError("InvalidAction", f"no action {action} in version {version}")
    operation = service.operation_model(action)
    ec2 = service.metadata["protocol"] == "ec2"
    tree = {}
    for key, value in form.items():
        _plant(tree, key.split("."), value)
    return operation, _form_structure(operation.input_shape, tree, ec2, action)


def _plant(tree, path, value):
    for word in path[:-1]:
        tree = tree.setdefault(word, {})
        if not isinstance(tree, dict):
            raise AwsError("MalformedQueryString", f"{'.'.join(path)} is a value and more")
    if path[-1] in tree:
        raise AwsError("MalformedQueryString", f"{'.'.join(path)} is there twice")
    tree[path[-1]] = value


def _form_name(member, shape, ec2):
    if ec2:
        name = shape.serialization.get("queryName") or shape.serialization.get("name") or member
        return name if "queryName" in shape.serialization else name[0].upper() + name[1:]
    return shape.serialization.get("name", member)


def _form_structure(shape, tree, ec2, where):
    if shape is None:
        names = {}
    else:
        names = {_form_name(m, s, ec2): (m, s) for m, s in shape.members.items()}
    params = {}
    for key, inner in tree.items():
        if key not in names:
            raise AwsError("ValidationError", f"{where} has no parameter {key}")
        member, inner_shape = names[key]
        params[member] = _form_value(inner_shape, inner, ec2, f"{where}.{key}")
    return params


def _form_value(shape, tree, ec2, where):
    if shape.type_name == "structure":
        if not isinstance(tree, dict):
            raise AwsError("MalformedInput", f"{where} is no structure")
        return _form_structure(shape, tree, ec2, where)
    if shape.type_name == "list":
        if tree == "":
            return []
        flat = ec2 or shape.serialization.get("flattened")
        wrap = shape.member.serialization.get("name", "member")
        items = tree if flat else tree.get(wrap, {})
        if not flat and set(tree) != {wrap} or set(items) != {str(i + 1) for i in range(len(items))}:
            raise AwsError("MalformedInput", f"{where} is no list of {wrap}s from 1 on")
        return [_form_value(shape.member, items[str(i + 1)], ec2, f"{where}.{i + 1}")
                for i in range(len(items))]
    if isinstance(tree, dict):
        raise AwsError("MalformedInput", f"{where} is no {shape.type_name}")
    return _scalar(shape, tree, where)


# ---- REST with XML (S3)


def rest_params(operation, path_params, query, headers, body):
    """query: what the operation itself did not take as its name."""
    params, query = dict(path_params), dict(query)
    theirs = {k.lower(): v for k, v in headers.items()}
    shape = operation.input_shape
    payload = shape.serialization.get("payload")
    for member, inner in shape.members.items():
        name, location = inner.serialization.get("name", member), inner.serialization.get("location")
        if location == "querystring" and name in query:
            params[member] = _scalar(inner, query.pop(name), name)
        elif location == "header" and name.lower() in theirs:
            value = theirs.pop(name.lower())
            if name.lower() not in ("content-length",):
                params[member] = _scalar(inner, value, name)
        elif location == "headers":
            found = {k[len(name):]: v for k, v in theirs.items() if k.startswith(name)}
            for k in found:
                theirs.pop(name + k)
            if found:
                params[member] = found
    query.pop("x-id", None)
    if query:
        raise AwsError("InvalidArgument", f"{operation.name} has no parameter {', '.join(query)}")
    known = ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")
    strange = [k for k in theirs if k.startswith("x-amz-") and k not in known]
    if strange:
        raise AwsError("InvalidArgument", f"{operation.name} has no header {', '.join(strange)}")
    if payload:
        inner = shape.members[payload]
        if inner.type_name == "structure":
            params[payload] = xml_body(inner, body)
        else:
            params[payload] = body
    elif body:
        raise AwsError("InvalidRequest", f"{operation.name} has no body")
    return params


def xml_body(shape, body):
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as e:
        raise AwsError("MalformedXML", str(e)) from None
    wanted = shape.serialization.get("name", shape.name)
    if _local(root) != wanted:
        raise AwsError("MalformedXML", f"the root is {_local(root)}, not {wanted}")
    return _xml_value(shape, root)


def _local(element):
    return element.tag.rsplit("}", 1)[-1]


def _xml_value(shape, element):
    if shape.type_name != "structure":
        return _scalar(shape, element.text or "", _local(element))
    names = {s.serialization.get("name", m): (m, s) for m, s in shape.members.items()}
    params = {}
    for child in element:
        if _local(child) not in names:
            raise AwsError("MalformedXML", f"{shape.name} has no {_local(child)}")
        member, inner = names[_local(child)]
        if inner.type_name == "list":
            params.setdefault(member, []).append(_xml_value(inner.member, child))
        else:
            params[member] = _xml_value(inner, child)
    return params


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc)
