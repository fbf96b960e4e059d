"""Answers, from members that the model has (any other is a defect of the stand-in) to bytes."""

import datetime
import json
from xml.sax.saxutils import escape



def _fits(shape, value, name):
    """The stand-in may invent neither members nor types nor values."""
    kind = shape.type_name
    wanted = {"structure": dict, "list": list, "map": dict, "string": str, "integer": int, "long": int,
              "boolean": bool, "timestamp": datetime.datetime, "double": float, "blob": bytes}[kind]
    assert isinstance(value, wanted), f"{name} is no {kind}: {value!r}"
    if kind == "structure":
        for member, inner in value.items():
            assert member in shape.members, f"{shape.name} has no member {member}"
            _fits(shape.members[member], inner, f"{name}.{member}")
        missing = set(shape.metadata.get("required", [])) - set(value)
        assert not missing, f"{shape.name} lacks {missing}"
    elif kind == "list":
        for inner in value:
            _fits(shape.member, inner, name)
    elif kind == "map":
        for inner in value.values():
            _fits(shape.value, inner, name)
    elif kind == "string" and shape.enum:
        assert value in shape.enum, f"{name}: {value} is none of {shape.enum}"


def _text(shape, value):
    if shape.type_name == "boolean":
        return "true" if value else "false"
    if shape.type_name == "timestamp":
        value = value.astimezone(datetime.timezone.utc)
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return str(value)


# ---- JSON


def json_answer(shape, value):
    if shape is None:
        return b"{}"
    _fits(shape, value, shape.name)
    return json.dumps(_json(shape, value)).encode()


def _json(shape, value):
    if shape.type_name == "structure":
        return {shape.members[m].serialization.get("name", m): _json(shape.members[m], v)
                for m, v in value.items()}
    if shape.type_name == "list":
        return [_json(shape.member, v) for v in value]
    if shape.type_name == "map":
        return {k: _json(shape.value, v) for k, v in value.items()}
    if shape.type_name == "timestamp":
        return round(value.timestamp(), 3)
    return value


# ---- XML


def _xml(name, shape, value):
    kind = shape.type_name
    if kind == "list":
        inner = shape.member.serialization.get("name", "member")
        if shape.serialization.get("flattened"):
            return "".join(_xml(shape.serialization.get("name", name), shape.member, v) for v in value)
        return f"<{name}>" + "".join(_xml(inner, shape.member, v) for v in value) + f"</{name}>"
    if kind == "structure":
        return f"<{name}>{_members(shape, value)}</{name}>"
    return f"<{name}>{escape(_text(shape, value))}</{name}>"


def _members(shape, value):
    text = ""
    for member, inner in value.items():
        inner_shape = shape.members[member]
        name = inner_shape.serialization.get("name", member)
        if inner_shape.type_name == "list" and inner_shape.serialization.get("flattened"):
            name = inner_shape.serialization.get("name") or inner_shape.member.serialization.get("name", member)
        text += _xml(name, inner_shape, inner)
    return text


def query_answer(service, operation, value, request_id):
    shape = operation.output_shape
    namespace = service.metadata["xmlNamespace"]
    if shape is not None:
        _fits(shape, value, shape.name)
    inner = _members(shape, value) if shape is not None else ""
    if service.metadata["protocol"] == "ec2":
        body = f"<requestId>{request_id}</requestId>{inner}"
    else:
        if shape is not None:
            wrapper = shape.serialization["resultWrapper"]
            inner = f"<{wrapper}>{inner}</{wrapper}>"
        body = f"{inner}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    root = f"{operation.name}Response"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{namespace}">{body}</{root}>'.encode()


# The names that S3's documentation gives the roots; the model leaves them out.
ROOTS = {"ListObjectsV2": "ListBucketResult", "CreateMultipartUpload": "InitiateMultipartUploadResult",
         "CompleteMultipartUpload": "CompleteMultipartUploadResult", "DeleteObjects": "DeleteResult",
         "ListMultipartUploads": "ListMultipartUploadsResult", "CopyObject": "CopyObjectResult",
         "UploadPartCopy": "CopyPartResult", "GetBucketLifecycleConfiguration": "LifecycleConfiguration"}


def rest_answer(operation, value):
    """Headers and body."""
    shape = operation.output_shape
    if shape is None:
        return {}, b""
    _fits(shape, value, shape.name)
    headers, rest = {}, {}
    for member, inner in value.items():
        inner_shape = shape.members[member]
        location = inner_shape.serialization.get("location")
        if location == "header":
            headers[inner_shape.serialization["name"]] = _header(inner_shape, inner)
        elif location == "headers":
            headers.update({inner_shape.serialization["name"] + k: v for k, v in inner.items()})
        else:
            rest[member] = inner
    payload = shape.serialization.get("payload")
    if payload and shape.members[payload].type_name == "blob":
        return headers, value.get(payload, b"")
    if payload:
        rest, shape = rest.get(payload), shape.members[payload]
    in_body = [m for m, s in shape.members.items() if "location" not in s.serialization]
    if rest is None or not in_body:
        return headers, b""
    headers["Content-Type"] = "application/xml"
    return headers, rest_document(ROOTS[operation.name], _members(shape, rest))


def rest_document(root, inner):
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} '
            f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>').encode()


def _header(shape, value):
    if shape.type_name == "timestamp":
        return value.astimezone(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return _text(shape, value)


# ---- errors


def error_answer(service, error, request_id):
    """Content type and body of an error in the form of its service."""
    code, message = escape(error.code), escape(error.message)
    if service == "ecs":
        document = {"__type": error.code, "message": error.message, **error.members}
        return "application/x-amz-json-1.1", json.dumps(document).encode()
    if service == "s3":
        inner = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in error.members.items())
        return "application/xml", (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>'
                                   f"{message}</Message>{inner}<RequestId>{request_id}</RequestId></Error>").encode()
    if service == "ec2":
        return "text/xml", (f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
                            f"</Errors><RequestID>{request_id}</RequestID></Response>").encode()
    kind = "Sender" if error.status < 500 else "Receiver"
    return "text/xml", (f"<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message>"
                        f"</Error><RequestId>{request_id}</RequestId></ErrorResponse>").encode()
