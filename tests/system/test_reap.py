"""Orphans: closed with what they hold, held while the journal cannot speak for them, and never
another owner's."""

import json
import os
import signal
import subprocess

import pytest

from cleat_harness import BUILD, alive, haproxy_class, poll

PROGRAM = BUILD / "cleat"


def reap(cleatd, *arguments):
    done = subprocess.run([PROGRAM, "--socket", cleatd.socket, "--json", "reap", *arguments], text=True,
                          capture_output=True, timeout=120, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["orphans"]


def with_artifact(api, text):
    session = api.ready()["session_id"]
    record = api.execute(session, f"open('artifacts/kept.txt', 'w').write('{text}')")
    assert record["status"] == "completed", record
    return session


def is_listed(haproxy, cleatd, session):
    return f"{cleatd.options.get('owner', 'cleat')}.{session}.1" in haproxy.servers()


def cleanup_of(session):
    return {step["name"]: step["result"] for step in session["cleanup"]}


def log_has(cleatd, *words):
    return [line for line in cleatd.log_lines() if all(w in line for w in words)]


def test_a_session_that_the_journal_lost_is_closed(start):
    """Its container uploads, its target goes, and it is remembered as CLOSED. The one beside it
    notices nothing."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(reap_grace_s=1, reap_interval_s=1, classes={"default": haproxy_class(haproxy)})
    api = cleatd.api
    lost, kept = with_artifact(api, "lost"), with_artifact(api, "kept")
    pid = cleatd.pid_of(lost)
    cleatd.kill()
    cleatd.forget(lost)
    cleatd.start()
    poll(lambda: not alive(pid), 60, "the end of the orphan")
    over = cleatd.closed_orphan(lost)
    assert over["state"] == "CLOSED", over
    assert {s: r for s, r in cleanup_of(over).items() if s != "local"} == {
        "upload": "ok", "deregister": "ok", "drain": "ok", "stop": "ok"}, over
    assert cleatd.file_of(lost, "artifacts/kept.txt") == b"lost"
    assert not is_listed(haproxy, cleatd, lost) and is_listed(haproxy, cleatd, kept)
    for event in ("orphan.found", "orphan.closing", "orphan.closed"):
        assert log_has(cleatd, event, lost)
    assert api.status()["orphans"]["closed"] == 1
    assert api.execute(kept, "print(1)")["stdout"] == "1\n"
    api.close(kept)
    assert cleatd.file_of(kept, "artifacts/kept.txt") == b"kept"


def test_a_journal_that_is_gone_closes_nothing_until_it_is_the_truth(start):
    """Without a label to adopt it from, the container is held over restarts; the operator looks,
    and then says so."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(reap_grace_s=1, reap_interval_s=1, classes={"default": haproxy_class(haproxy)})
    api, state = cleatd.api, cleatd.options["state_dir"]
    held = with_artifact(api, "held")
    pid = cleatd.pid_of(held)
    cleatd.kill()
    for path in state.glob("journal.db*"):
        path.rename(cleatd.root / path.name)
    (state / "workspaces" / f"cleat.{held}.1" / "label").write_text("spoilt")
    cleatd.start()
    poll(lambda: api.status()["orphans"]["held"] == 1, 30, "that it is held")
    cleatd.kill()
    cleatd.start()
    poll(lambda: api.status()["orphans"]["held"] == 1, 30, "that it is held again")
    (seen,) = reap(cleatd, "--dry-run")
    assert (seen["session"], seen["action"]) == (held, "hold"), seen
    assert "older than the journal" in seen["cause"]
    (seen,) = reap(cleatd)
    assert seen["action"] == "hold"
    assert alive(pid) and is_listed(haproxy, cleatd, held) and api.sessions() == []
    (seen,) = reap(cleatd, "--dry-run", "--adopt")
    assert seen["action"] == "close" and api.sessions() == []
    (seen,) = reap(cleatd, "--adopt")
    assert seen["action"] == "close"
    poll(lambda: not alive(pid), 60, "the end of the orphan")
    assert cleatd.closed_orphan(held)["state"] == "CLOSED"
    assert cleatd.file_of(held, "artifacts/kept.txt") == b"held"
    assert not is_listed(haproxy, cleatd, held)
    assert reap(cleatd) == []


def test_two_owners_on_one_balancer(start):
    """Neither lists, holds or closes what the other one has."""
    haproxy = start.haproxy()
    both = [start.cleatd(f"cleatd-{owner}", owner=owner, reap_grace_s=0, reap_interval_s=1,
                         classes={"default": haproxy_class(haproxy)}) for owner in ("north", "south")]
    sessions = [with_artifact(cleatd.api, cleatd.options["owner"]) for cleatd in both]
    lost = with_artifact(both[0].api, "lost")
    newest = both[0].api.ready()["session_id"]
    both[0].kill()
    both[0].forget(lost)
    poll(lambda: reap(both[1], "--adopt") == [] and both[1].api.status()["orphans"]["found"] == 0, 30,
         "that the other one's are none of its own")
    both[0].start()
    assert both[0].closed_orphan(lost)["state"] == "CLOSED"
    for cleatd, session in zip(both, sessions):
        assert reap(cleatd, "--adopt") == []
        assert is_listed(haproxy, cleatd, session)
        assert cleatd.api.execute(session, "print(2)")["stdout"] == "2\n"
    assert both[0].api.execute(newest, "print(3)")["stdout"] == "3\n"
    assert both[1].api.status()["orphans"]["found"] == 0


def test_what_the_command_line_shows(start):
    cleatd = start.cleatd(reap_dry_run="true", reap_grace_s=0, reap_interval_s=1)
    lost, kept = cleatd.api.ready()["session_id"], cleatd.api.ready()["session_id"]
    cleatd.kill()
    cleatd.forget(lost)
    cleatd.start()
    poll(lambda: cleatd.api.status()["orphans"]["waiting"] == 1, 30, "that it is reported")

    def run(*arguments):
        return subprocess.run([PROGRAM, "--socket", cleatd.socket, "reap", *arguments], text=True,
                              capture_output=True, timeout=120)

    shown = run("--dry-run")
    assert shown.returncode == 0 and "no row of the journal knows its session" in shown.stdout
    assert "1 orphan, 1 would be closed, 0 held" in shown.stdout
    assert run("ID").returncode == run("--nonsense").returncode == 2
    assert alive(cleatd.pid_of(lost))
    assert "1 is being closed" in run().stdout
    assert cleatd.closed_orphan(lost)["state"] == "CLOSED"
    cleatd.api.close(kept)


@pytest.mark.parametrize("option, before, after", [
    ("reap_interval_s", 3600, 1), ("reap_grace_s", 3600, 0), ("reap_dry_run", "true", "false")])
def test_what_is_told_anew_holds_at_once(start, option, before, after):
    """None of them waits for a listing that is an hour away."""
    cleatd = start.cleatd(**{"reap_interval_s": 3600, "reap_grace_s": 0, option: before})
    lost, kept = cleatd.api.ready()["session_id"], cleatd.api.ready()["session_id"]
    cleatd.kill()
    cleatd.forget(lost)
    place, aside = cleatd.options["state_dir"] / "workspaces" / f"cleat.{lost}.1", start.root / "aside"
    if option == "reap_interval_s":
        place.rename(aside)
    cleatd.start()
    if option == "reap_interval_s":
        assert reap(cleatd, "--dry-run") == []
        aside.rename(place)
    else:
        poll(lambda: log_has(cleatd, "orphan.found", lost), 30, "that it is found")
    assert alive(cleatd.pid_of(lost))
    cleatd.options[option] = after
    cleatd.config_path.write_text(cleatd._config())
    cleatd.process.send_signal(signal.SIGHUP)
    assert cleatd.closed_orphan(lost)["state"] == "CLOSED"
    assert cleatd.api.close(kept)["state"] == "CLOSED"
