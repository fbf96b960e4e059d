"""cleat-executor against S3: uploads, file-sync and staging. The stand-in checks every signature with
botocore's signer; what is in the bucket is read from its own books."""

import hashlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import time
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
from executor_client import build_dir, sign, wait_for
from executor_help import executors  # noqa: F401
from executor_help import NOBODY, children, in_thread, make_artifacts, needs_root

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


# ---- uploads

def test_complete(store, x):
    make_artifacts(x)
    x.run("import json\nopen('artifacts/r.json', 'w').write('{}')\nopen('artifacts/pic.PNG', 'w').write('x')")
    done = x.complete()
    assert done.status == 200, done.body
    assert done.json["upload_completed"] is True
    assert done.json["manifest"] == f"s3://{BUCKET}/{BASE}manifest.json"
    manifest = store.manifest()
    assert manifest["session_id"] == "s-1" and manifest["nonce"] == "n-1" and manifest["skipped"] == []
    files = {f["path"]: f for f in manifest["files"]}
    assert sorted(list(files) + ["manifest.json"]) == sorted(store.keys())
    assert {"artifacts/a.txt", "artifacts/deep/er/b.bin", "artifacts/empty", "data/d.csv",
            "debug/session_status.json", "debug/executions/1.json"} <= set(files)
    assert manifest["bytes"] == sum(f["size"] for f in manifest["files"]) == done.json["bytes"]
    assert done.json["files"] == len(files)
    for path, file in files.items():
        body = store.read(path)
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["size"], file["sha256"])
    assert store.type_of("artifacts/a.txt") == "text/plain; charset=utf-8"
    assert store.type_of("artifacts/r.json") == store.type_of("manifest.json") == "application/json"
    assert store.type_of("artifacts/pic.PNG") == "image/png"
    assert store.type_of("data/d.csv") == "text/csv; charset=utf-8"
    assert store.type_of("artifacts/deep/er/b.bin") == "application/octet-stream"


def test_manifest_first_goes_and_comes_last(store, x):
    store.bucket.put(BASE + "manifest.json", b"{}")
    make_artifacts(x)
    assert x.complete().status == 200
    calls = store.calls("DeleteObject", "PutObject")
    assert calls[0] == ("DeleteObject", "manifest.json", "ok")
    assert calls[-1] == ("PutObject", "manifest.json", "ok") and len(calls) > 6
    assert [c for c in calls if c[1] == "manifest.json"] == [calls[0], calls[-1]]


def test_large_file_goes_in_parts(store, x):
    x.run("import os\nopen('artifacts/big.csv', 'wb').write(os.urandom(20 << 20))\n"
          "open('artifacts/just', 'wb').write(b'j' * (8 << 20))\nopen('artifacts/over', 'wb').write(b'o' * ((8 << 20) + 1))")
    assert x.complete().status == 200
    assert store.type_of("artifacts/big.csv") == "text/csv; charset=utf-8"
    with open(x.home + "/artifacts/big.csv", "rb") as file:
        assert store.read("artifacts/big.csv") == file.read()
    assert store.read("artifacts/over") == b"o" * (8 * MIB + 1)
    parts = [c for c in store.books.of("UploadPart")]
    assert sorted((c.params["Key"][len(BASE):], c.params["PartNumber"]) for c in parts) == [
        ("artifacts/big.csv", 1), ("artifacts/big.csv", 2), ("artifacts/big.csv", 3),
        ("artifacts/over", 1), ("artifacts/over", 2)]
    digests = {f["path"]: f["sha256"] for f in store.manifest()["files"]}
    assert digests["artifacts/big.csv"] == hashlib.sha256(store.read("artifacts/big.csv")).hexdigest()
    assert ("PutObject", "artifacts/just", "ok") in store.calls("PutObject")
