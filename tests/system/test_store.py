"""The journal's disk: full, bad, read-only, locked, removed, damaged, of another one, of an older
release. Nothing is lost, nothing is left, and all goes on by itself."""

import concurrent.futures
import contextlib
import os
import shutil
import sqlite3
import subprocess

import pytest

from cleat_harness import HERE, ApiError, Cleatd, poll
from test_restart import gated_executor

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


class SmallDisk:
    """A tmpfs of its own, that can be filled to the last byte."""

    def __init__(self, path, size="8m"):
        self.path = path
        path.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", path], check=True)

    def fill(self):
        with open(self.path / "filler", "wb", buffering=0) as f:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        f.write(b"f" * size)

    def free(self):
        (self.path / "filler").unlink()

    def remount(self, mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", self.path], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=True)


def state_on_a_small_disk(start):
    disk = start.add(SmallDisk(start.root / "cleatd" / "state"))
    (start.root / "cleatd" / "workspaces").mkdir(mode=0o711)  # what containers write is not the question
    (disk.path / "workspaces").symlink_to(start.root / "cleatd" / "workspaces")
    return disk


def refused(call, *args, **fields):
    with pytest.raises(ApiError) as caught:
        call(*args, **fields)
    return caught.value


def is_failing(api, what):
    """Every way of asking says that the journal cannot be written."""
    poll(lambda: api.status()["journal"]["failing"], 20, "status that says so")
    assert what in api.status()["journal"]["failing"]
    assert api.status()["journal"]["since"]
    status, document = api.raw("GET", "/readyz")
    assert status == 503 and "journal cannot be written" in document["reason"]
    error = refused(api.create)
    assert (error.status, error.code, error.error["retryable"], error.error["admitted"]) == \
        (503, "store_failed", True, False), error.document


def works_again(api):
    poll(lambda: api.raw("GET", "/readyz")[0] == 200, 60, "readiness by itself")
    assert api.status()["journal"]["failing"] is None


def make_one_fail(api):
    """Something that must be written; what it is asked for is refused."""
    assert refused(api.create).code == "store_failed"


def events(cleatd, name):
    return [line for line in cleatd.log_lines() if f"event={name} " in line]


@needs_root
@pytest.mark.parametrize("killed", [False, True], ids=["goes-on", "killed-meanwhile"])
def test_full_disk_under_sessions_in_all_states(start, killed):
    """Filled while sessions run: what is durable goes on, the rest waits, and when there is space
    again everything is as promised, also when cleatd was killed meanwhile."""
    disk = state_on_a_small_disk(start)
    go = start.shared / "go"
    cleatd = start.cleatd(classes={"default": {"command": [gated_executor(start.root)]}})
    api = cleatd.api
    used, fresh, busy, ends, slow = (api.ready()["session_id"] for _ in range(5))
    for s in (used, busy, ends, slow):
        api.execute(s, "open('data/kept', 'w').write('kept')")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = pool.submit(api.execute, busy,
                           f"import os, time\nwhile not os.path.exists('{go}'): time.sleep(0.05)\nprint('ran')")
        poll(lambda: api.session(busy)["state"] == "BUSY", 20, "an execution")
        cleatd.stop_process(slow)
        api.close(slow, wait=False)
        poll(lambda: api.session(slow)["attempt_state"] in ("ENDING", "SALVAGING"), 20, "a cleanup under way")
        (start.root / "closed").touch()
        opening = api.create()["session_id"]
        poll(lambda: len(cleatd.launches()) == 6, 20, "its container")

        disk.fill()
        error = refused(api.close, ends)
        assert (error.code, error.error["admitted"]) == ("store_failed", True), error.document
        is_failing(api, "full")
        assert api.execute(used, "print(open('data/kept').read())")["stdout"] == "kept\n"
        error = refused(api.execute, fresh, "print(1)")
        assert (error.status, error.code, error.error["ran"]) == (503, "store_failed", "no"), error.document
        (start.root / "closed").unlink()
        cleatd.continue_process(slow)
        go.touch()
        assert runs.result(60)["stdout"] == "ran\n"
    assert api.session(ends)["state"] == "CLOSING"
    assert len(cleatd.containers_alive()) == 6, "nothing is stopped whose end could be forgotten"

    if killed:
        cleatd.kill()
        cleatd.start()
        is_failing(api, "full")
        assert api.execute(used, "print(open('data/kept').read())")["stdout"] == "kept\n"
    disk.free()
    works_again(api)
    if killed:  # the 503 had said that it may come to that
        api.close(ends)
    for s in (used, fresh, busy, opening):
        api.wait(s)
        assert api.execute(s, "print('on')")["stdout"] == "on\n"
    for s in (used, fresh, busy, opening):
        api.close(s)
    for s in (used, busy, ends, slow):
        assert api.wait(s, "closed")["state"] == "CLOSED"
        assert cleatd.file_of(s, "data/kept") == b"kept"
    assert len(cleatd.launches()) == 6, "no container is launched twice"
    poll(lambda: not cleatd.containers_alive(), 30, "the end of all containers")
    assert 1 <= len(events(cleatd, "journal.failing")) <= 4
    assert events(cleatd, "journal.works")


@pytest.fixture
def bad_disk(start):
    """A cleatd whose writes of the journal fail as a file says."""
    library, word = start.root / "disk.so", start.root / "disk"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "disk.c"], check=True)
    word.touch()
    cleatd = Cleatd(start.root / "cleatd", asan="verify_asan_link_order=0",
                    environment={"LD_PRELOAD": str(library), "CLEAT_TEST_DISK": str(word)})
    start.add(cleatd)
    cleatd.says = word.write_text
    return cleatd


def test_a_bad_disk(bad_disk):
    api = bad_disk.start().api
    for word in "EIO", "EROFS":
        session = api.ready()["session_id"]
        api.execute(session, "print(1)")
        bad_disk.says(word)
        assert refused(api.close, session).code == "store_failed"
        is_failing(api, "disk I/O error")
        assert len(bad_disk.containers_alive()) == 1
        bad_disk.says("")
        works_again(api)
        assert api.wait(session, "closed")["state"] == "CLOSED"


def refuses_to_start(cleatd, *messages):
    """One line says why; nothing is left running."""
    at = len(cleatd.log_lines()) if cleatd.log_path.exists() else 0
    cleatd.spawn()
    assert cleatd.process.wait(30) == 1
    said = [line for line in cleatd.log_lines()[at:] if line.startswith("cleatd: ")]
    assert len(said) == 1, cleatd.log_tail()
    for message in messages:
        assert message in said[0], said[0]


def test_a_network_file_system_is_refused(bad_disk):
    bad_disk.says("nfs")
    refuses_to_start(bad_disk, "journal.db: is on a network file system")
    bad_disk.says("")
    bad_disk.start()


@contextlib.contextmanager
def locked(path):
    """Somebody who does not know our lock file."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


@needs_root
def test_a_read_only_disk_refuses_the_start(start):
    disk = state_on_a_small_disk(start)
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    cleatd.terminate()
    disk.remount("ro")
    refuses_to_start(cleatd, "journal.db", "Read-only file system")
    disk.remount("rw")
    cleatd.start()
    assert cleatd.api.wait(session)["state"] == "READY" and len(cleatd.launches()) == 1


def test_locked_by_another_process(start):
    cleatd = start.cleatd()
    api, journal = cleatd.api, cleatd.root / "state" / "journal.db"
    session = api.ready()["session_id"]
    api.execute(session, "print(1)")
    with locked(journal):
        make_one_fail(api)
        is_failing(api, "database is locked")
        assert api.execute(session, "print(2)")["stdout"] == "2\n"
    works_again(api)
    cleatd.terminate()
    with locked(journal):
        refuses_to_start(cleatd, "journal.db: locked by another process")
    cleatd.start()
    assert api.wait(session)["state"] == "READY"


def test_a_second_cleatd_is_refused(start):
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    second = start.add(Cleatd(start.root / "second", state_dir=cleatd.root / "state"))
    refuses_to_start(second, "journal.db: in use by another process")
    assert cleatd.api.execute(session, "print(1)")["stdout"] == "1\n"
    other = cleatd.api.ready()["session_id"]
    assert cleatd.api.session(other)["state"] == "READY"


def test_removed_while_it_runs(start):
    """Written into a file that no name leads to, it would be lost with the next start."""
    cleatd = start.cleatd()
    api, journal = cleatd.api, cleatd.root / "state" / "journal.db"
    session = api.ready()["session_id"]
    api.execute(session, "print(1)")
    journal.rename(cleatd.root / "aside")
    make_one_fail(api)
    is_failing(api, "the file was removed")
    assert api.execute(session, "print(2)")["stdout"] == "2\n"
    (cleatd.root / "aside").rename(journal)
    works_again(api)
    assert api.close(session)["state"] == "CLOSED"


def test_a_truncated_database_is_refused(start):
    cleatd = start.cleatd()
    api, journal = cleatd.api, cleatd.root / "state" / "journal.db"
    for _ in range(4):
        api.close(api.ready()["session_id"])
    session = api.ready()["session_id"]
    cleatd.terminate()
    backup = cleatd.root / "backup"
    shutil.copy(journal, backup)
    with open(journal, "r+b") as f:
        f.truncate(journal.stat().st_size // 2)
    before = journal.read_bytes()
    refuses_to_start(cleatd, f"{journal}: damaged: ", "restore it from a backup, or move it")
    assert journal.read_bytes() == before, "what is left of it is left alone"
    assert len(cleatd.containers_alive()) == 1
    shutil.copy(backup, journal)
    cleatd.start()
    assert api.wait(session)["state"] == "READY"
    assert len(cleatd.launches()) == 5


@pytest.mark.parametrize("damage", ["UPDATE session SET row = substr(row, 1, 40) WHERE key = ?",
                                    "DELETE FROM session WHERE key = ?"], ids=["torn", "missing"])
def test_a_row_that_makes_no_sense_is_refused(start, damage):
    """Its session is not forgotten quietly, nor its container closed for it."""
    cleatd = start.cleatd()
    api, journal = cleatd.api, cleatd.root / "state" / "journal.db"
    session = api.ready()["session_id"]
    cleatd.terminate()
    backup = cleatd.root / "backup"
    shutil.copy(journal, backup)
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as db:
        assert db.execute(damage, (session,)).rowcount == 1
    for _ in range(2):
        refuses_to_start(cleatd, f"journal, row {session}", "Lost journal")
    assert len(cleatd.containers_alive()) == 1
    shutil.copy(backup, journal)
    cleatd.start()
    assert api.wait(session)["state"] == "READY" and len(cleatd.launches()) == 1


def test_the_journal_of_a_newer_release_is_refused(start):
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    cleatd.terminate()
    journal = cleatd.root / "state" / "journal.db"
    for version, last in (1000, True), (None, False):
        with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as db:
            known = db.execute("PRAGMA user_version").fetchone()[0] if last else known
            db.execute(f"PRAGMA user_version={version or known}")
        if last:
            refuses_to_start(cleatd, f"{journal}: written by a newer release")
    cleatd.start()
    assert cleatd.api.wait(session)["state"] == "READY"


def test_checking_the_configuration_touches_no_journal(start):
    cleatd = Cleatd(start.root / "cleatd")
    subprocess.run([cleatd.program, "--check-config", "--config", cleatd.config_path], check=True,
                   env={**os.environ, "ASAN_OPTIONS": cleatd.asan})
    cleatd.destroy()
    assert not (cleatd.root / "state").exists()


def test_the_journal_of_an_older_release(start):
    """Its sessions go on with their containers."""
    cleatd = start.cleatd()
    api, journal = cleatd.api, cleatd.root / "state" / "journal.db"
    closed = api.close(api.ready(request_id="used-up")["session_id"])["session_id"]
    session = api.ready(user="u")["session_id"]
    cleatd.terminate()
    old = sqlite3.connect(journal, isolation_level=None)
    old.execute("DROP TABLE meta")  # as version 1 was
    old.execute("PRAGMA user_version=1")
    old.close()
    cleatd.start()
    assert api.wait(session)["state"] == "READY"
    assert api.execute(session, "print(1)")["stdout"] == "1\n"
    assert api.session(closed)["state"] == "CLOSED"
    assert refused(api.create, request_id="used-up").code == "request_id_closed"
    assert len(cleatd.launches()) == 2
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    assert db.execute("PRAGMA user_version").fetchone()[0] >= 2
    db.close()


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_is_lost(bad_disk, durability):
    """Of the journal there is what the disk had been told to keep, and nothing else; the containers,
    as an engine elsewhere would have it, live on. full: all of it is there. normal: what is missing is
    found by its labels."""
    bad_disk.options["durability"] = durability
    bad_disk.config_path.write_text(bad_disk._config())
    state, kept = bad_disk.root / "state", bad_disk.root / "kept"
    kept.mkdir(parents=True)
    bad_disk.environment["CLEAT_TEST_KEPT"] = str(kept)
    api = bad_disk.start().api
    assert api.status()["journal"]["durability"] == durability
    closed = api.close(api.ready(request_id="used-up")["session_id"])["session_id"]
    session = api.ready(request_id="in-use")["session_id"]
    api.execute(session, "print(1)")
    bad_disk.kill()
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (state / name).unlink()
        if (kept / name).exists():
            shutil.copy(kept / name, state)
    bad_disk.start()
    poll(lambda: [s for s in api.sessions() if s["session_id"] == session], 20, "the session")
    document = api.wait(session)
    assert document["adopted"] == (durability == "normal"), document
    assert api.execute(session, "print(2)")["total_executions"] == 2
    assert len(bad_disk.launches()) == 2
    if durability == "full":
        assert api.session(closed)["state"] == "CLOSED"
        assert refused(api.create, request_id="used-up").code == "request_id_closed"
    assert api.create(request_id="in-use")["session_id"] == session
    api.close(session)
