"""cleat-executor against S3: uploads, file-sync and staging. The stand-in checks every signature with
botocore's signer; what is in the bucket is read from its own books."""

import hashlib
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
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
from executor_help import NOBODY, children, in_thread, make_artifacts, non_root

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


def test_task_role(store, make):
    x = make(**store.task_role())
    del x.environment["AWS_ACCESS_KEY_ID"], x.environment["AWS_SECRET_ACCESS_KEY"]
    x.environment.pop("AWS_ENDPOINT_URL_S3")
    x.boot().run("open('artifacts/a', 'w').write('1')")
    assert x.complete().status == 200
    assert {c.who for c in store.books.of("PutObject")} == {"arn:aws:sts::1:assumed-role/task/1"}


def test_many_files(store, x):
    x.run("for n in range(1500):\n    open(f'artifacts/{n}', 'w').write(str(n))")
    done = x.complete()
    assert done.status == 200 and done.json["files"] == 1500 + 5
    assert len(store.keys(BASE + "artifacts/")) == 1500 and store.read("artifacts/77") == b"77"


def test_odd_names(store, x):
    x.run("import os\n"
          "for name in (b'\\xff\\xfe', b'\\xff', 'new\\nline'.encode(), 'a b+c%20&=?#\\'~'.encode(), 'ü漢'.encode()):\n"
          "    open(b'artifacts/' + name, 'wb').write(name)\n"
          "os.symlink('/etc/shadow', 'artifacts/link'); os.mkfifo('artifacts/pipe')\n"
          "path = 'artifacts'\n"
          "for _ in range(5):\n    path += '/' + 'd' * 250; os.mkdir(path)\nopen(path + '/f', 'w')")
    assert x.complete().status == 200
    names = [n.split("/")[1] for n in store.keys() if n.startswith("artifacts/")]
    assert sorted(names) == sorted(["%FF%FE", "%FF", "new\nline", "a b+c%20&=?#'~", "ü漢"])
    assert store.read("artifacts/%FF") == b"\xff" and store.read("artifacts/%FF%FE") == b"\xff\xfe"
    skipped = {entry["path"][:14]: entry["why"] for entry in store.manifest()["skipped"]}
    assert skipped == {"artifacts/link": "symbolic link", "artifacts/pipe": "special file",
                       "artifacts/dddd": "its key would be too long"}
    paths = [f["path"] for f in store.manifest()["files"]]
    assert "artifacts/%FF" in paths and sorted(paths + ["manifest.json"]) == sorted(store.keys())


def test_file_that_vanishes_or_is_replaced(store, x):
    x.run("for n in range(9):\n    open(f'artifacts/{n}', 'w').write('1')\nopen('data/kept', 'w')")
    store.faults.add("PutObject", "hang", count=4, seconds=1)  # all that fly at once, of the records
    waits = in_thread(x.complete)
    wait_for(lambda: store.faults.waiting[0].went_off == 4, "four calls")
    os.unlink(x.home + "/artifacts/7")
    os.rename(x.home + "/artifacts/8", x.home + "/artifacts/9")
    os.symlink("/etc/passwd", x.home + "/artifacts/8")
    assert waits().status == 200
    assert store.manifest()["skipped"] == [{"path": "artifacts/7", "why": "cannot be opened"},
                                           {"path": "artifacts/8", "why": "cannot be opened"}]
    assert "artifacts/6" in store.keys() and "data/kept" in store.keys()


@pytest.mark.parametrize("size", [9 * MIB, 40 * MIB])
def test_file_that_changes_while_it_is_read(store, x, size):
    """Nothing torn arrives: it is read again from the start."""
    big(x)
    store.faults.add("UploadPart", "hang", seconds=1)
    waits = in_thread(x.complete)
    wait_for(lambda: store.faults.waiting[0].went_off, "a part")
    body = secrets.token_bytes(size)
    with open(x.home + "/artifacts/big", "r+b") as file:
        file.write(body)
        file.truncate()
    done = waits()
    assert done.status == 200 and store.read("artifacts/big") == body
    assert done.json["bytes"] == store.manifest()["bytes"] == sum(f["size"] for f in store.manifest()["files"])
    file = next(f for f in store.manifest()["files"] if f["path"] == "artifacts/big")
    assert file["size"] == size and file["sha256"] == hashlib.sha256(body).hexdigest()
    assert [c[2] for c in store.calls("AbortMultipartUpload")] == ["ok"]


def test_limit_of_an_upload(store, make):
    x = make(CLEAT_UPLOAD_MAX_MB="2").boot()
    x.run("open('artifacts/a', 'wb').write(b'a' * (1 << 20))\nopen('artifacts/b', 'wb').write(b'b' * (2 << 20))\n"
          "open('data/c', 'w').write('c')")
    assert x.complete().status == 200
    assert store.manifest()["skipped"] == [{"path": "artifacts/b", "why": "over the limit of the upload"}]
    assert {"artifacts/a", "data/c"} <= set(store.keys())


# ---- failures

def fails_then_works(store, x, *words):
    """complete fails typed, leaves no parts and no manifest, and works when it is asked again."""
    failed = x.complete(timeout=120)
    assert failed.status == 500 and failed.json["upload_completed"] is False, failed.body
    for word in words:
        assert word in failed.json["error"], failed.json
    assert store.s3.open_uploads() == [] and "manifest.json" not in store.keys()
    assert x.get("/session/complete").json["state"] == "failed"
    assert x.raw("GET", "/health").status == 200
    store.faults.clear()
    again = x.complete()
    assert again.status == 200 and again.json["upload_completed"] is True
    assert store.manifest()["bytes"] == again.json["bytes"]


def big(x, mib=30):
    x.run("import os\nopen('artifacts/big', 'wb').write(os.urandom(%d << 20))" % mib)


def test_failed_part_aborts(store, x):
    big(x)
    store.faults.add("UploadPart", "error", code="AccessDenied", status=403, after=1, count=99)
    fails_then_works(store, x, "AccessDenied", "artifacts/big")
    assert [c[2] for c in store.calls("AbortMultipartUpload")] == ["ok"]


def test_no_bucket(store, make):
    x = make(CLEAT_ARTIFACTS="s3://no-such-bucket/x").boot()
    x.run("print(1)")
    failed = x.complete()
    assert failed.status == 500 and "NoSuchBucket" in failed.json["error"]


def test_error_inside_200(store, x):
    big(x, 9)
    store.faults.add("CompleteMultipartUpload", "error_in_200")
    assert x.complete().status == 200
    assert len(store.calls("CompleteMultipartUpload")) == 2


def test_error_inside_200_to_the_end(store, x):
    big(x, 9)
    store.faults.add("CompleteMultipartUpload", "error_in_200", count=99)
    fails_then_works(store, x, "InternalError")


def test_lost_answer_of_completion(store, x):
    """The upload is gone then, and nobody can tell whether the object is ours."""
    big(x, 9)
    store.faults.add("CompleteMultipartUpload", "reset_after")
    assert x.complete().status == 200
    with open(x.home + "/artifacts/big", "rb") as file:
        assert store.read("artifacts/big") == file.read()
    assert x.get("/session/complete").json["bytes_done"] == store.manifest()["bytes"]


@pytest.mark.parametrize("action", ["DeleteObject", "PutObject", "CreateMultipartUpload", "UploadPart"])
@pytest.mark.parametrize("kind", ["503", "throttle", "reset_before", "reset_after", "truncated", "malformed"])
def test_passing_trouble(store, x, action, kind):
    big(x, 17)
    senseless = kind == "malformed" and action == "CreateMultipartUpload"
    store.faults.add(action, kind, count=1 if senseless else 2)
    done = x.complete()
    if senseless:
        assert done.status == 500  # it is not asked for again
        done = x.complete()
    assert done.status == 200, done.body
    assert len(store.read("artifacts/big")) == 17 * MIB
    if action == "CreateMultipartUpload":
        store.forget_uploads()  # nobody learned their ids


def test_s3_down_and_back(store, x):
    big(x, 9)
    store.faults.add("*", "reset_before", count=9999)
    fails_then_works(store, x)


def test_s3_throttles_to_the_end(store, x):
    x.run("open('artifacts/a', 'w').write('1')")
    store.faults.add("PutObject", "throttle", count=9999)
    fails_then_works(store, x, "SlowDown")


def test_answer_that_never_comes(store, x):
    x.run("open('artifacts/a', 'w').write('1')")
    store.faults.add("PutObject", "hang")
    assert x.complete(timeout=60).status == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_helper_that_ends(store, x, signum):
    big(x)
    store.faults.add("UploadPart", "hang", after=1, count=99)
    first = in_thread(lambda: x.complete(timeout=60))
    wait_for(lambda: any(len(u.parts) == 3 for u in store.bucket.uploads.values()), "one part, and two that hang")
    os.kill(helper(x), signum)
    failed = first()
    assert failed.status == 500, failed.body
    if signum == signal.SIGTERM:
        assert "told to end" in failed.json["error"] and store.s3.open_uploads() == []
    else:
        assert "status 9" in failed.json["error"] and len(store.s3.open_uploads()) == 1
        store.forget_uploads()
    store.faults.clear()
    assert x.complete().status == 200


def test_abort_that_hangs_is_not_waited_for(store, x):
    big(x)
    store.faults.add("UploadPart", "error", code="AccessDenied", status=403, after=1, count=99)
    store.faults.add("AbortMultipartUpload", "hang", count=99)
    assert x.complete(timeout=60).status == 500
    store.faults.clear()
    assert x.complete().status == 200


def test_helper_that_is_told_nothing(store):
    """It is no program for others: its settings come from an executor."""
    ours, its = socket.socketpair()
    ours.shutdown(socket.SHUT_WR)
    run = subprocess.run([os.path.join(build_dir(), "cleat-executor"), "--upload", "/nonexistent",
                          f"s3://{BUCKET}", "s-1", "1", "", "0", "0"], env=store.environment(),
                         stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE, text=True, timeout=60)
    its.close()
    with ours, ours.makefile() as lines:
        assert lines.read() == "ready\nfailed the executor handed no settings over\n"
    assert run.returncode == 1 and store.books.calls == [] and run.stderr == ""


def test_executor_that_dies_takes_its_parts_along(store, x):
    big(x)
    store.faults.add("UploadPart", "hang", after=1, count=99)
    assert x.complete(headers={"Prefer": "respond-async"}).status == 202
    wait_for(lambda: any(u.parts for u in store.bucket.uploads.values()), "one part")
    x.process.kill()
    x.process.wait()
    wait_for(lambda: store.s3.open_uploads() == [], "the abort")


def test_sigterm_uploads(store, x):
    """A Spot interruption, or StopTask."""
    make_artifacts(x)
    ident = x.start("import time\nprint('in', flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "in")
    x.process.terminate()
    assert x.wait_exit() == 0
    assert {"artifacts/a.txt", "debug/executions/2.json"} <= set(store.keys())
    assert store.manifest()["nonce"] == ""


def test_progress(store, x):
    big(x)
    store.faults.add("UploadPart", "hang", after=2, seconds=30)
    x.complete(headers={"Prefer": "respond-async"})

    def look():
        state = x.get("/session/complete").json
        return state["bytes_done"] >= 16 * MIB and state
    state = wait_for(look, "the parts")
    assert state["state"] == "running" and state["bytes"] >= 30 * MIB > state["bytes_done"]
    assert state["files"] > state["files_done"]
    os.kill(helper(x), signal.SIGTERM)
    wait_for(lambda: x.get("/session/complete").json["state"] == "failed", "the end")
    store.faults.clear()


# ---- credentials

@pytest.fixture
def bare(store, make):
    """An executor without any credentials of its own."""
    x = make()
    del x.environment["AWS_ACCESS_KEY_ID"], x.environment["AWS_SECRET_ACCESS_KEY"]
    return x.boot()


def test_credentials_handed_over(store, bare):
    bare.run("open('artifacts/a', 'w').write('1')")
    failed = bare.complete()
    assert failed.status == 500 and "credentials" in failed.json["error"]
    who = store.limited()
    given = give(bare, who)
    assert given.status == 200
    assert given.json == {"session_id": "s-1", "expires_ms": int(who.expires.timestamp() * 1000)}
    assert bare.complete().status == 200
    assert {c.who for c in store.books.of("PutObject", "DeleteObject")} == {who.arn}


def test_credentials_expired_then_replaced(store, bare):
    big(bare, 9)
    old = store.limited()
    give(bare, old)
    store.identities.expire(old)
    failed = bare.complete()
    assert failed.status == 500 and "expired" in failed.json["error"].lower()
    assert give(bare, store.limited()).status == 200
    assert bare.complete().status == 200


def test_credentials_replaced_during_an_upload(store, bare):
    big(bare)
    old = store.limited()
    give(bare, old)
    store.faults.add("UploadPart", "hang", seconds=3, after=1)
    bare.complete(headers={"Prefer": "respond-async"})
    wait_for(lambda: any(u.parts for u in store.bucket.uploads.values()), "one part")
    assert give(bare, store.limited()).status == 200
    store.identities.expire(old)
    wait_for(lambda: bare.get("/session/complete").json["state"] == "done", "the upload")


def test_credentials_of_another_session(store, bare):
    bare.run("print(1)")
    give(bare, store.limited("s-2"))
    failed = bare.complete()
    assert failed.status == 500 and "AccessDenied" in failed.json["error"]
    give(bare, store.limited())
    assert bare.complete().status == 200


def test_sealed_credentials(store, bare):
    sealed = seal(bare, keys_of(store.limited()))

    def refused(text, status=403):
        answer = bare.post("/session/credentials", {"sealed": text})
        assert answer.status == status, answer.body
    for at in range(0, len(sealed), 41):
        refused(sealed[:at] + ("1" if sealed[at] == "0" else "0") + sealed[at + 1:])
    refused(sealed[:-2])
    refused("")
    refused("no hex")
    refused(seal(bare, keys_of(store.limited()), secrets.token_bytes(32)))
    refused(seal(bare, {"access_key_id": "A"}), 400)
    refused(seal(bare, {"access_key_id": "", "secret_access_key": ""}), 400)
    refused(7, 400)
    assert bare.post("/session/credentials").status == 400
    assert bare.call("POST", "/session/credentials", {"session_id": "s-2", "sealed": sealed}).status == 403
    assert bare.raw("POST", "/session/credentials", b"{}").status == 403
    bare.run("print(1)")
    assert bare.complete().status == 500  # none of these was taken


SPY = """
import os, glob
print(sorted(os.environ))
found = 0
for path in glob.glob('/proc/[0-9]*/*'):
    if os.path.basename(path) in ('environ', 'cmdline', 'comm', 'status', 'mem', 'fd'):
        try:
            if path.endswith('fd'):
                os.listdir(path)
            elif path.endswith('mem'):
                open(path, 'rb').close()
            else:
                text = open(path, 'rb').read()
                found += any(word in text for word in WORDS)
                continue
            if int(path.split('/')[2]) in PIDS:
                print('opened', path)
        except OSError:
            pass
print('found', found)
"""


@pytest.mark.parametrize("kind", ["another user", "the same user"])
def test_user_code_sees_no_credentials(store, executors, kind):
    """Neither in its own environment nor in /proc of the executor, of an upload's process."""
    own, given = store.task_role(), store.limited()
    options = {"CLEAT_SANDBOX": "none", "CLEAT_ARTIFACTS": f"s3://{BUCKET}/{PREFIX}", **own}
    if kind == "another user":
        x = executors("y", CLEAT_SANDBOX_UID=str(NOBODY), **options).boot()
    else:
        x = non_root(executors, **options)
    give(x, given)
    x.run("open('data/f', 'w').write('1')")
    store.faults.add("PutObject", "hang", seconds=20, count=99)
    waits = in_thread(lambda: sync(x, "upload", BASE + "input", "data"))
    pid = wait_for(lambda: helper(x, "--sync"), "the helper")
    wait_for(lambda: store.faults.waiting[0].went_off, "its call")
    words = [own["AWS_CONTAINER_AUTHORIZATION_TOKEN"], own["AWS_CONTAINER_CREDENTIALS_FULL_URI"][-36:],
             given.key, given.secret, x.secret.hex()]
    result = x.run("WORDS = %r\nPIDS = %r\n%s" % ([w[::-1].encode() for w in words], [x.process.pid, pid],
                                                  SPY.replace("word in text", "word[::-1] in text")))
    store.faults.clear()
    lines = result["stdout"].splitlines()
    assert lines[1:] == ["found 0"], result
    assert "AWS" not in lines[0] and "CLEAT" not in lines[0]
    for at in x.process.pid, pid:  # not even root finds them there
        with open("/proc/%d/environ" % at, "rb") as environ:
            text = environ.read()
            assert not any(word.encode() in text for word in words)
    os.kill(pid, signal.SIGTERM)
    assert waits().json["status"] == "error"


# ---- file-sync

def sync(x, action, prefix, path, bucket=BUCKET, timeout=60):
    return x.call("POST", "/file-sync", {"action": action, "bucket_name": bucket, "s3_key_prefix": prefix,
                                         "local_path": path}, timeout=timeout)


def test_file_sync(store, x):
    x.run("import os; os.makedirs('data/out/deep'); open('data/out/r.csv', 'w').write('result')\n"
          "open('data/out/deep/e', 'w')")
    up = sync(x, "upload", BASE + "output/1/", "/workspace/data/out")
    assert up.status == 200 and up.json == {"status": "success", "files_count": 2}
    assert store.read("output/1/r.csv") == b"result" and store.type_of("output/1/r.csv").startswith("text/csv")
    down = sync(x, "download", BASE + "output/1", "back")
    assert down.json == {"status": "success", "files_count": 2}
    assert x.run("import os; print(open('back/r.csv').read(), os.path.getsize('back/deep/e'))\n"
                 "open('back/r.csv', 'a').write('!')")["stdout"] == "result 0\n"
    assert sync(x, "download", BASE + "none", "back").json == {"status": "success", "files_count": 0}
    assert not [n for n in os.listdir(x.home) if n.startswith(".cleat")]


def test_file_sync_of_many(store, x):
    """More than one page of a listing holds."""
    for n in range(2300):
        store.bucket.put(f"{BASE}input/{n % 7}/f {n}+ü", str(n).encode())
    store.bucket.put(f"{BASE}input/", b"")  # a folder as the console makes them
    store.bucket.put(f"{BASE}input/3/", b"")
    store.bucket.put(f"{PREFIX}/s-1/inputs", b"not below it")
    down = sync(x, "download", BASE + "input/", "/workspace/input")
    assert down.json == {"status": "success", "files_count": 2300}
    assert len(store.books.of("ListObjectsV2")) == 3
    with open(x.home + "/input/0/f 7+ü") as file:
        assert file.read() == "7"
    assert sum(len(names) for _, _, names in os.walk(x.home + "/input")) == 2300
    if os.geteuid() == 0:
        assert os.stat(x.home + "/input/0/f 7+ü").st_uid == NOBODY == os.stat(x.home + "/input/0").st_uid


def test_file_sync_of_a_large_object(store, x):
    body = secrets.token_bytes(17 * MIB + 3)
    store.bucket.put(BASE + "input/big", body)
    store.faults.add("GetObject", "error", code="PreconditionFailed", status=412, after=1)
    store.faults.add("GetObject", "truncated", after=2)
    down = sync(x, "download", BASE + "input", "input")
    assert down.json == {"status": "success", "files_count": 1}
    with open(x.home + "/input/big", "rb") as file:
        assert file.read() == body
    ranges = [c.params.get("Range") for c in store.books.of("GetObject") if c.outcome == "ok"]
    assert ranges[-1] == f"bytes={16 * MIB}-{24 * MIB - 1}"
    assert store.books.of("GetObject")[-1].params["IfMatch"] == store.bucket.get(BASE + "input/big").etag


def test_file_sync_that_cannot_be_read(store, x):
    store.bucket.put(BASE + "input/a", b"1" * 100)
    store.bucket.put(BASE + "input/b", b"1" * 100)
    store.faults.add("GetObject", "error", code="AccessDenied", status=403, after=1, count=9)
    failed = sync(x, "download", BASE + "input", "input").json
    assert failed["status"] == "error" and "AccessDenied" in failed["error"]
    assert not [n for n in os.listdir(x.home) if n.startswith(".cleat")]


def test_file_sync_of_an_object_that_is_replaced(store, x):
    store.bucket.put(BASE + "input/a", b"123")
    store.faults.add("GetObject", "error", code="InvalidRange", status=416)  # it was empty meanwhile
    assert sync(x, "download", BASE + "input", "input").json == {"status": "success", "files_count": 1}
    assert x.run("print(open('input/a').read())")["stdout"] == "123\n"
    store.faults.add("GetObject", "error", code="PreconditionFailed", status=412, count=99)
    failed = sync(x, "download", BASE + "input", "input").json
    assert failed["status"] == "error" and "PreconditionFailed" in failed["error"]
    assert len(store.books.of("GetObject")) == 2 + 4


def test_file_sync_of_senseless_pages(store, x):
    for n in range(1001):
        store.bucket.put(f"{BASE}input/{n}", b"1")
    store.faults.add("ListObjectsV2", "malformed")
    assert sync(x, "download", BASE + "input", "input").json["status"] == "error"
    store.faults.add("ListObjectsV2", "error", code="AccessDenied", status=403, after=1)
    failed = sync(x, "download", BASE + "input", "input").json
    assert failed["status"] == "error" and "AccessDenied" in failed["error"]


def test_file_sync_that_cannot_write(store, executors):
    x = non_root(executors, CLEAT_ARTIFACTS=f"s3://{BUCKET}/{PREFIX}", **store.environment())
    store.bucket.put(BASE + "input/a", b"1")
    x.run("import os; os.makedirs('input/a/b')")
    failed = sync(x, "download", BASE + "input", "input").json
    assert failed["status"] == "error" and failed["error"].startswith("a: ")
    x.run("import os; os.chmod('.', 0o500)")
    failed = sync(x, "download", BASE + "input", "data").json
    assert failed["status"] == "error" and "Permission denied" in failed["error"]
    x.run("import os; os.chmod('.', 0o700)")
    assert sync(x, "download", BASE + "input", "data").json["status"] == "success"
    assert not [n for n in os.listdir(x.home) if n.startswith(".cleat")]


@pytest.mark.parametrize("key", ["../up", "a/../../up", "a/./b", "/abs", "a//b", ".", "n" * 256, "d/" * 30 + "n" * 256])
def test_file_sync_refuses_unsafe_keys(store, x, key):
    store.bucket.put(BASE + "input/" + key, b"evil")
    answer = sync(x, "download", BASE + "input", "input")
    assert answer.status == 200 and answer.json["status"] == "error" and "no safe path" in answer.json["error"]
    assert os.listdir(x.home + "/input") == []


def test_file_sync_follows_no_link(store, x):
    store.bucket.put(BASE + "input/cleat-test-file", b"evil")
    x.run("import os; os.symlink('/tmp', 'way'); os.symlink('/etc', 'data/way')")
    for path in "way", "data/way":
        assert sync(x, "download", BASE + "input", path).json["status"] == "error"
    assert sync(x, "upload", BASE + "output", "data/way").json["status"] == "error"
    assert not os.path.exists("/tmp/cleat-test-file") and not os.path.exists("/etc/cleat-test-file")


def test_file_sync_stays_in_its_part_of_the_bucket(store, x):
    for prefix in ("runs/today/s-2/input", "runs/today/s-11", "runs/today", "runs", "other/s-1/x", PREFIX + "/s-1"):
        for action in "upload", "download":
            answer = sync(x, action, prefix, "data")
            assert answer.status == 403 and answer.code == "forbidden", prefix
    assert sync(x, "download", BASE + "input", "data", "another-bucket").status == 403
    assert sync(x, "download", BASE + "../s-2/input", "data").status == 400
    assert store.books.calls == []


# ---- staging

def stage(store, source, target, who=None):
    """(exit status, the last line of each kind)."""
    made = subprocess.run([os.path.join(build_dir(), "cleat-executor"), "--stage", source, target],
                          env={"PATH": "/usr/bin:/bin", **store.environment(who)}, capture_output=True, text=True,
                          timeout=120)
    assert "Sanitizer" not in made.stderr and "runtime error" not in made.stderr, made.stderr
    return made.returncode, {line.split()[0]: line.split(None, 1)[1] for line in made.stdout.splitlines()}


@pytest.fixture
def given(tmp_path):
    where = tmp_path / "given"
    (where / "sub").mkdir(parents=True)
    (where / "a.txt").write_text("alpha")
    (where / "sub" / "b").write_bytes(b"b" * (9 * MIB))
    (where / "link").symlink_to("/etc/shadow")
    (where / "dir").symlink_to("/etc")
    os.mkfifo(where / "pipe")
    return where


def test_stage_to_directory(store, given, tmp_path):
    target = tmp_path / "store" / "s-1" / "input"
    for _ in range(2):
        assert stage(store, f"file://{given}", f"file://{target}") == (
            0, {"total": f"2 {9 * MIB + 5}", "done": f"2 {9 * MIB + 5}"})
        assert sorted(p.name for p in target.rglob("*")) == ["a.txt", "b", "sub"]
        assert (target / "sub" / "b").stat().st_size == 9 * MIB


def test_stage_to_s3(store, given):
    for _ in range(2):
        assert stage(store, f"file://{given}", f"s3://{BUCKET}/{BASE}input") == (
            0, {"total": f"2 {9 * MIB + 5}", "done": f"2 {9 * MIB + 5}"})
        assert store.keys() == ["input/a.txt", "input/sub/b"]
    assert store.type_of("input/a.txt").startswith("text/plain") and store.read("input/sub/b") == b"b" * 9 * MIB


def test_stage_within_s3(store):
    source = store.s3.bucket("somebody-else")
    for n in range(1200):
        source.put(f"in put/{n}+ü", str(n).encode(), {"ContentType": "text/x-odd", "Metadata": {"who": "me"}})
    source.put("in put/", b"")
    source.put("in puts", b"")
    for _ in range(2):
        code, lines = stage(store, "s3://somebody-else/in put/", f"s3://{BUCKET}/{BASE}input")
        assert (code, lines["done"].split()[0], lines["total"]) == (0, "1200", lines["done"])
    assert len(store.keys()) == 1200 and store.read("input/7+ü") == b"7"
    kept = store.bucket.get(BASE + "input/7+ü").headers
    assert kept["ContentType"] == "text/x-odd" and kept["Metadata"] == {"who": "me"}
    assert store.books.of("GetObject") == []


def test_stage_of_a_huge_object(tmp_path):
    """Above 5 GB S3 wants parts; the stand-in only says that it is so large."""
    store = Store(tmp_path / "s3", part_minimum=0)
    source = store.s3.bucket("somebody-else").put("in/huge", b"x", {"ContentType": "text/x-odd",
                                                                    "Metadata": {"who": "me"}})
    source.size = 6 << 30
    store.faults.add("UploadPartCopy", "503")
    assert stage(store, "s3://somebody-else/in", f"s3://{BUCKET}/{BASE}input")[0] == 0
    ranges = sorted(c.params["CopySourceRange"] for c in store.books.of("UploadPartCopy") if c.outcome == "ok")
    assert len(ranges) == 12 and f"bytes={(6 << 30) - (512 << 20)}-{(6 << 30) - 1}" in ranges
    assert {c.params["CopySourceIfMatch"] for c in store.books.of("UploadPartCopy")} == {source.etag}
    kept = store.bucket.get(BASE + "input/huge").headers
    assert kept["ContentType"] == "text/x-odd" and kept["Metadata"] == {"who": "me"}
    for action in "UploadPartCopy", "HeadObject", "CreateMultipartUpload", "CompleteMultipartUpload":
        store.faults.clear()
        store.faults.add(action, "error", code="AccessDenied", status=403, count=9,
                         after=3 if action == "UploadPartCopy" else 0)
        code, lines = stage(store, "s3://somebody-else/in", f"s3://{BUCKET}/{BASE}again")
        assert code == 1 and "in/huge" in lines["failed"] and store.s3.open_uploads() == []
    store.faults.clear()
    store.faults.add("UploadPartCopy", "malformed", count=999)
    assert stage(store, "s3://somebody-else/in", f"s3://{BUCKET}/{BASE}again")[0] == 1
    assert store.s3.open_uploads() == [] and store.keys() == ["input/huge"]
    store.close()


def test_stage_error_inside_200(store):
    store.s3.bucket("somebody-else").put("in/a", b"1")
    store.faults.add("CopyObject", "error_in_200")
    assert stage(store, "s3://somebody-else/in", f"s3://{BUCKET}/{BASE}input")[0] == 0
    assert len(store.books.of("CopyObject")) == 2


def test_stage_refusals(store, given, tmp_path):
    def refused(source, target, *words):
        code, lines = stage(store, source, target)
        assert code == 1 and all(word in lines["failed"] for word in words), lines
    (tmp_path / "way").symlink_to(given)
    url = f"s3://{BUCKET}/x"
    refused(f"file://{tmp_path}/way", url, "symbolic link")
    refused(f"file://{tmp_path}/way/sub", f"file://{tmp_path}/out", "symbolic link")
    refused(f"file://{tmp_path}/none", url, "No such file")
    refused(url, f"file://{tmp_path}/out", "nothing goes from")
    refused("http://x", url, "neither")
    refused(f"file://{given}", "s3://Bad_Bucket/x", "no valid name")
    refused(f"file://{given}", f"s3://{BUCKET}/a/../b", "prefix")
    refused(f"s3://{BUCKET}/a", f"s3://{BUCKET}/a/b", "lies within")
    refused(f"s3://{BUCKET}", f"s3://{BUCKET}/a/b", "lies within")
    refused(f"s3://{BUCKET}/none", url, "nothing is below")
    refused("s3://no-such-bucket/none", url, "NoSuchBucket")
    store.bucket.put("in/../x", b"1")
    refused(f"s3://{BUCKET}/in", url, "no safe path")
    assert store.keys("x") == [] and not (tmp_path / "out").exists()
    usage = subprocess.run([os.path.join(build_dir(), "cleat-executor"), "--stage", "x"], env={}, check=False)
    assert usage.returncode == 2


def test_stage_that_is_told_to_end(store, given):
    store.faults.add("UploadPart", "hang", after=1, count=9)
    running = subprocess.Popen([os.path.join(build_dir(), "cleat-executor"), "--stage", f"file://{given}",
                                f"s3://{BUCKET}/x"], env=store.environment(), stdout=subprocess.PIPE, text=True)
    wait_for(lambda: any(u.parts for u in store.bucket.uploads.values()), "one part")
    running.terminate()
    text = running.communicate(timeout=30)[0]
    assert running.returncode == 1 and "failed the copying process was told to end" in text
    assert store.s3.open_uploads() == []
