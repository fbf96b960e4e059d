"""The upload of cleat-executor to S3, and what may go wrong with it. The stand-in checks every signature
with botocore's signer; what is in the bucket is read from its own books."""

import hashlib
import os
import secrets
import signal
import socket
import subprocess

import pytest

from executor_client import build_dir, wait_for
from executor_help import executors  # noqa: F401
from executor_help import in_thread, make_artifacts
from executor_s3_help import make, store, x  # noqa: F401
from executor_s3_help import BASE, BUCKET, MIB, big, helper


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
