"""Who calls: every signature is computed again with botocore's own signer."""

import datetime
import hashlib
import hmac
import re

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aws.errors import AwsError
from aws.models import ACCOUNT, REGION

SERVICES = {"ecs": "ecs", "elasticloadbalancing": "elbv2", "s3": "s3", "sts": "sts", "ec2": "ec2"}
PATTERN = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
                     r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$")
UNSIGNED = "UNSIGNED-PAYLOAD"

# What each kind of service answers to the same defect.
CODES = {
    "unknown": {"ecs": ("UnrecognizedClientException", 400), "s3": ("InvalidAccessKeyId", 403),
                None: ("InvalidClientTokenId", 403)},
    "token": {"ecs": ("UnrecognizedClientException", 400), "s3": ("InvalidToken", 400),
              None: ("InvalidClientTokenId", 403)},
    "expired": {"ecs": ("ExpiredTokenException", 400), "s3": ("ExpiredToken", 400),
                None: ("ExpiredToken", 403)},
    "wrong": {"ecs": ("InvalidSignatureException", 400), None: ("SignatureDoesNotMatch", 403)},
    "skew": {"ecs": ("InvalidSignatureException", 400), "s3": ("RequestTimeTooSkewed", 403),
             None: ("SignatureDoesNotMatch", 403)},
    "incomplete": {"ecs": ("IncompleteSignatureException", 400), "s3": ("AuthorizationHeaderMalformed", 400),
                   None: ("IncompleteSignature", 400)},
    "missing": {"ecs": ("MissingAuthenticationTokenException", 400), "s3": ("AccessDenied", 403),
                None: ("MissingAuthenticationToken", 403)},
}


def refused(service, what, message):
    code, status = CODES[what].get(service) or CODES[what][None]
    return AwsError(code, message, status)


class Identity:
    def __init__(self, key, secret, arn, token=None, expires=None, policies=()):
        self.key, self.secret, self.arn, self.token = key, secret, arn, token
        self.expires, self.policies = expires, list(policies)


class Identities:
    """The access keys that exist."""

    def __init__(self):
        self.by_key, self.minted = {}, 0
        self.skew_s = 0  # how far our clock is ahead of the caller's

    def add(self, key=None, secret=None, arn=f"arn:aws:iam::{ACCOUNT}:user/coordinator", token=None,
            life_s=None, policies=()):
        self.minted += 1
        key = key or f"{'ASIA' if token else 'AKIA'}{self.minted:016d}"
        secret = secret or hashlib.sha256(key.encode()).hexdigest()[:40]
        expires = None if life_s is None else self.now() + datetime.timedelta(seconds=life_s)
        self.by_key[key] = Identity(key, secret, arn, token, expires, policies)
        return self.by_key[key]

    def mint(self, arn, life_s, policies=()):
        token = f"token/{self.minted + 1}+{hashlib.sha256(arn.encode()).hexdigest() * 4}=="
        return self.add(arn=arn, token=token, life_s=life_s, policies=policies)

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc)

    def expire(self, identity):
        identity.expires = self.now() - datetime.timedelta(seconds=1)

    def caller(self, request):
        """(service, Identity) of a signed request, or AwsError."""
        header = request.headers.get("Authorization", "")
        match = PATTERN.match(header)
        if not match:
            raise AwsError("IncompleteSignature", f"no such Authorization: {header[:80]}", 403)
        key, day, region, scope, names, signature = match.groups()
        service = SERVICES.get(scope)
        if not service:
            raise AwsError("SignatureDoesNotMatch", f"no such service in the scope: {scope}", 403)
        request.service = service
        if region != REGION:
            raise refused(service, "wrong", f"Credential should be scoped to a valid region, not '{region}'.")
        who = self.by_key.get(key)
        if not who:
            raise refused(service, "unknown", "The security token included in the request is invalid.")
        if (request.headers.get("X-Amz-Security-Token") or None) != who.token:
            raise refused(service, "token", "The security token included in the request is invalid.")
        if who.expires and who.expires <= self.now():
            raise refused(service, "expired", "The security token included in the request is expired")
        stamp = self._stamp(request, service, day)
        self._covers(request, service, names.split(";"))
        if not hmac.compare_digest(self._signature(request, service, scope, who, stamp, names), signature):
            raise refused(service, "wrong", "The request signature we calculated does not match the signature "
                          "you provided. Check your AWS Secret Access Key and signing method.")
        return service, who

    def _stamp(self, request, service, day):
        stamp = request.headers.get("X-Amz-Date", "")
        try:
            at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            raise refused(service, "incomplete", f"X-Amz-Date: {stamp!r}") from None
        if not stamp.startswith(day):
            raise refused(service, "wrong", "Date in Credential scope does not match the request's.")
        off = (self.now() - at).total_seconds() + self.skew_s
        if abs(off) > 300 and service != "s3" or abs(off) > 900:
            text = ("The difference between the request time and the current time is too large."
                    if service == "s3" else f"Signature expired: {stamp} is now earlier than ours")
            raise refused(service, "skew", text)
        return stamp

    def _covers(self, request, service, names):
        """Host and every x-amz header must be signed, and the body's hash be the body's."""
        must = {"host"} | {k.lower() for k in request.headers.keys() if k.lower().startswith("x-amz-")}
        if not must <= set(names):
            raise refused(service, "incomplete", f"not signed: {', '.join(sorted(must - set(names)))}")
        digest = request.headers.get("X-Amz-Content-SHA256")
        if service == "s3" and not digest:
            raise AwsError("MissingSecurityHeader", "x-amz-content-sha256 is missing")
        if digest and digest not in (UNSIGNED, hashlib.sha256(request.body).hexdigest()):
            raise AwsError("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does "
                           "not match what was computed.")

    def _signature(self, request, service, scope, who, stamp, names):
        wanted = names.split(";")
        copy = AWSRequest(method=request.method, url=f"http://{request.headers['Host']}{request.target}",
                          data=request.body)
        for name, value in request.headers.items():
            if name.lower() in wanted:
                copy.headers[name] = value
        copy.context["timestamp"] = stamp
        credentials = Credentials(who.key, who.secret, who.token)
        signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, scope, REGION)
        canonical = signer.canonical_request(copy)
        return signer.signature(signer.string_to_sign(copy, canonical), copy)
