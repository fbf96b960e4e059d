"""Sessions on static hosts: cleatd leases real executors that run before and after it."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket

import pytest

from cleat_harness import haproxy_class, poll, shared_connections
from event_reader import read_all
from executor_help import addresses, needs_root
from static_help import Liar, StaticHost, seal, unseal

pytestmark = needs_root


@pytest.fixture
def farm(start, root):
    """Hosts with one claim key, and coordinators for them."""
    class Farm:
        key = secrets.token_bytes(32)
        hosts = []

        def grow(self, count=1, **options):
            for _ in range(count):
                place = root / f"host{len(self.hosts)}"
                place.mkdir()
                place.chmod(0o755)
                self.hosts.append(start.add(StaticHost(next(addresses), str(place), self.key, **options)).boot())
            return self

        def coordinator(self, name="cleatd", hosts=None, options=None, **values):
            hosts = hosts or self.hosts
            return start.cleatd(name, classes={"default": {
                "runtime": "static", "static_key_file": self.hosts[0].key_file, "backoff_base_ms": 50,
                "static_hosts": [f"{h.address}:{h.port}" for h in hosts], **values}}, **(options or {}))

    farm = Farm()
    farm.hosts = []
    return farm


def view(cleatd):
    """What cleatd says of its hosts: address → (state, lease, error)."""
    hosts = cleatd.api.status()["classes"]["default"]["runtime"]["hosts"]
    return {h["host"].split(":")[0]: (h["state"], h["lease"], h["error"]) for h in hosts}


def leases(cleatd):
    """What operators are told of hosts."""
    return [(c.removeprefix("lease."), d["host"].split(":")[0], d.get("session"))
            for _, c, d in read_all(cleatd.api, "/v1/events?after=0") if c.startswith("lease.")]


def is_free(host):
    with contextlib.suppress(OSError, http.client.HTTPException, socket.timeout):
        return host.state()["state"] == "free"
    return False


def free_all(farm):
    for host in farm.hosts:
        poll(lambda: is_free(host), 30, f"{host.address} is free")


@contextlib.contextmanager
def frozen(host):
    os.kill(host.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(host.process.pid, signal.SIGCONT)


def test_one_session_after_the_other(start, farm):
    """All hosts leased: the next session waits and gets the first that is released, clean."""
    farm.grow(2)
    cleatd = farm.coordinator()
    first, second = cleatd.api.ready(), cleatd.api.ready()
    assert first["container"] != second["container"]
    path = cleatd.api.execute(first["session_id"], "open('artifacts/of-first', 'w').write('x')\n"
                                                   "import os; print(os.getcwd())")["stdout"].strip()
    third = cleatd.api.create()["session_id"]
    poll(lambda: "capacity: all 2 hosts are leased" in (cleatd.api.session(third)["waiting_for"] or ""), 20,
         "the third waits for a host")
    assert {state for state, _, _ in view(cleatd).values()} == {"leased"}
    cleatd.api.close(first["session_id"])
    assert cleatd.manifest(first["session_id"])
    third = cleatd.api.wait(third)
    assert third["address"] == first["address"] and third["proof"] == "required"
    told = cleatd.api.execute(third["session_id"], f"import os; print(os.listdir({path!r}), os.listdir({path!r} + '/artifacts'))")
    assert "of-first" not in told["stdout"] and "artifacts" in told["stdout"], told
    host = first["address"].split(":")[0]
    assert [(c, s) for c, h, s in leases(cleatd) if h == host] == [
        ("taken", first["session_id"]), ("released", first["session_id"]), ("taken", third["session_id"])]
    cleatd.api.close_all()
    free_all(farm)
    assert {view(cleatd)[h.address][0] for h in farm.hosts} == {"free"}


def test_behind_haproxy(start, farm):
    haproxy = start.haproxy()
    farm.grow(3)
    cleatd = farm.coordinator(**haproxy_class(haproxy))
    ready = [cleatd.api.ready() for _ in range(3)]
    for round_ in range(3):
        for s in ready:
            assert cleatd.api.execute(s["session_id"], f"print({round_})")["stdout"] == f"{round_}\n"
    assert len(haproxy.servers()) >= 3
    cleatd.api.close_all()
    free_all(farm)
    again = cleatd.api.ready()
    assert cleatd.api.execute(again["session_id"], "print(4)")["stdout"] == "4\n"
    assert not shared_connections(haproxy.requests())


def test_a_job(farm):
    """It has a host to itself, and what it started is gone with it."""
    farm.grow(1)
    host, cleatd = farm.hosts[0], farm.coordinator()
    job = cleatd.api.call("POST", "/v1/jobs", {"request_id": "j-1", "stdin": "told\n", "argv": [
        "/bin/sh", "-c", "cat; echo x >artifacts/kept; setsid sleep 600 >/dev/null 2>&1 &"]})["job_id"]
    over = cleatd.api.call("GET", f"/v1/jobs/{job}?wait=ended&timeout_s=60")
    assert (over["state"], over["exit_code"]) == ("succeeded", 0), over
    logs = cleatd.api.call("GET", f"/v1/jobs/{job}/logs")
    assert "".join(c["data"] for c in logs["chunks"]) == "told\n" and logs["ended"]
    cleatd.api.wait(job, "closed")
    assert cleatd.file_of(job, "artifacts/kept") == b"x\n"
    poll(lambda: is_free(host), 20, "the host is free")
    assert host.log.count("event=lease.released") == 1


def test_a_host_is_killed_while_leased(farm):
    """The engine of a static host is the host: back without the lease, it says that the container is gone."""
    farm.grow(1)
    host, cleatd = farm.hosts[0], farm.coordinator(dead_after_s=60)
    session = cleatd.api.ready()["session_id"]
    cleatd.api.execute(session, "open('artifacts/unsaved', 'w').write('x')")
    host.process.kill()
    host.process.wait()
    host.boot()
    over = cleatd.api.wait(session, "closed")
    assert over["stop_reason"] == "container_died" and "does not hold the session" in over["error"]["message"], over
    assert len(host.salvage) == 1
    again = cleatd.api.ready()
    assert cleatd.api.execute(again["session_id"], "print(1)")["stdout"] == "1\n"


def test_a_host_releases_itself(farm):
    """A limit of the executor's own is an orderly end: what was there is uploaded."""
    farm.grow(1)
    host, cleatd = farm.hosts[0], farm.coordinator()
    session = cleatd.api.ready()["session_id"]
    cleatd.api.execute(session, "open('artifacts/saved', 'w').write('x')")
    host.process.terminate()
    assert host.wait_exit() == 0
    host.boot()
    over = cleatd.api.wait(session, "closed")
    assert over["stop_reason"] == "container_died" and cleatd.file_of(session, "artifacts/saved") == b"x"
    assert host.salvage == []


def test_cleatd_is_killed_while_hosts_are_leased(farm):
    farm.grow(2)
    cleatd = farm.coordinator()
    kept, lost = cleatd.api.ready()["session_id"], cleatd.api.ready()["session_id"]
    for session in kept, lost:
        cleatd.api.execute(session, "open('artifacts/mine', 'w').write('x')")
    cleatd.kill()
    cleatd.forget(lost)
    cleatd.start()
    assert cleatd.api.execute(kept, "print(open('artifacts/mine').read())")["stdout"] == "x\n"
    assert cleatd.api.wait(lost)["adopted"]  # no row knows it, but the label that its host keeps for it
    assert cleatd.api.execute(lost, "print(open('artifacts/mine').read())")["stdout"] == "x\n"
    for session in kept, lost:
        cleatd.api.close(session)
        assert cleatd.file_of(session, "artifacts/mine") == b"x"
    free_all(farm)


def has_unread(host):
    """Whether something was sent to the host that it has not read (proc_pid_net(5), tcp)."""
    local = socket.inet_aton(host.address)[::-1].hex().upper() + f":{host.port:04X}"
    rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    return any(row[1] == local and row[3] == "01" and not row[4].endswith(":00000000") for row in rows)


def test_cleatd_is_killed_before_its_lease_is_answered(farm):
    """The host takes the lease that cleatd's next life finds there: one host, one attempt."""
    farm.grow(2)
    cleatd = farm.coordinator(hosts=farm.hosts[:1])
    host = farm.hosts[0]
    poll(lambda: view(cleatd)[host.address][0] == "free", 20, "the host was asked")
    with frozen(host):
        session = cleatd.api.create()["session_id"]
        poll(lambda: has_unread(host), 20, "the lease is on its way")
        cleatd.kill()
    poll(lambda: not is_free(host), 20, "the host takes the lease")
    cleatd.start()
    assert cleatd.api.wait(session)["attempt"] == 1
    assert host.log.count("event=lease.taken") == 1


def test_the_answer_to_a_lease_is_lost(farm):
    """It is asked for again: the same host, leased once."""
    farm.grow(1)
    host, cleatd = farm.hosts[0], farm.coordinator()
    poll(lambda: view(cleatd)[host.address][0] == "free", 20, "the host was asked")
    with frozen(host):
        session = cleatd.api.create()["session_id"]
        poll(lambda: view(cleatd)[host.address][0] == "silent", 20, "the lease is not answered")
    assert cleatd.api.wait(session)["attempt"] == 1
    assert host.log.count("event=lease.taken") == 1


def test_two_coordinators_share_a_host(farm):
    """Whoever is first has it; the other one waits, and neither touches what is the other's."""
    farm.grow(1)
    one = farm.coordinator("one", options={"owner": "one", "reap_grace_s": 0, "reap_interval_s": 1})
    two = farm.coordinator("two", options={"owner": "two", "reap_grace_s": 0, "reap_interval_s": 1})
    first = one.api.ready()["session_id"]
    second = two.api.create()["session_id"]
    poll(lambda: "leased" in (two.api.session(second)["waiting_for"] or ""), 20, "the second waits")
    assert view(two)[farm.hosts[0].address][1].startswith("one.")
    assert one.api.execute(first, "print(1)")["stdout"] == "1\n"
    one.api.close(first)
    assert two.api.wait(second)["state"] == "READY"
    two.api.close(second)
    free_all(farm)


def test_a_release_that_is_not_confirmed(farm):
    """The host is not given out, is asked again and is shown; it closes when the host confirms."""
    farm.grow(1)
    host, cleatd = farm.hosts[0], farm.coordinator(step_timeout_s=1)
    session = cleatd.api.ready()["session_id"]
    host.process.kill()  # and no host comes back for a while
    host.process.wait()
    cleatd.api.close(session, wait=False)
    other = cleatd.api.create()["session_id"]
    poll(lambda: "event=stop.retry" in "\n".join(cleatd.log_lines()), 30, "the release is tried again")
    state, lease, error = view(cleatd)[host.address]
    assert state == "silent" and session in lease and error, (state, lease, error)
    assert cleatd.api.session(other)["state"] in ("QUEUED", "OPENING") and cleatd.api.session(session)["state"] == "CLOSING"
    host.boot()
    assert cleatd.api.wait(session, "closed")["state"] == "CLOSED"
    assert cleatd.api.wait(other)["state"] == "READY"
    told = [(c, s) for c, _, s in leases(cleatd)]
    assert told[:2] == [("taken", session), ("unconfirmed", session)]
    assert told[-2:] == [("released", session), ("taken", other)], told


def test_an_upload_that_is_never_confirmed(farm):
    """After the salvage limit the host is free again, and what was not saved lies aside on it."""
    farm.grow(1)
    host, cleatd = farm.hosts[0], farm.coordinator(salvage_limit_s=0, upload_timeout_s=1)
    session = cleatd.api.ready()["session_id"]
    cleatd.api.execute(session, "open('artifacts/unsaved', 'w').write('precious')")
    (cleatd.artifacts / session).write_text("no directory")
    over = cleatd.api.close(session)
    assert [c["result"] for c in over["cleanup"] if c["name"] == "upload"] == ["lost"], over["cleanup"]
    assert [name for name in host.salvage if session in name] == host.salvage != []
    assert cleatd.api.ready()["state"] == "READY"


def test_hosts_that_are_no_use(farm, start, root):
    """A host with another claim key, one that is away, one without a sandbox: each is named, none is leased."""
    farm.grow(1)
    place = root / "stranger"
    place.mkdir()
    stranger = start.add(StaticHost(next(addresses), str(place))).boot()
    away = StaticHost(next(addresses), str(root), farm.key)
    cleatd = farm.coordinator(hosts=[stranger, away, farm.hosts[0]], sandbox="bwrap", launch_attempts=1)
    poll(lambda: view(cleatd)[away.address][0] == "silent" and view(cleatd)[stranger.address][0] == "refusing", 20,
         "what is wrong with the hosts")
    assert "another claim key" in view(cleatd)[stranger.address][2]
    session = cleatd.api.create()["session_id"]
    over = poll(lambda: cleatd.api.session(session)["state"] == "FAILED" and cleatd.api.session(session), 20, "it fails")
    assert over["error"]["code"] == "launch_failed" and "bubblewrap" in over["error"]["message"], over
    poll(lambda: is_free(farm.hosts[0]), 20, "the host that was asked is free")


def test_something_else_listens_there(farm, start):
    """It says that it is free: in the clear, with what it was sent, or as a host once did. It is not believed,
    and all that it gets is sealed."""
    farm.grow(1)
    free = farm.hosts[0].state()
    liars = [start.add(Liar(next(addresses), lie)) for lie in (
        lambda _: json.dumps(free).encode(),
        lambda body: body,
        lambda _: json.dumps({"sealed": seal(farm.key, free)}).encode(),
        lambda body: json.dumps({"sealed": seal(bytes(32), {
            **free, "answers": unseal(farm.key, json.loads(body)["sealed"])["nonce"]})}).encode())]
    cleatd = farm.coordinator(hosts=[*liars, farm.hosts[0]])
    told = {"WORD": secrets.token_hex(16)}
    first = cleatd.api.ready(env=told)
    assert first["address"].split(":")[0] == farm.hosts[0].address
    waits = cleatd.api.create(env=told)["session_id"]
    poll(lambda: all(view(cleatd)[l.address][0] == "refusing" and len(l.heard) > 1 for l in liars), 20, "lies")
    assert cleatd.api.session(waits)["state"] in ("QUEUED", "OPENING"), "for the only host"
    for liar in liars:
        assert "gave no answer of a static host" in view(cleatd)[liar.address][2]
        for path, headers, body in liar.heard:
            assert path == "/lease/state" and set(json.loads(body)) == {"sealed"}
            said = unseal(farm.key, json.loads(body)["sealed"])
            assert set(said) == {"path", "nonce"}, "not even that holds a session's"
            for secret in farm.key.hex(), told["WORD"], first["session_id"], waits:
                assert secret not in headers + body.decode()
    cleatd.api.close(first["session_id"])
    assert cleatd.api.wait(waits)["address"] == first["address"]


def test_a_host_that_is_taken_away(farm):
    """What is configured no more and does not answer is not waited for."""
    farm.grow(2)
    cleatd = farm.coordinator(step_timeout_s=1, salvage_limit_s=0)
    sessions = {cleatd.api.session(s["session_id"])["address"].split(":")[0]: s["session_id"]
                for s in (cleatd.api.ready(), cleatd.api.ready())}
    gone = farm.hosts[1]
    cleatd.api.execute(sessions[gone.address], "print(1)")
    cleatd.terminate()
    gone.process.kill()
    gone.process.wait()
    text = cleatd.config_path.read_text()
    cleatd.config_path.write_text(text.replace(f', "{gone.address}:8080"', ""))
    cleatd.start()
    over = cleatd.api.close(sessions[gone.address])
    assert over["state"] == "CLOSED"
    assert "event=host.given_up" in "\n".join(cleatd.log_lines())
    assert ("given_up", gone.address, sessions[gone.address]) in leases(cleatd)
    assert list(view(cleatd)) == [farm.hosts[0].address] or poll(lambda: list(view(cleatd)) == [farm.hosts[0].address])
