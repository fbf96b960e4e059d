"""Places that hand out credentials without a signature: IMDSv2 and the container endpoint."""

import json
import time
import uuid


class Metadata:
    def __init__(self, identities, faults, books, knobs):
        self.identities, self.faults, self.books, self.knobs = identities, faults, books, knobs
        self.tokens = {}  # IMDSv2's → when it ends
        self.instance_role = None  # (role name, ARN of the session)
        self.containers = {}  # path → (authorization token, ARN, policies)

    def container(self, arn, policies=()):
        """(path, authorization token) where a container gets credentials of this role."""
        path, token = f"/v2/credentials/{uuid.uuid4()}", uuid.uuid4().hex
        self.containers[path] = (token, arn, policies)
        return path, token

    def answer(self, request):
        """(status, headers, body), or None when it is not for us."""
        if request.path.startswith("/latest/"):
            found = self._instance(request)
        elif request.path in self.containers:
            found = self._container(request)
        else:
            return None
        self.books.note("metadata", f"{request.method} {request.path.split('/')[1]}", "ok" if found[0] == 200 else str(found[0]))
        fault = self.faults.take("metadata", "500", "malformed")
        if fault:
            return (500, {}, b"") if fault.kind == "500" else (200, {}, b"<<{")
        return found

    def _instance(self, request):
        if request.path == "/latest/api/token":
            life = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            if request.method != "PUT" or not life.isdigit() or not 1 <= int(life) <= 21600:
                return 400, {}, b""
            token = uuid.uuid4().hex
            self.tokens[token] = time.monotonic() + int(life)
            return 200, {"X-aws-ec2-metadata-token-ttl-seconds": life, "Content-Type": "text/plain"}, token.encode()
        if self.tokens.get(request.headers.get("X-aws-ec2-metadata-token"), 0) < time.monotonic():
            return 401, {}, b""
        base = "/latest/meta-data/iam/security-credentials/"
        if not self.instance_role or not request.path.startswith(base[:-1]):
            return 404, {}, b""
        name, arn = self.instance_role
        if request.path.rstrip("/") == base.rstrip("/"):
            return 200, {"Content-Type": "text/plain"}, name.encode()
        if request.path != base + name:
            return 404, {}, b""
        document = {"Code": "Success", "LastUpdated": self._time(time.time()), "Type": "AWS-HMAC",
                    **self._keys(arn, ())}
        return 200, {"Content-Type": "text/plain"}, json.dumps(document).encode()

    def _container(self, request):
        token, arn, policies = self.containers[request.path]
        if request.headers.get("Authorization") != token:
            return 401, {}, b'{"code":"Unauthorized","message":"Authorization"}'
        return 200, {"Content-Type": "application/json"}, json.dumps(
            {"RoleArn": arn, **self._keys(arn, policies)}).encode()

    def _keys(self, arn, policies):
        made = self.identities.mint(arn, self.knobs.credential_life_s or 3600, policies)
        return {"AccessKeyId": made.key, "SecretAccessKey": made.secret, "Token": made.token,
                "Expiration": self._time(made.expires.timestamp() + 0.999)}

    def _time(self, seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
