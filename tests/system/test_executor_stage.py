"""cleat-executor --stage: a session's input on its way to the store."""

import os
import subprocess

import pytest

from executor_client import build_dir, wait_for
from executor_s3_help import store  # noqa: F401
from executor_s3_help import BASE, BUCKET, MIB, Store


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
