"""Images that dockerd must pull: from a registry of the tests' own."""

import json
import os
import signal

import pytest

from cleat_harness import ApiError, in_parallel, poll
from docker_fakes import Registry, base64_of
from docker_harness import docker_class, dockerd, gone, image_tar, without_docker  # noqa: F401

pytestmark = without_docker


@pytest.fixture
def registry(start):
    return start.add(Registry())


def test_missing_image(start, dockerd, registry):
    """Asked for once, then the registry's own word; nothing is tried again."""
    cleatd = start.cleatd(classes={"default": docker_class(
        dockerd, image=f"{registry.address}/nothing:1")})
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready()
    assert (failed.value.code, failed.value.error["retryable"]) == ("permanent", False)
    assert "nothing" in failed.value.error["message"]
    assert len([n for n in cleatd.log_lines() if "event=image.pull " in n]) == 1
    gone(dockerd)


def test_pull(start, dockerd, registry):
    """Four sessions wait for one pull."""
    registry.offer("small", image_tar())
    cleatd = start.cleatd(classes={"default": docker_class(
        dockerd, image=f"{registry.address}/small", command="/bin/cleat-executor")})
    in_parallel(lambda _: cleatd.api.ready(), range(4))
    lines = cleatd.log_lines()
    assert len([n for n in lines if "event=image.pull " in n]) == 1
    assert len([n for n in lines if "event=image.pulled" in n]) == 1
    cleatd.api.close_all()
    gone(dockerd)


def private_class(dockerd, registry):
    return docker_class(dockerd, image=f"{registry.address}/small", command="/bin/cleat-executor")


def test_progress(start, dockerd, registry):
    """How far the pull is shows in the session while it waits, not afterwards."""
    registry.offer("slow", image_tar({"large": os.urandom(8 << 20)}))
    registry.hold()
    api = start.cleatd(classes={"default": docker_class(
        dockerd, image=f"{registry.address}/slow", command="/bin/cleat-executor")}).api
    sessions = [api.create()["session_id"] for _ in range(2)]
    for s in sessions:
        said = poll(lambda: (p := api.session(s)["progress"]) and " MB" in p and p, 20, "progress in MB")
        assert said.startswith(f"pulling {registry.address}/slow: 0 of 1 layers, "), said
        done, total = (float(word) for word in said.split(", ")[1].removesuffix(" MB").split(" of "))
        assert 0 < done < total
    registry.release()
    for s in sessions:
        assert api.wait(s, "ready")["progress"] is None
    api.close_all()
    gone(dockerd)


@pytest.mark.parametrize("missing", [False, True], ids=["there", "missing"])
def test_another_image_meanwhile(start, dockerd, registry, missing):
    """What is configured while another image is pulled waits for its own pull, and neither's end is the
    other's."""
    if not missing:
        registry.offer("old", image_tar({"large": os.urandom(8 << 20)}))
    registry.offer("new", image_tar({"name": missing * b"other"}))
    registry.hold("old")
    cleatd = start.cleatd(classes={"default": docker_class(
        dockerd, image=f"{registry.address}/old", command="/bin/cleat-executor")})
    api = cleatd.api
    first = api.create()["session_id"]
    poll(lambda: "/old" in (api.session(first)["progress"] or ""), 20, "the pull of the old image")
    cleatd.classes["default"]["image"] = f"{registry.address}/new"
    cleatd.config_path.write_text(cleatd._config())
    cleatd.process.send_signal(signal.SIGHUP)
    poll(lambda: any("event=reload.done" in line for line in cleatd.log_lines()), 30, "the new configuration")
    second = api.create()["session_id"]
    assert api.wait(second)["state"] == "READY"
    assert "/old" in api.session(first)["progress"], "it still waits"
    registry.release()
    if missing:
        assert api.wait(first, "closed")["stop_reason"] == "permanent"
    else:
        assert api.wait(first)["state"] == "READY"
    assert [dockerd.inspect(c["Id"])["Config"]["Image"] for s in (first, second)
            for c in dockerd.of_session(s)] == [f"{registry.address}/{n}" for n in ("old", "new")[missing:]]
    api.close_all()
    gone(dockerd)


@pytest.fixture
def private(start, dockerd, monkeypatch):
    """A registry that wants a login, and where the client's configuration is."""
    registry = start.add(Registry(login="user:pa:ss"))
    registry.offer("small", image_tar())
    monkeypatch.setenv("DOCKER_CONFIG", str(start.root))
    return registry, lambda document: (start.root / "config.json").write_text(json.dumps(document))


def refused(start, dockerd, registry):
    """What it says."""
    with pytest.raises(ApiError) as failed:
        start.cleatd(classes={"default": private_class(dockerd, registry)}).api.ready()
    assert failed.value.code == "permanent", failed.value
    gone(dockerd)
    return failed.value.error["message"]


def test_login(start, dockerd, private):
    """The login that `docker login` has left is used; it is in no log."""
    registry, configure = private
    configure({"auths": {registry.address: {"auth": base64_of("user:pa:ss")}}})
    cleatd = start.cleatd(classes={"default": private_class(dockerd, registry)})
    cleatd.api.close(cleatd.api.ready()["session_id"])
    log = cleatd.log_path.read_text()
    assert "pa:ss" not in log and base64_of("user:pa:ss") not in log
    gone(dockerd)


@pytest.mark.parametrize("document, said", [
    ({}, "no basic auth credentials"),
    ({"auths": {"ADDRESS": {"auth": base64_of("user:wrong")}}}, "unauthorized"),
    ({"auths": {"ADDRESS": {}}, "credsStore": "secretservice"}, "docker-credential-secretservice"),
])
def test_no_login(start, dockerd, private, document, said):
    """Who may not pull is told why, at once."""
    registry, configure = private
    configure(json.loads(json.dumps(document).replace("ADDRESS", registry.address)))
    assert said in refused(start, dockerd, registry)
