"""The journal is lost, or restored from an older copy: what containers carry brings their sessions back."""

import os
import pathlib

import pytest

from aws_harness import account, daemon
from cleat_harness import ApiError, haproxy_class, in_parallel, poll

COUNT = 10


def journal(cleatd):
    return sorted(pathlib.Path(cleatd.options["state_dir"]).glob("journal.db*"))


def move_away(paths, to):
    to.mkdir()
    for path in paths:
        path.rename(to / path.name)


def processes(cleatd):
    return {l.session: l.pid for l in cleatd.containers_alive()}


def open_some(cleatd, first, count):
    """READY, each with an environment and a file of its own; by request id."""
    def one(n):
        request = {"request_id": f"request-{n}", "user": f"u{n}", "env": {"WHO": f"user {n}"} if n % 2 else {}}
        session = cleatd.api.ready(**request)["session_id"]
        cleatd.api.execute(session, f"BASH:echo kept of {n} >data/kept")
        return session
    return dict(zip(range(first, first + count), in_parallel(one, range(first, first + count))))


def all_ready(cleatd, sessions):
    def states():
        known = {s["session_id"]: s["state"] for s in cleatd.api.sessions()}
        return all(known.get(s) in ("READY", "BUSY") for s in sessions.values())
    poll(states, 60, "every session READY again")
    assert len(cleatd.api.sessions()) == len(sessions)


def as_before(cleatd, sessions, adopted):
    """The same sessions, with what was in them, under the same request ids; and they go on."""
    api = cleatd.api
    for n, session in sessions.items():
        document = api.session(session)
        assert document["adopted"] == (n in adopted), document
        assert (document["attempt"], document["user"], document["tenant"]) == (1, f"u{n}", "default")
        again = api.create(request_id=f"request-{n}", user=f"u{n}", env={"WHO": f"user {n}"} if n % 2 else {})
        assert (again["session_id"], again["created"]) == (session, False)
        with pytest.raises(ApiError) as other:
            api.create(request_id=f"request-{n}", user="somebody")
        assert other.value.status == 409
    for n, session in sessions.items():
        record = api.execute(session, "BASH:cat data/kept; echo $WHO; echo x >artifacts/after")
        assert record["stdout"] == f"kept of {n}\n{f'user {n}' if n % 2 else ''}\n"
        assert record["total_executions"] == 2


def close(api, sessions):
    for over in in_parallel(api.close, sessions.values()):
        steps = {c["name"]: c["result"] for c in over["cleanup"]}
        assert steps["upload"] == "ok" and "lost" not in steps.values(), over


def lose(cleatd, running, root):
    sessions = open_some(cleatd, 0, COUNT)
    before = running(cleatd)
    cleatd.kill()
    move_away(journal(cleatd), root / "lost")
    cleatd.start()
    all_ready(cleatd, sessions)
    as_before(cleatd, sessions, adopted=sessions)
    assert running(cleatd) == before and set(before) == set(sessions.values())
    close(cleatd.api, sessions)


def restore(cleatd, running, root):
    """A copy from before half of the sessions were created."""
    old = open_some(cleatd, 0, COUNT // 2)
    cleatd.terminate()
    copy = root / "copy"
    copy.mkdir()
    for path in journal(cleatd):
        (copy / path.name).write_bytes(path.read_bytes())
    cleatd.start()
    new = open_some(cleatd, COUNT // 2, COUNT // 2)
    sessions = {**old, **new}
    before = running(cleatd)
    cleatd.kill()
    move_away(journal(cleatd), root / "younger")
    state = pathlib.Path(cleatd.options["state_dir"])
    for path in copy.iterdir():
        (state / path.name).write_bytes(path.read_bytes())
    cleatd.start()
    all_ready(cleatd, sessions)
    as_before(cleatd, sessions, adopted=new)
    assert running(cleatd) == before and set(before) == set(sessions.values())
    close(cleatd.api, sessions)


@pytest.mark.parametrize("what", [lose, restore])
def test_processes_behind_haproxy(start, what):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)})
    what(cleatd, processes, start.root)
    poll(lambda: not cleatd.containers_alive() and not haproxy.servers(), 20, "nothing is left")


def test_tasks_behind_a_load_balancer(start):
    aws = account(start)
    cleatd = daemon(start, aws)
    restore(cleatd, lambda _: {t.environment_of(): t.id for t in aws.ecs.alive()}, start.root)


def test_the_label_is_out_of_reach_of_user_code(start):
    api = start.cleatd().api
    session = api.ready()["session_id"]
    code = ("import os\nhere = os.path.join(os.path.dirname(os.getcwd()), 'label')\n"
            "for mode in 'r', 'a':\n    try: open(here, mode); print('open')\n"
            "    except PermissionError: print('refused')\n"
            "try: os.rename(here, here + '2'); print('renamed')\nexcept PermissionError: print('refused')")
    got = api.execute(session, code)["stdout"].split()
    assert got == ["refused"] * 3 or os.geteuid() != 0  # without root user code has our uid


def held(cleatd):
    return [o for o in cleatd.api.call("POST", "/v1/reap", {"dry_run": True})["orphans"] if o["action"] == "hold"]


def test_without_the_key_they_are_left_alone(start):
    """Nothing proves who they are: they are held, and said so; with the key they are back."""
    cleatd = start.cleatd(reap_grace_s=1)
    sessions = open_some(cleatd, 0, 2)
    before = processes(cleatd)
    key = pathlib.Path(cleatd.options["state_dir"]) / "master.key"
    cleatd.kill()
    kept = key.read_bytes()
    key.unlink()
    move_away(journal(cleatd), start.root / "lost")
    cleatd.start()
    found = poll(lambda: len(held(cleatd)) == 2 and held(cleatd), 20, "both are held")
    assert all("another master key" in o["cause"] for o in found), found
    assert cleatd.api.sessions() == [] and processes(cleatd) == before
    cleatd.kill()
    key.write_bytes(kept)
    cleatd.start()
    all_ready(cleatd, sessions)
    as_before(cleatd, sessions, adopted=sessions)
    assert processes(cleatd) == before
    close(cleatd.api, sessions)


def test_a_request_id_that_was_used_again(start):
    """Its client was faster than the listing: what it was given stays, the old container is closed."""
    cleatd = start.cleatd(reap_grace_s=1)
    [old] = open_some(cleatd, 0, 1).values()
    cleatd.api.execute(old, "open('artifacts/old', 'w').write('kept')")
    cleatd.stop_process(old)
    cleatd.kill()
    workspaces = pathlib.Path(cleatd.options["state_dir"]) / "workspaces"
    hidden = start.root / "hidden"
    workspaces.rename(hidden)  # as if its engine showed it late
    move_away(journal(cleatd), start.root / "lost")
    cleatd.start()
    new = cleatd.api.ready(request_id="request-0", user="u0")["session_id"]
    assert new != old
    [one] = hidden.iterdir()
    one.rename(workspaces / one.name)
    cleatd.continue_process(old)
    poll(lambda: any(o["session"] == old and "request id" in o["cause"]
                     for o in cleatd.api.call("POST", "/v1/reap", {})["orphans"]), 20, "it is found")
    over = cleatd.api.wait(old, "closed")
    assert over["stop_reason"] == "orphan" and cleatd.file_of(old, "artifacts/old") == b"kept"
    assert cleatd.api.session(new)["state"] == "READY"
