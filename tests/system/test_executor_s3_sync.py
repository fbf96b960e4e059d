"""Credentials that cleat-executor is given, and file-sync with S3."""

import os
import secrets
import signal

import pytest

from executor_client import wait_for
from executor_help import executors  # noqa: F401
from executor_help import NOBODY, in_thread, non_root
from executor_s3_help import make, store, x  # noqa: F401
from executor_s3_help import BASE, BUCKET, MIB, PREFIX, big, give, helper, keys_of, seal, sync

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
