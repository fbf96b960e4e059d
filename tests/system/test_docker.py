"""The runtime `docker` with a real dockerd. Every claim about containers is dockerd's word."""

import json
import pathlib
import socket
import subprocess
import time
import uuid

import pytest

from cleat_harness import BUILD, SOURCE, ApiError, in_parallel, poll
from docker_harness import (Podman, docker_class, dockerd, gone, user_status,  # noqa: F401
                            without_docker)
from test_lost_journal import lose

pytestmark = without_docker


@pytest.fixture
def cleatd(start, dockerd):
    return start.cleatd(classes={"default": docker_class(
        dockerd, memory_mb=256, cpu_milli=1500, processes=100, create_timeout_s=180)})


def test_whole_life(cleatd, dockerd):
    """Execute, artifact, close; what dockerd was told to enforce; user code's uid and view."""
    api = cleatd.api
    session = api.ready()["session_id"]
    [c] = dockerd.of_session(session)
    host = dockerd.inspect(c["Id"])["HostConfig"]
    assert c["Names"] == [f"/cleat.{session}.1"] and c["Labels"]["cleat.attempt"] == "1"
    assert [p["IP"] for p in c["Ports"]] == ["127.0.0.1"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (256 << 20, 1500000000, 100)
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"] and not host["Privileged"]

    done = api.execute(session, "BASH:echo hello; id -u; echo kept >artifacts/a.txt")
    assert (done["status"], done["stdout"]) == ("completed", "hello\n200000\n")
    tried = api.execute(session, "BASH:echo x >/bin/x || echo x >/x || cat /artifacts/*/* || "
                                 "cat /proc/1/environ || echo refused")
    assert tried["stdout"] == "refused\n", tried
    api.close(session)
    assert cleatd.file_of(session, "artifacts/a.txt") == b"kept\n"
    assert cleatd.manifest(session)["session_id"] == session
    gone(dockerd)


def test_tmpfs_and_user(start, dockerd):
    """A workspace in memory, an executor that is not root and has no capability."""
    api = (cleatd := start.cleatd(classes={"default": docker_class(
        dockerd, docker_tmpfs_mb=16, docker_user="1234:1235")})).api
    session = api.ready()["session_id"]
    done = api.execute(session, "BASH:id -u; id -g; cat /proc/self/status >artifacts/s; "
                                "cat /dev/zero >data/large || echo full")
    assert done["stdout"] == "1234\n1235\nfull\n"
    api.execute(session, "BASH:echo >data/large")
    api.close(session)
    status = dict(line.split(":\t", 1) for line in
                  cleatd.file_of(session, "artifacts/s").decode().splitlines() if ":\t" in line)
    assert {status[n] for n in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    gone(dockerd)


@pytest.mark.parametrize("count", [50])
def test_many_at_once(cleatd, dockerd, count):
    """Each has its own container and its own address; afterwards there is none."""
    api, begun = cleatd.api, time.monotonic()
    sessions = in_parallel(lambda _: api.ready(timeout_s=150)["session_id"], range(count))
    print(f"{count} of {count} ready after {time.monotonic() - begun:.1f} s")
    running = dockerd.running()
    assert sorted(c["Labels"]["cleat.session"] for c in running) == sorted(sessions)
    assert len({c["Ports"][0]["PublicPort"] for c in running}) == count
    outputs = in_parallel(lambda s: api.execute(s, "BASH:echo $SESSION_ID")["stdout"], sessions)
    assert outputs == [s + "\n" for s in sessions]
    runtime = api.status()["classes"]["default"]["runtime"]
    assert (runtime["name"], runtime["containers"], runtime["connected"]) == ("docker", count, True)
    api.close_all()
    gone(dockerd)
    print(f"all gone after {time.monotonic() - begun:.1f} s")


def test_one_request_id_one_container(cleatd, dockerd):
    name = f"one-{uuid.uuid4()}"
    answers = in_parallel(lambda _: cleatd.api.ready(request_id=name), range(50))
    assert len({a["session_id"] for a in answers}) == 1
    assert len(dockerd.containers()) == 1
    cleatd.api.close(answers[0]["session_id"])
    gone(dockerd)


def test_killed_container(cleatd, dockerd):
    """Its death is known from the event stream, long before a health check could fail."""
    api = cleatd.api
    session = api.ready()["session_id"]
    dockerd.kill(session)
    poll(lambda: api.session(session)["state"] not in ("READY", "BUSY"), 5, "the session's end")
    ended = api.wait(session, "closed")
    assert ended["stop_reason"] == "container_died", ended
    line = next(n for n in cleatd.log_lines() if "event=container.died" in n)
    assert "killed by signal 9" in line
    gone(dockerd)


def test_out_of_memory(cleatd, dockerd):
    """Memory is limited for the container: its hunger ends it and no other. What it left is kept,
    since its upload was never confirmed."""
    api = cleatd.api
    other, session = (api.ready()["session_id"] for _ in range(2))
    with pytest.raises(ApiError) as failed:
        api.execute(session, "BASH:echo kept >data/kept; cat /dev/zero >/tmp/much; sleep 60")
    assert failed.value.code == "container_died" and "out of memory" in failed.value.error["message"]
    api.wait(session, "closed")
    assert api.execute(other, "BASH:echo fine")["stdout"] == "fine\n"
    [kept] = dockerd.of_session(session)
    [mount] = [m for m in dockerd.inspect(kept["Id"])["Mounts"] if m["Type"] == "volume"]
    assert kept["State"] == "exited"
    assert pathlib.Path(mount["Source"], "home/data/kept").read_bytes() == b"kept\n"
    dockerd.remove(kept["Id"])
    api.close(other)
    gone(dockerd)


def test_restart_finds_the_same_containers(cleatd, dockerd):
    """Killed and started again, also with a container that died meanwhile."""
    api = cleatd.api
    kept, lost = (api.ready()["session_id"] for _ in range(2))
    api.execute(kept, "BASH:echo 1 >data/before")
    before = {c["Id"] for c in dockerd.of_session(kept)}
    cleatd.kill()
    dockerd.kill(lost)
    cleatd.start()
    assert api.wait(kept, "ready")["state"] == "READY"
    assert api.execute(kept, "BASH:cat data/before")["stdout"] == "1\n"
    assert {c["Id"] for c in dockerd.of_session(kept)} == before
    assert api.wait(lost, "closed")["stop_reason"] == "container_died"
    api.close(kept)
    gone(dockerd)


def test_killed_while_launching(cleatd, dockerd):
    """SIGKILL at any moment of eight launches: each session has one container afterwards."""
    api = cleatd.api
    sessions = [api.create()["session_id"] for _ in range(8)]
    poll(lambda: dockerd.containers(), 20, "a first container")
    cleatd.kill()
    cleatd.start()
    in_parallel(lambda s: api.wait(s, "ready"), sessions)
    running = [c["Labels"]["cleat.session"] for c in dockerd.running()]
    assert sorted(running) == sorted(sessions)
    api.close_all()
    gone(dockerd)


def test_orphan_is_closed(start, dockerd):
    """A container with our label that no row owns goes, a stranger's stays."""
    cleatd = start.cleatd(classes={"default": docker_class(dockerd)}, reap_grace_s=1)
    api = cleatd.api
    ids = [api.close(api.ready()["session_id"])["session_id"] for _ in range(2)]
    unknown = ids[0][:-4] + ("0000" if ids[0][-4:] != "0000" else "0001")
    labels = {"cleat.owner": "cleat", "cleat.session": unknown, "cleat.attempt": "1"}
    cleatd.terminate()
    orphan = dockerd.run(f"cleat.{labels['cleat.session']}.1", labels)
    stranger = dockerd.run("stranger", {"cleat.owner": "another"})
    cleatd.start()
    poll(lambda: orphan not in [c["Id"] for c in dockerd.containers()], 30, "the orphan's end")
    assert [c["Id"] for c in dockerd.running()] == [stranger]
    dockerd.remove(stranger)


def test_command_that_is_not_there(start, dockerd):
    api = start.cleatd(classes={"default": docker_class(dockerd, command="/no/such/program x")}).api
    with pytest.raises(ApiError) as failed:
        api.ready()
    assert (failed.value.code, failed.value.error["retryable"]) == ("permanent", False)
    assert "/no/such/program" in failed.value.error["message"]
    gone(dockerd)


def test_limits_hold(start, dockerd):
    """What a container may not do it cannot: processes, CPU, root file system, capabilities."""
    api = start.cleatd(classes={"default": docker_class(
        dockerd, memory_mb=256, cpu_milli=200, processes=40)}).api
    session = api.ready()["session_id"]
    [c] = dockerd.of_session(session)
    bomb = api.execute(session, "BASH:sh -c 'while :; do sleep 20 >/dev/null 2>&1 & done'")
    assert "fork" in bomb["stderr"].lower(), bomb
    stats = dockerd.ask("GET", f"/containers/{c['Id']}/stats?stream=false&one-shot=true")[1]
    assert stats["pids_stats"]["limit"] == 40
    api.execute(session, "BASH:i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done")
    throttled = lambda: dockerd.ask("GET", f"/containers/{c['Id']}/stats?stream=false&one-shot=true")[1][
        "cpu_stats"]["throttling_data"]["throttled_periods"]
    assert throttled() > 0

    status = user_status(api, session)
    assert {status[n] for n in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    allowed = sum(1 << bit for bit in (0, 1, 3, 5, 6, 7))  # linux/capability.h: CHOWN … SETUID
    assert int(status["CapBnd"], 16) == allowed and status["NoNewPrivs"] == "1"
    mounts = api.execute(session, "BASH:cat /proc/self/mounts")["stdout"].splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    assert options["/"][0] == "ro" and {"nosuid", "nodev"} <= set(options["/tmp"])
    api.close(session)
    gone(dockerd)


def test_published_on_loopback(cleatd, dockerd):
    """The port answers on 127.0.0.1 and on no other address of this machine."""
    session = cleatd.api.ready()["session_id"]
    ip, port = cleatd.api.session(session)["address"].rsplit(":", 1)
    assert ip == "127.0.0.1"
    socket.create_connection((ip, int(port)), 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((dockerd.address, int(port)), 5)
    cleatd.api.close(session)
    gone(dockerd)


def test_network(start, dockerd):
    """The class's network and no other; on one that publishes nothing the launch fails and says so."""
    body = json.dumps({"Name": "own", "CheckDuplicate": True})
    assert dockerd.ask("POST", "/networks/create", body, {"Content-Type": "application/json"})[0] == 201
    api = start.cleatd(classes={
        "default": docker_class(dockerd, docker_network="own"),
        "lost": docker_class(dockerd, docker_network="none", launch_attempts=1)}).api
    session = api.ready()["session_id"]
    [c] = dockerd.of_session(session)
    assert list(dockerd.inspect(c["Id"])["NetworkSettings"]["Networks"]) == ["own"]
    with pytest.raises(ApiError) as failed:
        api.ready(**{"class": "lost"})
    assert failed.value.code == "launch_failed" and "network none" in failed.value.error["message"]
    api.close(session)
    gone(dockerd)
    assert dockerd.ask("DELETE", "/networks/own")[0] == 204


def test_podman(start):
    """A life over Podman's socket: limits, death by its event stream, a restart of cleatd."""
    podman = start.add(Podman(start.root / "podman").start())
    cleatd = start.cleatd(classes={"default": docker_class(
        podman, memory_mb=256, cpu_milli=1500, processes=100)})
    api = cleatd.api
    session, lost = in_parallel(lambda _: api.ready()["session_id"], range(2))
    assert sorted(c["Labels"]["cleat.session"] for c in podman.running()) == sorted([session, lost])
    done = api.execute(session, "BASH:id -u; echo kept >artifacts/a.txt; echo x 2>/dev/null >/x || echo refused")
    assert done["stdout"] == "200000\nrefused\n"
    status = user_status(api, session)
    assert (status["CapEff"], status["NoNewPrivs"]) == ("0" * 16, "1")
    [c] = podman.of_session(session)
    host = podman.inspect(c["Id"])["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (256 << 20, 1500000000, 100)
    assert host["ReadonlyRootfs"] and {p["IP"] for p in c["Ports"]} <= {"127.0.0.1"}

    podman.kill(lost)
    assert api.wait(lost, "closed", 10)["stop_reason"] == "container_died"
    cleatd.kill()
    cleatd.start()
    api.wait(session, "ready")
    assert api.execute(session, "BASH:cat artifacts/a.txt")["stdout"] == "kept\n"
    assert [c["Labels"]["cleat.session"] for c in podman.running()] == [session]
    api.close(session)
    assert cleatd.file_of(session, "artifacts/a.txt") == b"kept\n"
    gone(podman)


def test_configuration(tmp_path):
    """What is wrong is named; the example is right."""
    conf = tmp_path / "c.conf"
    check = [BUILD / "cleatd", "--check-config", "--config"]
    for options, problem in (("", "image is not set"),
                             ("image = i\n docker_user = root", "docker_user is UID or UID:GID"),
                             ("image = i\n docker_user = \"1:\"", "docker_user is UID or UID:GID"),
                             ("image = i\n docker_socket = x", "docker_socket is not an absolute path"),
                             ("image = i\n docker_user = \"1:2\"", None)):
        conf.write_text(f'state_dir = "{tmp_path}"\nclass default {{\n runtime = docker\n {options}\n}}\n')
        said = subprocess.run([*check, conf], capture_output=True, text=True)
        assert (said.returncode == 0) == (problem is None), said.stderr
        assert (problem or "") in said.stderr
    right = subprocess.run([*check, SOURCE / "etc" / "cleatd-docker.conf"], capture_output=True, text=True)
    assert right.returncode == 0, right.stderr


def test_two_owners_on_one_engine(start, dockerd):
    """Neither closes what the other one has, and an orphan of its own goes with what it holds."""
    north, south = (start.cleatd(owner, owner=owner, reap_grace_s=0, reap_interval_s=1,
                                 classes={"default": docker_class(dockerd)}) for owner in ("north", "south"))
    lost, kept = (north.api.ready()["session_id"] for _ in range(2))
    other = south.api.ready()["session_id"]
    north.api.execute(lost, "BASH: echo -n kept >artifacts/kept.txt")
    north.kill()
    north.forget(lost)
    assert south.api.call("POST", "/v1/reap", {"adopt": True})["orphans"] == []
    assert dockerd.of_session(lost) and dockerd.of_session(kept)
    north.start()
    assert north.closed_orphan(lost)["state"] == "CLOSED"
    assert north.file_of(lost, "artifacts/kept.txt") == b"kept"
    assert not dockerd.of_session(lost)
    assert north.api.call("POST", "/v1/reap", {"adopt": True})["orphans"] == []
    for cleatd, session in ((north, kept), (south, other)):
        assert cleatd.api.execute(session, "BASH: echo 1")["stdout"] == "1\n"
    assert south.api.status()["orphans"]["found"] == 0
    north.api.close_all()
    south.api.close_all()
    gone(dockerd)


def test_lost_journal(start, dockerd):
    """Ten containers without a row bring their sessions back."""
    cleatd = start.cleatd(classes={"default": docker_class(dockerd)})
    lose(cleatd, lambda _: {c["Labels"]["cleat.session"]: c["Id"] for c in dockerd.running()}, start.root)
    gone(dockerd)
