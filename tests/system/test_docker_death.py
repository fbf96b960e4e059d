"""Containers of a real dockerd that die under their sessions."""

import pytest

from cleat_harness import poll
from death_help import check_closed, check_replaced, killed_during, make_source, open_session, options
from docker_fakes import LyingDockerd
from docker_harness import docker_class, dockerd, gone, without_docker  # noqa: F401

pytestmark = without_docker


@pytest.mark.parametrize("policy", ["fail", "replace"])
def test_killed(start, dockerd, policy):
    """Also with an engine whose events do not come: whoever doubts asks."""
    source = make_source(start.root)
    deaf = start.add(LyingDockerd(dockerd, start.root / "deaf", {"/events": ("hang", 1000)}))
    socket = dockerd.socket if policy == "fail" else deaf.socket
    api = start.cleatd(classes={"default": docker_class(
        dockerd, **options(source, on_death=policy, docker_socket=socket))}).api
    session = open_session(api, f"file://{source}")
    with killed_during(api, session, lambda: dockerd.kill(session), 20) as third:
        (check_closed if policy == "fail" else check_replaced)(api, session, third)
    poll(lambda: not dockerd.running(), 30, "the end of all containers")
    [lost] = dockerd.containers()  # what died before its upload is kept
    dockerd.remove(lost["Id"])
