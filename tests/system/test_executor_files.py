"""Files that come and go while the session lasts: claim and file-sync."""

import os

import pytest

from executor_help import executors, x  # noqa: F401
from executor_help import write_file


def told(x):
    """What a coordinator that has lost its journal asks."""
    info = x.get("/container-info").json
    return info["claimed"], info["synced"]


def test_claim(x, tmp_path):
    given = tmp_path / "given"
    (given / "sub").mkdir(parents=True)
    (given / "sub" / "f").write_text("input")
    (given / "link").symlink_to("/etc/shadow")
    claim = {"env": {"WHO": "me", "LANG": "de"}, "input": "file://%s" % given}
    assert told(x) == (False, False)
    assert x.post("/session/claim", claim).status == 200
    assert x.post("/session/claim", claim).status == 200
    assert x.post("/session/claim", {"env": {"WHO": "other"}}).status == 409
    assert told(x) == (True, False)
    result = x.run("import os\nprint(os.environ['WHO'], os.environ['LANG'], open('input/sub/f').read())\n"
                   "print(os.listdir('input'))\nopen('input/sub/f', 'w').write('mine')")
    assert result["stdout"] == "me de input\n['sub']\n" and result["status"] == "completed"
    assert x.run("import os; print(os.environ['WHO'])", env={"WHO": "her"})["stdout"] == "her\n"


def test_claim_that_fails_can_be_repeated(x, tmp_path):
    given = tmp_path / "later"
    claim = {"input": "file://%s" % given}
    assert x.post("/session/claim", claim).status == 500
    assert told(x) == (False, False)
    given.mkdir()
    (given / "f").write_text("1")
    assert x.post("/session/claim", claim).status == 200
    assert os.path.exists(x.home + "/input/f")


@pytest.mark.parametrize("fields", [
    {"env": {"A": 1}}, {"env": "x"}, {"input": 5}, {"input": "s3://b/p"}, {"input": "file://relative"}])
def test_bad_claim(x, fields):
    assert x.post("/session/claim", fields).status == 400
    assert x.post("/session/claim", {}).status == 200


def sync(x, action, prefix, path):
    return x.call("POST", "/file-sync", {"action": action, "bucket_name": "any", "s3_key_prefix": prefix,
                                         "local_path": path})


def test_file_sync(x):
    x.run("import os; os.makedirs('data/out'); open('data/out/r', 'w').write('result')")
    up = sync(x, "upload", "shared/run1", "/workspace/data/out")
    assert up.status == 200 and up.json == {"status": "success", "files_count": 1}
    with open(x.artifacts + "/shared/run1/r") as copy:
        assert copy.read() == "result"
    assert told(x) == (False, False)
    down = sync(x, "download", "shared/run1", "back")
    assert down.json == {"status": "success", "files_count": 1}
    assert told(x) == (False, True)
    assert x.run("print(open('back/r').read()); open('back/r', 'a').write('!')")["stdout"] == "result\n"
    assert sync(x, "download", "shared/none", "back").json["files_count"] == 0


def test_file_sync_stays_below_its_roots(x):
    for prefix, path in (("../x", "data"), ("a/../../x", "data"), ("/abs", "data"), ("", "data"),
                         ("a", "../x"), ("a", "/etc"), ("a", "/workspace/../x"), ("a", "data//x"),
                         ("a", "/workspacex")):
        for action in "upload", "download":
            assert sync(x, action, prefix, path).status == 400, (prefix, path)
    assert sync(x, "move", "a", "data").status == 400
    x.run("import os; os.symlink('/etc', 'way'); os.symlink('/tmp', 'data/way')")
    assert sync(x, "upload", "a", "way").json["status"] == "error"
    os.makedirs(x.artifacts + "/b")
    write_file(x.artifacts + "/b/cleat-test-file", "1")
    assert sync(x, "download", "b", "way").json["status"] == "error"
    assert sync(x, "download", "b", "data/way").json["status"] == "error"
    assert not os.path.exists("/etc/cleat-test-file") and not os.path.exists("/tmp/cleat-test-file")
