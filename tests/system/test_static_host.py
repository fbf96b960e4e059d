"""A static host alone: what a lease is, and that its release leaves nothing of it."""

import os
import re
import secrets
import signal
import stat
import subprocess

import pytest

from executor_client import wait_for
from executor_help import addresses, needs_root, processes_of
from static_help import StaticHost, seal

pytestmark = needs_root
MARK = "mark-of-the-last-user"

LEAVE = """
import ctypes, os, time
c = ctypes.CDLL(None, use_errno=True)
def leave(path):
    try:
        with open(path, "w") as f: f.write({mark!r})
        os.chmod(path, 0o600)
    except OSError as e:
        print("no", path, e)
for place in os.getcwd(), os.getcwd() + "/artifacts", "/tmp", "/var/tmp", "/dev/shm", "/run/lock":
    leave(place + "/{mark}-" + str(os.getuid()))
os.makedirs("/tmp/{mark}-dir-" + str(os.getuid()) + "/closed")
os.chmod("/tmp/{mark}-dir-" + str(os.getuid()) + "/closed", 0)
os.mkfifo("/dev/shm/{mark}-pipe-" + str(os.getuid()))
here = os.getcwd()
for _ in range(300):
    os.mkdir("d" * 200); os.chdir("d" * 200)
leave("deep")
os.chdir(here)
os.chmod("d" * 200, 0)
print("shm", c.shmget(0x1234 + os.getuid(), 4096, 0o1666))
print("key", c.syscall(248, b"user", b"{mark}", b"{mark}", {size}, -4))
print("session key", c.syscall(248, b"user", b"{mark}-s", b"{mark}", {size}, -3))
""".replace("{size}", str(len(MARK))).replace("{mark!r}", repr(MARK)).replace("{mark}", MARK)

DAEMONS = """
import os, signal, sys, time
for how in range(6):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
        if how % 2 and os.fork() != 0: os._exit(0)
        os.chdir("/")
        if how > 3:
            for fd in range(3): os.close(fd)
        while True: time.sleep(600)
print("started", flush=True)
time.sleep(600)
"""

STORM = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(0.1)
            if os.fork(): os._exit(0)
time.sleep(600)
"""

LOOK = """
import ctypes, os
found = []
places = "/tmp", "/var/tmp", "/dev", "/run", "/home", os.getcwd()
for top, dirs, files in (level for place in places for level in os.walk(place)):
    found += [os.path.join(top, n) for n in dirs + files if "{mark}" in n]
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in "environ", "cmdline":
        try:
            if "{mark}" in open(f"/proc/{pid}/{name}").read() and int(pid) != os.getpid(): found.append((pid, name))
        except OSError: pass
c = ctypes.CDLL(None)
if c.shmget(0x1234 + os.getuid(), 0, 0) != -1: found.append("shm")
for ring in -3, -4, -5:
    if c.syscall(250, 10, ring, b"user", b"{mark}", 0) != -1: found.append(("key", ring))
    if c.syscall(250, 10, ring, b"user", b"{mark}-s", 0) != -1: found.append(("key", ring))
print("found", found, [k for k in os.environ if "LAST" in k])
""".replace("{mark}", MARK)


@pytest.fixture
def hosts(tmp_path):
    made = []

    def make(name="h", **options):
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        root.chmod(0o755)
        made.append(StaticHost(next(addresses), str(root), **options))
        return made[-1]

    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    yield make
    for host in made:
        host.stop()


@pytest.fixture(params=["bwrap", "none"])
def host(request, hosts):
    return hosts(sandbox=request.param).boot()


def files_of(uid, *places):
    """Whatever the user owns on this machine where anybody, or he, may write."""
    return subprocess.run(["find", *places, "/tmp", "/var/tmp", "/dev/shm", "/run/lock", "-ignore_readdir_race",
                           "-uid", str(uid)], capture_output=True, text=True).stdout.split()


def resident(pid):
    """(begin, end) of readable memory that is there."""
    for line in open(f"/proc/{pid}/smaps"):
        words = line.split()
        if re.fullmatch("[0-9a-f]+-[0-9a-f]+", words[0]):
            begin, end = (int(x, 16) for x in words[0].split("-"))
            readable = "r" in words[1] and end - begin < 1 << 30 and "[v" not in line
        elif words[0] == "Rss:" and readable and words[1] != "0":
            yield begin, end


def in_memory(pid, *needles):
    """Which of them the process holds in memory, its environment and arguments included."""
    found = set()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for begin, end in resident(pid):
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except (OSError, ValueError):
                continue
            found.update(n for n in needles if n in data)
    return found


def ipc_of(uid):
    return [line for kind in ("shm", "msg", "sem") for line in open(f"/proc/sysvipc/{kind}")
            if str(uid) in line.split()]


def test_a_release_leaves_nothing(host):
    """Files, processes, environment, secret: not in /proc of the executor, nor for the next user."""
    lease = host.lease()
    value = "value-of-the-last-user-" + secrets.token_hex(16)
    lease.post("/session/claim", {"env": {"LAST_USER": value}})
    print(lease.run(LEAVE)["stdout"])
    lease.start(DAEMONS)
    wait_for(lambda: len(processes_of(host.uid)) >= 6, "daemons")
    hidden = lease.secret, lease.secret.hex().encode(), value.encode(), b"test.s-1.1"
    pid = host.process.pid
    assert in_memory(pid, *hidden) >= {lease.secret, value.encode()}  # the search does find them
    if host.environment["CLEAT_SANDBOX"] == "none":  # what is looked for below was there
        assert {p.split("/")[1] for p in files_of(host.uid)} >= {"tmp", "dev", "run"} and ipc_of(host.uid)
    host.release(lease)
    assert host.process.poll() is None and not processes_of(host.uid)
    left = set(files_of(host.uid, host.workspace))
    assert sorted(left) == sorted(host.home + d for d in ("", "/artifacts", "/data", "/input")), left
    assert not ipc_of(host.uid) and host.salvage == []
    assert sorted(os.listdir(host.workspace)) == ["lease", "lock"]
    # The name of the last lease is told to who has the claim key, and no secret.
    assert in_memory(pid, *hidden) <= {b"test.s-1.1"}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        assert "lease/" not in os.readlink(f"/proc/{pid}/fd/{fd}")
    second = host.lease("s-2")
    assert second.run(LOOK)["stdout"] == "found [] []\n"
    assert second.get("/container-info").json["executions_completed"] == 1


def test_a_storm_of_forks_does_not_outlive_its_lease(hosts):
    """A process that is killed is one that forks no more; who forks meanwhile is killed as well."""
    host = hosts().boot()
    lease = host.lease()
    lease.start(STORM)
    wait_for(lambda: len(processes_of(host.uid)) > 20, "the storm")
    host.release(lease)
    assert not processes_of(host.uid)


def test_a_free_host_is_nobodys(host):
    assert host.raw("GET", "/health").json == {"status": "free"}
    info = host.raw("GET", "/container-info")
    assert info.json["lease"] == "free" and "X-Cleat-Session" not in info.headers
    nobody = host.lease("s-1")
    host.release(nobody)
    for secret in nobody.secret, bytes(32):
        nobody.secret = secret
        for session in "s-1", "":
            nobody.session = session
            headers = nobody.request_headers("POST", "/execute", b"{}")
            answer = host.raw("POST", "/execute", b"{}", headers)
            assert (answer.status, answer.json["error"]["message"]) == (403, "this host is not leased")
            assert "X-Cleat-Proof" not in answer.headers
    assert host.raw("GET", "/executions/x").status == 403


def test_only_the_claim_key_leases(host):
    terms = {"path": "/lease", "nonce": secrets.token_hex(16), **host.terms()}
    good = seal(host.claim_key, terms)
    for bad in (seal(secrets.token_bytes(32), terms), good[:-2], good[2:], good[:40] + good[42:], "", "zz",
                good[:-2] + format(int(good[-2:], 16) ^ 1, "02x")):
        assert host.send_sealed("/lease", bad).status in (400, 403), bad
    assert host.send_sealed("/release", good).status == 403  # sealed for another path
    for body in b"", b"[]", b'{"sealed":1}', b'{"sealed":"00","more":1}':
        assert host.raw("POST", "/lease", body).status == 400
    assert host.state()["state"] == "free"
    assert host.send_sealed("/lease", good).status == 200
    assert host.state()["state"] == "leased"


def test_an_old_lease_is_worth_nothing(host):
    old = seal(host.claim_key, {"path": "/lease", "nonce": secrets.token_hex(16), **host.terms("s-1")})
    assert host.send_sealed("/lease", old).status == 200
    assert host.send_sealed("/lease", old).status == 200  # the same lease again: nothing happens
    first = host.state()
    assert (first["state"], first["key"], first["label"]) == ("leased", "test.s-1.1", "1abc")
    stale = host.ask("/lease", **host.terms("s-2", challenge="0" * 32))  # another coordinator's
    assert (stale["state"], stale["key"]) == ("leased", "test.s-1.1")
    assert host.ask("/release", key="test.s-2.1", keep=False)["key"] == "test.s-1.1"  # not its own
    host.ask("/release", key="test.s-1.1", keep=False)
    host.wait_free()
    assert host.send_sealed("/lease", old).status == 200
    assert host.state()["state"] == "free"
    # Who is not sure whether a lease arrives releases it: then it cannot be taken any more.
    late = host.terms("s-3")
    assert host.ask("/release", key="test.s-3.1", keep=False)["state"] == "free"
    answer = host.ask("/lease", **late)
    assert answer["state"] == "free" and "challenge" in answer["error"]


@pytest.mark.parametrize("terms, cause", [
    ({"session": "../x"}, "SESSION_ID"), ({"secret": "12"}, "secret"), ({"settings": {"PATH": "/x"}}, "PATH"),
    ({"settings": {"CLEAT_CPU_S": "-1"}}, "CLEAT_CPU_S"), ({"settings": {"CLEAT_ARTIFACTS": "http://x"}}, "file:///"),
    ({"settings": {"CLEAT_SANDBOX": "bwrap"}}, "bubblewrap"), ({"attempt": 0}, "attempt"), ({"more": 1}, "more")])
def test_impossible_terms(hosts, terms, cause):
    host = hosts().boot()
    answer = host.ask("/lease", **{**host.terms(), **terms})
    assert cause in answer["error"] and answer["state"] != "leased", answer
    host.wait_free()
    host.release(host.lease())


def test_limits_of_a_lease(hosts):
    """They end the lease, with its upload, and not the process; the host's own limits stay in force."""
    host = hosts(CLEAT_OPEN_FILES="64", CLEAT_FILE_SIZE_MB="1", CLEAT_IDLE_TIMEOUT_S="1").boot()
    pid = host.process.pid
    lease = host.lease(CLEAT_OPEN_FILES="500", CLEAT_FILE_SIZE_MB="0", CLEAT_CPU_S="77", CLEAT_IDLE_TIMEOUT_S="2")
    limits = lease.run("import resource as r\n"
                       "print([r.getrlimit(x)[0] for x in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CPU)])\n"
                       "open('artifacts/kept', 'w').write('x')")["stdout"]
    assert limits == f"{[64, 1 << 20, 77]}\n"
    host.wait_free()
    state = host.state()
    assert (state["ended"], state["in_order"]) == (lease.key, True)
    assert os.path.exists(os.path.join(host.artifacts, "s-1", "artifacts", "kept"))
    assert host.process.pid == pid and host.process.poll() is None and host.salvage == []


def test_killed_while_leased(host):
    """Its next life ends what it left, keeps the files aside, and no user gets at them."""
    lease = host.lease()
    lease.run("open('artifacts/unsaved', 'w').write('precious')")
    lease.start(DAEMONS)
    wait_for(lambda: len(processes_of(host.uid)) >= 6, "daemons")
    left = set(processes_of(host.uid))
    host.process.kill()
    host.process.wait()
    host.boot()
    assert host.state()["state"] == "free" and "ended" not in host.state()
    assert not left & set(processes_of(host.uid)), "others may be of its trial of bubblewrap, at their end"
    assert host.salvage == [lease.key]
    aside = os.path.join(host.workspace, "salvage")
    assert stat.S_IMODE(os.stat(aside).st_mode) == 0o700 and os.stat(aside).st_uid == 0
    assert open(os.path.join(aside, lease.key, "home/artifacts/unsaved")).read() == "precious"
    told = host.lease("s-2").run(f"import os\ntry: print(os.listdir({aside!r}))\nexcept OSError as e: print(type(e))")
    assert "Error" in told["stdout"], told


def test_stopped_while_leased(host):
    """SIGTERM uploads, ends all processes and wipes the workspace before the executor ends."""
    lease = host.lease()
    lease.run("open('artifacts/a', 'w').write('x')")
    lease.start(DAEMONS)
    wait_for(lambda: len(processes_of(host.uid)) >= 6, "daemons")
    host.process.send_signal(signal.SIGTERM)
    assert host.wait_exit() == 0, host.log
    assert not processes_of(host.uid) and sorted(os.listdir(host.workspace)) == ["lock"]
    assert os.path.exists(os.path.join(host.artifacts, "s-1", "artifacts", "a"))


def test_files_are_kept_when_asked_for(hosts):
    host = hosts().boot()
    for number in range(1, 4):
        lease = host.lease("s-1", attempt=1)
        if number > 1:
            lease.run("open('f', 'w').write('x')")
        host.release(lease, keep=True)
    assert host.salvage == ["test.s-1.1", "test.s-1.1.2"]  # nothing was left by the first


def test_a_full_salvage_directory_stops_the_host(hosts):
    host = hosts().boot()
    os.makedirs(os.path.join(host.workspace, "salvage"))
    for n in range(16):
        os.mkdir(os.path.join(host.workspace, "salvage", str(n)))
    lease = host.lease()
    lease.run("open('f', 'w').write('x')")
    host.ask("/release", key=lease.key, keep=True)
    assert host.wait_exit() == 1
    assert "salvage holds the files of 16 leases" in host.log and os.path.exists(os.path.join(host.home, "f"))
    os.rmdir(os.path.join(host.workspace, "salvage", "3"))
    host.boot()
    assert "test.s-1.1" in host.salvage and len(host.salvage) == 16


def test_starts_that_are_refused(hosts):
    host = hosts().boot()
    twin = hosts("twin", claim_key=host.claim_key)
    twin.environment["CLEAT_WORKSPACE"] = host.workspace
    loose, short, both, plain = hosts("loose"), hosts("short"), hosts("both"), hosts("plain")
    os.chmod(loose.key_file, 0o640)
    with open(short.key_file, "w") as file:
        file.write("1234\n")
    both.environment["SESSION_ID"] = "s-1"
    plain.environment["CLEAT_SANDBOX_UID"] = "0"
    for broken, cause in ((twin, "another executor runs there"), (loose, "others than its owner may read it"),
                          (short, "64 hexadecimal digits"), (both, "CLEAT_LEASE_KEY_FILE for many"),
                          (plain, "CLEAT_SANDBOX_UID")):
        assert broken.spawn().wait_exit() == 1, cause
        assert cause in broken.log
    assert host.state()["state"] == "free"


def test_the_store_of_a_host(hosts):
    """CLEAT_ARTIFACTS of a host is the only store that a lease may name."""
    host = hosts()
    host.environment["CLEAT_ARTIFACTS"] = f"file://{host.artifacts}"
    host.boot()
    answer = host.ask("/lease", **host.terms(CLEAT_ARTIFACTS="file:///elsewhere"))
    assert "keeps artifacts at" in answer["error"]
    host.wait_free()
    lease = host.lease()
    lease.run("open('artifacts/a', 'w').write('x')")
    assert lease.complete().json["upload_completed"]
    host.release(lease)
    assert os.path.exists(os.path.join(host.artifacts, "s-1", "manifest.json"))
