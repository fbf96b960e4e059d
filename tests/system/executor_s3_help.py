"""What the tests of cleat-executor with S3 share: a bucket of the stand-in's, and executors that use it."""

import itertools
import json
import os
import secrets
import types

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aws import policy
from aws.books import Books
from aws.faults import Faults
from aws.imds import Metadata
from aws.models import REGION
from aws.s3 import S3
from aws.server import Endpoint
from aws.sign import Identities
from aws_harness import KNOBS
from executor_client import sign
from executor_help import NOBODY, children

BUCKET = "session-artifacts"
PREFIX = "runs/today"
BASE = PREFIX + "/s-1/"
MIB = 1 << 20
hosts = ("127.74.%d.%d" % (os.getpid() % 256, n) for n in itertools.count(1))


class Store:
    """An S3 endpoint with one bucket, and identities that may use it."""

    def __init__(self, root, **knobs):
        self.knobs = types.SimpleNamespace(**{**KNOBS, **knobs})
        self.faults, self.books, self.identities = Faults(), Books(), Identities()
        self.user = self.identities.add()
        self.metadata = Metadata(self.identities, self.faults, self.books, self.knobs)
        self.s3 = S3(root, self.faults, self.knobs)
        self.bucket = self.s3.bucket(BUCKET)
        self.host = next(hosts)
        self.endpoint = self._endpoint()
        self.url = self.endpoint.url

    def _endpoint(self):
        return Endpoint(self.host, self.identities, self.faults, self.books, {"s3": self.s3}, self.metadata)

    def close(self):
        self.endpoint.close()

    def environment(self, who=None):
        who = who or self.user
        made = {"AWS_REGION": REGION, "AWS_ENDPOINT_URL_S3": self.url, "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ACCESS_KEY_ID": who.key, "AWS_SECRET_ACCESS_KEY": who.secret}
        return {**made, "AWS_SESSION_TOKEN": who.token} if who.token else made

    def task_role(self):
        """The environment that ECS gives to a task."""
        path, token = self.metadata.container("arn:aws:sts::1:assumed-role/task/1")
        return {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": self.url,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + path, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token}

    def limited(self, session="s-1", life_s=3600):
        """An identity for the session's own prefix alone."""
        document = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject",
                                           "s3:AbortMultipartUpload"],
             "Resource": f"arn:aws:s3:::{BUCKET}/{PREFIX}/{session}/*"},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}",
             "Condition": {"StringLike": {"s3:prefix": f"{PREFIX}/{session}/*"}}}]}
        return self.identities.mint("arn:aws:sts::1:assumed-role/session/1", life_s, [policy.parse(json.dumps(document))])

    def keys(self, prefix=BASE):
        return [k[len(prefix):] for k in self.bucket.keys(prefix)]

    def read(self, key):
        return self.bucket.read(BASE + key)

    def type_of(self, key):
        return self.bucket.get(BASE + key).headers["ContentType"]

    def forget_uploads(self):
        """What a lifecycle rule does with uploads whose ids nobody has."""
        for upload in list(self.bucket.uploads.values()):
            self.bucket.end(upload)

    def manifest(self):
        return json.loads(self.read("manifest.json"))

    def calls(self, *actions):
        return [(c.action, c.params.get("Key", "")[len(BASE):], c.outcome) for c in self.books.of(*actions)]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "s3")
    yield made
    made.close()
    assert made.s3.open_uploads() == [], "parts were left behind"


@pytest.fixture
def make(executors, store):
    """Makes executors that upload to the store."""
    def make_one(name="x", **environment):
        return executors(name, **{"CLEAT_SANDBOX_UID": str(NOBODY),
                                  "CLEAT_ARTIFACTS": f"s3://{BUCKET}/{PREFIX}", **store.environment(),
                                  **environment})
    return make_one


@pytest.fixture
def x(make):
    return make().boot()


def seal(x, fields, secret=None):
    key = bytes.fromhex(sign(secret or x.secret, "credentials"))
    nonce = secrets.token_bytes(12)
    return (nonce + AESGCM(key).encrypt(nonce, json.dumps(fields).encode(), None)).hex()


def keys_of(who):
    expires = int(who.expires.timestamp() * 1000) if who.expires else 0
    return {"access_key_id": who.key, "secret_access_key": who.secret, "session_token": who.token or "",
            "expires_ms": expires}


def give(x, who):
    return x.post("/session/credentials", {"sealed": seal(x, keys_of(who))})


def helper(x, flag="--upload"):
    for pid in children(x.process.pid):
        with open("/proc/%d/cmdline" % pid) as line:
            if flag in line.read():
                return pid


def big(x, mib=30):
    x.run("import os\nopen('artifacts/big', 'wb').write(os.urandom(%d << 20))" % mib)


def sync(x, action, prefix, path, bucket=BUCKET, timeout=60):
    return x.call("POST", "/file-sync", {"action": action, "bucket_name": bucket, "s3_key_prefix": prefix,
                                         "local_path": path}, timeout=timeout)
