"""The upload of a session that is complete."""

import hashlib
import json
import os
import signal

from executor_client import wait_for
from executor_help import each, executors, x  # noqa: F401
from executor_help import NOBODY, children, in_thread, make_artifacts, needs_root, write_file


def test_complete(each):
    make_artifacts(each)
    answer = each.complete()
    assert answer.status == 200
    done = answer.json
    assert done["upload_completed"] is True and done["session_id"] == "s-1"
    assert done["manifest"] == each.store + "/manifest.json"
    manifest = each.manifest()
    assert manifest["session_id"] == "s-1" and manifest["attempt"] == 1
    assert manifest["nonce"] == "n-1" and manifest["skipped"] == []
    files = {file["path"]: file for file in manifest["files"]}
    assert {"artifacts/a.txt", "artifacts/deep/er/b.bin", "artifacts/empty", "data/d.csv",
            "debug/session_status.json", "debug/executions/1.json"} <= set(files)
    assert "elsewhere" not in str(files)
    assert done["files"] == len(files) and done["bytes"] == manifest["bytes"]
    assert manifest["bytes"] == sum(file["size"] for file in manifest["files"])
    for path, file in files.items():
        with open(os.path.join(each.store, path), "rb") as copy:
            content = copy.read()
        assert hashlib.sha256(content).hexdigest() == file["sha256"] and len(content) == file["size"]
    on_disk = [os.path.relpath(os.path.join(folder, name), each.store)
               for folder, _, names in os.walk(each.store) for name in names]
    assert sorted(on_disk) == sorted(list(files) + ["manifest.json"])  # no temporary name is left


def test_complete_is_idempotent_and_closes(x):
    make_artifacts(x)
    first = x.complete().json
    stamp = os.stat(x.store + "/manifest.json")
    assert x.complete().json == first
    again = os.stat(x.store + "/manifest.json")
    assert (stamp.st_ino, stamp.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)
    refused = x.execute("print(1)")
    assert refused.status == 409 and refused.code == "session_closed"
    assert x.post("/session/claim").status == 409
    health = x.raw("GET", "/health")
    assert health.status == 503 and health.json["status"] == "complete"
    assert health.json["session_id"] == "s-1"


def test_records_can_be_read_after_complete(x):
    first = x.run("print(1)", execution_id="e-1")
    x.complete()
    assert x.run("print(1)", execution_id="e-1") == first


def test_complete_async(x):
    make_artifacts(x)
    assert x.get("/session/complete").json["state"] == "none"
    answer = x.complete(headers={"Prefer": "respond-async, wait=10"})
    assert answer.status == 202 and answer.json == {"state": "running"}

    def done():
        assert x.raw("GET", "/health").status == 200
        state = x.get("/session/complete").json
        assert state["state"] in ("running", "done")
        return state["state"] == "done" and state
    state = wait_for(done, "the upload")
    assert state["upload_completed"] is True and state["files"] == state["files_done"] > 0
    assert state["bytes"] == state["bytes_done"] > 0
    assert x.raw("GET", "/health").status == 200, "who forgot the confirmation can ask for it again"


def test_completes_share_one_upload(x):
    make_artifacts(x)
    answers = [in_thread(x.complete) for _ in range(4)]
    documents = [answer().json for answer in answers]
    assert all(document == documents[0] for document in documents)
    assert x.log.count("upload.done") == 1


def test_complete_ends_the_running_execution_first(x):
    ident = x.start("import signal, sys, time\n"
                    "def stop(*_):\n"
                    "    time.sleep(0.5); open('artifacts/last', 'w').write('whole'); sys.exit(0)\n"
                    "signal.signal(signal.SIGTERM, stop)\n"
                    "print('in', flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "in")
    assert x.complete().status == 200
    assert x.record(ident)["cancelled"] is True
    with open(x.store + "/artifacts/last") as copy:
        assert copy.read() == "whole"
    with open(x.store + "/debug/executions/1.json") as copy:
        assert json.load(copy)["cancelled"] is True


def test_failed_complete_can_be_asked_again(executors):
    x = executors(CLEAT_SANDBOX_UID=str(NOBODY))
    write_file(x.artifacts, "a file where a directory must be")
    x.boot()
    make_artifacts(x)
    answer = x.complete()
    assert answer.status == 500 and answer.json["upload_completed"] is False
    assert x.artifacts in answer.json["error"]
    assert x.get("/session/complete").json["state"] == "failed"
    assert x.raw("GET", "/health").status == 200
    assert x.execute("print(1)").status == 409
    os.unlink(x.artifacts)
    again = x.complete()
    assert again.status == 200 and again.json["upload_completed"] is True
    assert x.raw("GET", "/health").status == 503


def test_upload_that_dies_can_be_repeated(x):
    x.run("open('artifacts/big', 'w').truncate(800 << 20)")
    assert x.complete(headers={"Prefer": "respond-async"}).status == 202

    def upload():
        for pid in children(x.process.pid):
            with open("/proc/%d/cmdline" % pid) as line:
                if "--upload" in line.read():
                    return pid
    pid = wait_for(upload, "the upload's process")
    wait_for(lambda: x.get("/session/complete").json["bytes_done"] > 1 << 20, "the big file")
    os.kill(pid, signal.SIGSTOP)
    assert ".upload.new" in os.listdir(x.store)  # it is in the middle of it
    waits = in_thread(x.complete)
    assert x.get("/session/complete").json["state"] == "running"
    assert x.raw("GET", "/health").status == 200
    assert not os.path.exists(x.store + "/manifest.json")
    os.kill(pid, signal.SIGKILL)
    failed = waits()
    assert failed.status == 500 and "status 9" in failed.json["error"]
    assert x.get("/session/complete").json["error"] == failed.json["error"]
    assert x.complete().json["upload_completed"] is True
    assert sorted(os.listdir(x.store)) == ["artifacts", "debug", "manifest.json"]
    assert sorted(os.listdir(x.store + "/artifacts")) == ["big"]


def test_complete_without_a_store(executors):
    x = executors(CLEAT_ARTIFACTS="").boot()
    x.run("print(1)")
    done = x.complete().json
    assert done["upload_completed"] is True and done["files"] == 0 and done["manifest"] is None


def test_nothing_but_plain_files_is_uploaded(each):
    write_file(each.artifacts + "-secret", "private")
    os.chmod(each.artifacts + "-secret", 0o600)
    each.run("import os, socket\n"
             "os.chdir('artifacts')\n"
             "os.symlink('/etc/shadow', 'link')\n"
             "os.symlink('/etc', 'directory')\n"
             "os.symlink('../../debug', 'up')\n"
             "os.mkfifo('pipe')\n"
             "socket.socket(socket.AF_UNIX).bind('socket')\n"
             "open('plain', 'w').write('1')\n"
             "os.rename('../data', '../was-data'); os.symlink('/etc', '../data')\n")
    assert each.complete().status == 500  # data itself is a link now
    os.unlink(each.home + "/data")
    assert each.complete().status == 200
    skipped = {entry["path"]: entry["why"] for entry in each.manifest()["skipped"]}
    assert skipped == {
        "artifacts/link": "symbolic link", "artifacts/directory": "symbolic link",
        "artifacts/up": "symbolic link", "artifacts/pipe": "special file",
        "artifacts/socket": "special file"}
    assert sorted(os.listdir(each.store + "/artifacts")) == ["plain"]


@needs_root
def test_files_of_others_are_not_uploaded(x):
    """A hard link to somebody else's file carries its owner with it."""
    secret = x.workspace + "/secret"
    write_file(secret, "root's")
    os.link(secret, x.home + "/artifacts/stolen")
    x.run("print(1)")
    assert x.complete().status == 200
    assert {"path": "artifacts/stolen", "why": "another owner"} in x.manifest()["skipped"]
    assert not os.path.exists(x.store + "/artifacts/stolen")


def test_odd_names(x):
    x.run("import os\n"
          "open(b'artifacts/\\xff\\xfe', 'w')\n"
          "open('artifacts/new\\nline', 'w')\n"
          "open('artifacts/.upload.new', 'w').write('mine')\n"
          "path = 'artifacts'\n"
          "for _ in range(80):\n"
          "    path += '/d'; os.mkdir(path)\n"
          "open(path + '/f', 'w')")
    assert x.complete().status == 200
    manifest = x.manifest()
    paths = [file["path"] for file in manifest["files"]]
    assert "artifacts/\ufffd\ufffd" in paths and "artifacts/new\nline" in paths
    assert "artifacts/.upload.new" in paths
    assert [entry["why"] for entry in manifest["skipped"]] == ["too deep"]


def test_a_hole_stays_a_hole(x):
    x.run("f = open('artifacts/sparse', 'wb'); f.write(b'begin'); f.truncate(64 << 20); f.close()\n"
          "f = open('data/middle', 'wb'); f.seek(8 << 20); f.write(b'end'); f.close()")
    assert x.complete().json["upload_completed"] is True
    sparse, middle = (os.path.join(x.store, p) for p in ("artifacts/sparse", "data/middle"))
    assert os.path.getsize(sparse) == 64 << 20 and os.stat(sparse).st_blocks * 512 < 4 << 20
    assert os.path.getsize(middle) == (8 << 20) + 3 and os.stat(middle).st_blocks * 512 < 4 << 20
    with open(sparse, "rb") as f:
        assert f.read(6) == b"begin\0"
    with open(middle, "rb") as f:
        assert f.read().strip(b"\0") == b"end"
