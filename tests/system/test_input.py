"""Input: from a directory that the class allows to the tenant, through the store, to the workspace."""

import json

import pytest

from cleat_harness import BUILD, HERE, PYTHON, ApiError, alive, poll


def gated_executor(root):
    """cleat-executor, whose --stage waits as long as the gate is closed."""
    script = root / "executor"
    script.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --stage ]; then echo "$$" >>"{root}/stages"; '
        f'while [ -e "{root}/closed" ]; do sleep 0.02; done; fi\n'
        f'exec "{BUILD}/cleat-executor" "$@"\n')
    script.chmod(0o755)
    return script


def stages(root):
    """The pids of the copies so far."""
    path = root / "stages"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def fill(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.fixture
def source(start):
    return fill(start.root / "source", {"ann/a.txt": "from ann", "ann/deep/b.txt": "deeper",
                                        "bob/c.txt": "from bob", "bob-too/d.txt": "not bob's"})


def input_class(source, **values):
    return {"input_sources": [f"ann=file://{source}/ann", f"bob=file://{source}/bob"],
            "backoff_base_ms": 50, "launch_attempts": 3, **values}


LIST = ("import os\n"
        "print(sorted(os.path.relpath(os.path.join(d, f), 'input')"
        " for d, _, names in os.walk('input') for f in names))")


def test_input_is_there_when_the_session_is_ready(start, source):
    cleatd = start.cleatd(classes={"default": input_class(source)})
    api = cleatd.api
    url = f"file://{source}/ann"
    s = api.ready(tenant="ann", input=url, request_id="one")
    assert s["input"] == url
    assert {"input", "stage"} <= {p["name"] for p in s["phases"] if p["end_ms"] is not None}
    record = api.execute(s["session_id"], LIST + "\nprint(open('input/deep/b.txt').read())")
    assert record["stdout"].splitlines() == ["['a.txt', 'deep/b.txt']", "deeper"]
    assert cleatd.file_of(s["session_id"], "input/a.txt") == b"from ann"
    deeper = api.ready(tenant="ann", input=f"{url}/deep")
    assert api.execute(deeper["session_id"], LIST)["stdout"].strip() == "['b.txt']"
    with pytest.raises(ApiError) as failed:
        api.create(tenant="ann", input=f"{url}/deep", request_id="one")
    assert failed.value.code == "conflict", "input is a parameter like any other"
    assert api.ready(tenant="ann", input=url, request_id="one")["session_id"] == s["session_id"]


@pytest.mark.parametrize("tenant, path, code", [
    ("ann", "bob", "forbidden"), ("bob", "ann", "forbidden"), ("bob", "bob-too", "forbidden"),
    ("bob", "", "forbidden"), ("eve", "ann", "forbidden"), ("default", "ann", "forbidden"),
    ("ann", "ann/../bob", "invalid_request"), ("ann", "ann/./deep", "invalid_request"),
    ("ann", "ann//deep", "invalid_request"), ("ann", "ann/deep/..", "invalid_request"),
    ("ann", "ann/a\x01", "invalid_request")])
def test_what_is_not_allowed_is_refused(start, source, tenant, path, code):
    api = start.cleatd(classes={"default": input_class(source)}).api
    with pytest.raises(ApiError) as failed:
        api.create(tenant=tenant, input=f"file://{source}/{path}")
    assert failed.value.code == code and failed.value.error["admitted"] is False
    assert failed.value.status == (403 if code == "forbidden" else 400)
    assert api.sessions() == []


def test_the_tenants_name_in_a_source(start, source):
    api = start.cleatd(classes={"default": input_class(
        source, input_sources=[f"*=file://{source}/{{tenant}}"])}).api
    s = api.ready(tenant="bob", input=f"file://{source}/bob")
    assert api.execute(s["session_id"], LIST)["stdout"].strip() == "['c.txt']"
    for tenant, path in [("bob", "ann"), (".", "ann"), (".", "")]:
        with pytest.raises(ApiError) as failed:
            api.create(tenant=tenant, input=f"file://{source}/{path}")
        assert failed.value.code in ("forbidden", "invalid_request"), "a dot is no directory of its own"


def test_a_link_leads_nowhere(start, source):
    """The source may be written by its tenant, the copy is made by one who may read more."""
    (source / "ann" / "out").symlink_to(source / "bob")
    (source / "ann" / "deep" / "stolen").symlink_to("/etc/passwd")
    api = start.cleatd(classes={"default": input_class(source)}).api
    with pytest.raises(ApiError) as failed:
        api.ready(tenant="ann", input=f"file://{source}/ann/out")
    assert failed.value.code == "input_failed" and "symbolic link" in failed.value.error["message"]
    s = api.ready(tenant="ann", input=f"file://{source}/ann/deep")
    assert api.execute(s["session_id"], LIST)["stdout"].strip() == "['b.txt']"


def test_a_directory_that_is_not_there(start, source):
    cleatd = start.cleatd(classes={"default": input_class(source)}, executor=gated_executor(start.root))
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready(tenant="ann", input=f"file://{source}/ann/absent")
    assert failed.value.code == "input_failed" and "absent" in failed.value.error["message"]
    assert len(stages(start.root)) == 3, "it may yet come, so it is tried as often as a launch"
    session = cleatd.api.wait(failed.value.error["session_id"], "closed")
    assert session["state"] == "FAILED" and session["stop_reason"] == "input_failed"


def test_files_are_counted(start, source):
    """A container that tells less than was staged has not got its input."""
    (start.root / "plain").mkdir()
    plain = [PYTHON, HERE / "plain_container.py", "--dir", start.root / "plain", "--sync-files"]
    cleatd = start.cleatd(classes={
        "fewer": input_class(source, proof="none", command=[*plain, 1], create_timeout_s=3),
        "all": input_class(source, proof="none", command=[*plain, 2])})
    url = f"file://{source}/ann"
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready(tenant="ann", input=url, **{"class": "fewer"})
    assert failed.value.code == "input_failed" and "1 of 2 files" in failed.value.error["message"]
    s = cleatd.api.ready(tenant="ann", input=url, **{"class": "all"})["session_id"]
    requests = [json.loads(line) for line in (start.root / "plain" / "requests").read_text().splitlines()]
    synced = [json.loads(r["body"]) for r in requests if r["path"] == "/file-sync"]
    assert len(synced) > 2
    assert synced[-1] == {"action": "download", "bucket_name": "", "local_path": "/workspace/input",
                          "s3_key_prefix": f"{s}/input"}


def test_a_restart_in_the_middle_of_staging(start, source):
    (start.root / "closed").touch()
    cleatd = start.cleatd(classes={"default": input_class(source)}, executor=gated_executor(start.root))
    api = cleatd.api
    s = api.create(tenant="ann", input=f"file://{source}/ann")["session_id"]
    poll(lambda: api.session(s)["attempt_state"] == "STAGING", 20, "a container that waits for input")
    first = poll(lambda: stages(start.root), 10, "the copy")
    cleatd.kill()
    cleatd.start()
    poll(lambda: len(stages(start.root)) > len(first), 20, "another copy")
    (start.root / "closed").unlink()
    assert api.wait(s)["state"] == "READY"
    assert api.execute(s, LIST)["stdout"].strip() == "['a.txt', 'deep/b.txt']"
    assert len([l for l in cleatd.launches() if l.session == s]) == 1


def test_a_session_that_closes_takes_its_copy_along(start, source):
    (start.root / "closed").touch()
    cleatd = start.cleatd(classes={"default": input_class(source)}, executor=gated_executor(start.root))
    s = cleatd.api.create(tenant="ann", input=f"file://{source}/ann")["session_id"]
    pids = poll(lambda: stages(start.root), 20, "the copy")
    cleatd.api.close(s)
    poll(lambda: not any(alive(p) for p in pids), 10, "its end")


def test_copies_wait_for_their_turn(start, source):
    """However many sessions begin at once, eight copies run."""
    (start.root / "closed").touch()
    cleatd = start.cleatd(classes={"default": input_class(source)}, executor=gated_executor(start.root))
    ids = [cleatd.api.create(tenant="ann", input=f"file://{source}/ann")["session_id"] for _ in range(12)]
    poll(lambda: len(stages(start.root)) >= 8, 20, "eight copies")
    poll(lambda: all(cleatd.api.session(i)["attempt_state"] == "STAGING" for i in ids), 30, "all containers")
    assert len(stages(start.root)) == 8
    (start.root / "closed").unlink()
    assert {cleatd.api.wait(i)["state"] for i in ids} == {"READY"}
    assert len(stages(start.root)) == 12
