"""What an identity may do: IAM policies as far as sessions, roles and buckets need them."""

import json
import re

from aws.errors import AwsError

DENIED = {"ecs": "AccessDeniedException", "elbv2": "AccessDenied", "s3": "AccessDenied",
          "sts": "AccessDenied", "ec2": "UnauthorizedOperation"}
OPERATORS = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")
PREFIX = {"ecs": "ecs", "elbv2": "elasticloadbalancing", "sts": "sts", "ec2": "ec2", "s3": "s3"}

# S3's permissions are named by what is touched, not by the call.
S3_ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "HeadBucket": "ListBucket",
              "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject", "CopyObject": "PutObject",
              "UploadPartCopy": "PutObject", "CompleteMultipartUpload": "PutObject",
              "ListMultipartUploads": "ListBucketMultipartUploads", "DeleteObjects": "DeleteObject",
              "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration"}


def parse(text):
    """AwsError(MalformedPolicyDocument) unless it is one that we can enforce."""
    try:
        document = json.loads(text)
        assert document["Version"] == "2012-10-17" and set(document) <= {"Version", "Id", "Statement"}
        for s in _list(document["Statement"]):
            assert s["Effect"] in ("Allow", "Deny") and _list(s["Action"]) and _list(s["Resource"])
            assert set(s) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
            for operator, conditions in s.get("Condition", {}).items():
                assert operator in OPERATORS and isinstance(conditions, dict)
    except (ValueError, KeyError, TypeError, AssertionError) as e:
        raise AwsError("MalformedPolicyDocument", f"not a policy: {e!r}") from None
    return document


def _list(value):
    return value if isinstance(value, list) else [value]


def _like(pattern, value):
    pattern = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(pattern, value, re.S) is not None


def _applies(statement, action, resource, context):
    if not any(_like(a.lower(), action.lower()) for a in _list(statement["Action"])):
        return False
    if resource is not None and not any(_like(r, resource) for r in _list(statement["Resource"])):
        return False
    for operator, conditions in statement.get("Condition", {}).items():
        for key, wanted in conditions.items():
            value = context.get(key)
            match = str.__eq__ if operator == "StringEquals" else _like
            if value is None or not any(match(w, value) for w in _list(wanted)):
                return False
    return True


def allows(document, action, resource, context):
    statements = [s for s in _list(document["Statement"]) if _applies(s, action, resource, context)]
    return bool(statements) and all(s["Effect"] == "Allow" for s in statements)


def demand(identity, service, action, resource=None, context=()):
    """All of the identity's policies (role's and session's) must allow it. resource None: any."""
    name = S3_ACTIONS.get(action, action) if service == "s3" else action
    name = name if ":" in name else f"{PREFIX[service]}:{name}"
    for document in identity.policies:
        if not allows(document, name, resource, dict(context)):
            raise AwsError(DENIED[service], f"User: {identity.arn} is not authorized to perform: {name}"
                           + (f" on resource: {resource}" if resource else ""), 403 if service != "ecs" else 400)
