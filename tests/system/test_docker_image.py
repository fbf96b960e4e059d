"""Images that dockerd must pull: from a registry of the tests' own."""

import json

import pytest

from cleat_harness import ApiError, in_parallel, poll
from docker_fakes import Registry, base64_of
from docker_harness import docker_class, dockerd, gone, without_docker  # noqa: F401

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
    registry.offer("small", dockerd.export())
    cleatd = start.cleatd(classes={"default": docker_class(
        dockerd, image=f"{registry.address}/small", command="/bin/cleat-executor")})
    in_parallel(lambda _: cleatd.api.ready(), range(4))
    lines = cleatd.log_lines()
    assert len([n for n in lines if "event=image.pull " in n]) == 1
    assert len([n for n in lines if "event=image.pulled" in n]) == 1
    cleatd.api.close_all()
    gone(dockerd)


