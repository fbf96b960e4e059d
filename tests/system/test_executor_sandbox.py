"""What user code sees, and what it outlives."""

import fcntl
import os
import signal
import stat
import subprocess

import pytest

from executor_client import wait_for
from executor_help import each, executors, x  # noqa: F401
from executor_help import DAEMON, NOBODY, children, descendants, in_bwrap, need_bwrap, needs_root, non_root, processes_of, write_file
from static_help import own_uid


@needs_root
def test_user_code_has_another_uid_outside(each):
    ident = each.start("import time; print('in', flush=True); time.sleep(600)")
    each.wait_output(ident, "in")
    ours = [] if in_bwrap(each) else children(each.process.pid)  # the warden, which the user must not end
    users = [pid for pid in descendants(each.process.pid) if pid not in ours]
    assert users and len(ours) < 2
    for pid in users:
        with open("/proc/%d/status" % pid) as status:
            fields = dict(line.split(":", 1) for line in status)
        assert fields["Uid"].split() == [str(NOBODY)] * 4
        assert fields["Gid"].split() == [str(NOBODY)] * 4
        assert fields["Groups"].split() == []
    assert descendants(each.process.pid)


@needs_root
def test_cannot_read_what_root_can(each):
    for path in "/etc/shadow", each.workspace + "/debug/executions/1.stdout", each.workspace + "/lock":
        with open(each.workspace + "/lock", "w"):
            os.chmod(each.workspace + "/lock", 0o600)
        result = each.run("print(open(%r).read())" % path)
        assert result["status"] == "failed"
        assert result["error"].startswith(("PermissionError", "FileNotFoundError"))


def test_sees_only_its_own_workspace(executors):
    one, two = (executors(name, CLEAT_SANDBOX_UID=str(NOBODY)).boot() for name in ("one", "two"))
    need_bwrap(one)
    write_file(two.home + "/private", "two's", NOBODY)
    result = one.run("import os\n"
                     "print(sorted(os.listdir('/')), sorted(os.listdir('/workspace')), os.listdir('/tmp'))\n"
                     "print(os.path.exists(%r), os.path.exists(%r))" % (two.home, one.workspace))
    top, seen = result["stdout"].splitlines()
    assert "'workspace'" in top and "'root'" not in top and "'home'" not in top
    assert "['artifacts', 'data', 'input']" in top
    assert seen == "False False"


def test_system_is_read_only(x):
    need_bwrap(x)
    for path in "/usr/x", "/etc/x", "/run/cleat/execution-1.py", "/bin/x":
        result = x.run("open(%r, 'w')" % path)
        assert result["status"] == "failed", path
    assert not os.path.exists("/usr/x")


def test_process_and_ipc_namespaces(x):
    need_bwrap(x)
    ident = x.start("import os, time\n"
                    "print(len([p for p in os.listdir('/proc') if p.isdigit()]), flush=True)\n"
                    "time.sleep(600)")
    x.wait_output(ident, "\n")
    assert int(x.output(ident).body) <= 3
    inner = descendants(x.process.pid)[-1]
    for space in "pid", "mnt", "ipc", "net", "user":
        outside = os.readlink("/proc/%d/ns/%s" % (x.process.pid, space))
        assert os.readlink("/proc/%d/ns/%s" % (inner, space)) != outside


NAME_NETWORK = "import os; print(os.readlink('/proc/self/ns/net'))"
LIST_NETWORK = "import socket; print([name for _, name in socket.if_nameindex()])"


def test_network_none(x):
    need_bwrap(x)
    assert x.run(LIST_NETWORK)["stdout"] == "['lo']\n"
    reach = "import socket; socket.create_connection((%r, 8080), 5)" % x.address
    assert x.run(reach)["status"] == "failed"
    assert x.get("/container-info").json["network"] == "none"


def test_network_host(executors):
    x = executors(CLEAT_NETWORK="host", CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    need_bwrap(x)
    assert x.run(NAME_NETWORK)["stdout"] == os.readlink("/proc/self/ns/net") + "\n"
    reach = "import socket; socket.create_connection((%r, 8080), 5)" % x.address
    assert x.run(reach)["status"] == "completed"


@pytest.mark.parametrize("sandbox", ["bwrap", "none"])
def test_executor_that_is_not_root(executors, sandbox):
    x = non_root(executors, CLEAT_SANDBOX=sandbox)
    assert x.run("open('artifacts/a', 'w').write('A'); print('ok')")["stdout"] == "ok\n"
    assert x.run(DAEMON.format(action="pass", end="pass"))["status"] == "completed"
    assert descendants(x.process.pid) == []
    assert x.complete().json["upload_completed"] is True
    assert "artifacts/a" in [file["path"] for file in x.manifest()["files"]]


@needs_root
@pytest.mark.parametrize("sandbox", ["auto", "bwrap"])
def test_without_bubblewrap(executors, sandbox):
    x = executors(CLEAT_SANDBOX=sandbox, CLEAT_SANDBOX_UID=str(NOBODY))
    libc = __import__("ctypes").CDLL(None, use_errno=True)
    before = x._before_exec

    def without_bwrap():  # /dev/null in place of the program, in a mount namespace of its own
        assert libc.unshare(0x00020000) == 0
        assert libc.mount(None, b"/", None, (1 << 18) | 16384, None) == 0
        assert libc.mount(b"/dev/null", b"/usr/bin/bwrap", None, 4096, None) == 0
        before()

    x._before_exec = without_bwrap
    if sandbox == "bwrap":
        x.spawn()
        assert x.wait_exit() == 1
        assert "CLEAT_SANDBOX=bwrap does not work here" in x.log
    else:
        x.boot()
        info = x.get("/container-info").json
        assert info["sandbox"] == "none" and info["network"] == "host"
        assert "sandbox.none" in x.log
        assert x.run("print(1)")["stdout"] == "1\n"


@needs_root
def test_unreachable_home_is_said_at_start(executors, tmp_path):
    x = executors(CLEAT_SANDBOX="none", CLEAT_SANDBOX_UID=str(NOBODY))
    os.chmod(os.path.dirname(x.workspace), 0o700)
    x.spawn()
    assert x.wait_exit() == 1
    assert "cannot use" in x.log and "home" in x.log


@needs_root
def test_closed_parents_do_not_matter_to_bubblewrap(executors):
    x = executors(CLEAT_SANDBOX="bwrap", CLEAT_SANDBOX_UID=str(NOBODY))
    os.chmod(os.path.dirname(x.workspace), 0o700)
    x.boot()
    assert x.run("open('f', 'w').write('1'); print(open('f').read())")["stdout"] == "1\n"
    assert os.stat(x.home + "/f").st_uid == NOBODY


def holds(pid, path):
    """Whether it has the file open; also None when it is gone or hides that."""
    try:
        return str(path) in [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)]
    except OSError:
        return None


def is_locked(path):
    probe = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(probe)
    return False


def boot_with_lock(executors, **environment):
    """An executor that was given the lock of its workspace and a user id of its own, as a coordinator does."""
    x = executors(CLEAT_SANDBOX="none", CLEAT_SANDBOX_UID=str(own_uid()), **environment)
    os.mkdir(x.workspace, 0o700)
    x.lock_fd = os.open(x.workspace + "/lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(x.lock_fd, fcntl.LOCK_EX)
    x.boot()
    os.close(x.lock_fd)
    return x


# Leaves its group and session, its parent, its environment and every descriptor behind.
RUNAWAY = """
import os, time
for i in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 256)
            os.chdir('/')
            os.execve('/bin/sleep', ['/bin/sleep', '600'], {})
        os._exit(0)
    os.wait()
print('started', flush=True)
time.sleep(600)
"""


def run_away(x):
    """Runs it. The warden's pid, and those below it."""
    ident = x.start(RUNAWAY)
    x.wait_output(ident, "started")
    (warden,) = children(x.process.pid)
    wait_for(lambda: [name_of(pid) for pid in children(warden)].count("sleep") == 3, "the runaways")
    left = descendants(warden)
    assert len(left) == 4
    return warden, left


def name_of(pid):
    try:
        with open("/proc/%d/comm" % pid) as name:
            return name.read().strip()
    except OSError:
        return None


def alive(pids):
    return [pid for pid in pids if os.path.exists("/proc/%d" % pid)]


def test_user_code_does_not_hold_the_lock(executors):
    x = boot_with_lock(executors)
    warden, left = run_away(x)
    assert not any(holds(pid, x.workspace + "/lock") for pid in left) and is_locked(x.workspace + "/lock")


def test_a_runaway_dies_with_the_executor_without_sandbox(executors):
    """And the container counts as alive until it has: its address and uid are given to nobody else."""
    x = boot_with_lock(executors)
    warden, left = run_away(x)
    assert os.getpgid(warden) == warden  # it survives what ends the executor's group
    os.kill(warden, signal.SIGSTOP)
    try:
        x.process.kill()
        x.process.wait()
        assert len(alive(left)) >= 3 and is_locked(x.workspace + "/lock")
    finally:
        os.kill(warden, signal.SIGCONT)
    wait_for(lambda: not is_locked(x.workspace + "/lock"), "the lock's freedom")
    assert not alive(left)


def test_a_runaway_dies_with_its_program_and_its_executor_at_once(executors):
    """The executor is killed when the program has ended, before it could do the rest."""
    x = boot_with_lock(executors)
    warden, left = run_away(x)
    os.kill(warden, signal.SIGSTOP)
    program = children(warden)[0]
    os.kill(program, signal.SIGKILL)
    x.process.kill()
    x.process.wait()
    os.kill(warden, signal.SIGCONT)
    wait_for(lambda: not is_locked(x.workspace + "/lock"), "the lock's freedom")
    assert not alive(left)


def test_a_runaway_dies_with_its_warden(executors):
    """That is killed, not the executor: it is the end of the execution, and of what it left."""
    x = boot_with_lock(executors)
    warden, left = run_away(x)
    os.kill(warden, signal.SIGKILL)
    wait_for(lambda: not descendants(x.process.pid), "the end of what it left")
    assert not alive(left) and is_locked(x.workspace + "/lock")
    assert x.run("print(1)")["stdout"] == "1\n"


@needs_root
def test_a_runaway_of_an_executor_that_is_not_root(executors):
    x = non_root(executors, CLEAT_SANDBOX="none")
    warden, left = run_away(x)
    x.process.kill()
    x.process.wait()
    wait_for(lambda: not alive([warden, *left]), "their end")


@pytest.fixture
def chain(executors, tmp_path):
    """A program whose processes live too short to be met, and end by themselves in the end."""
    program = tmp_path / "fork_chain"
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fork_chain.c")
    subprocess.run(["cc", "-O1", "-static", "-o", program, source], check=True)
    return str(program)


def run_chains(x, chain):
    """Runs them while their warden is stopped, until many have ended: a look at all is slower than one of them.
    The execution and the warden's pid."""
    ident = x.start(argv=[chain])
    x.wait_output(ident, "started")
    (warden,) = children(x.process.pid)
    os.kill(warden, signal.SIGSTOP)
    wait_for(lambda: len(children(warden)) > 1000, "many generations")
    return ident, warden


def user_of(x):
    return int(x.environment["CLEAT_SANDBOX_UID"])


@needs_root
def test_chains_of_forks_die_with_the_executor(executors, chain):
    """And it counts as alive until they have, as above; nobody else of this machine is harmed."""
    x, other = boot_with_lock(executors), boot_with_lock(executors, name="other")
    spared = other.start("import time\nprint('in', flush=True)\ntime.sleep(600)")
    other.wait_output(spared, "in")
    # That all of the user are killed at once, which no chain escapes, shows one who is met in no other way.
    outsider = subprocess.Popen(["sleep", "60"], user=user_of(x), group=user_of(x), extra_groups=[])
    _, warden = run_chains(x, chain)
    x.process.kill()
    x.process.wait()
    os.kill(warden, signal.SIGCONT)
    wait_for(lambda: not is_locked(x.workspace + "/lock"), "the lock's freedom")
    assert processes_of(user_of(x)) == [] and outsider.wait(60) == -signal.SIGKILL
    assert other.record(spared)["status"] == "running"


@needs_root
def test_chains_of_forks_die_with_their_program(executors, chain):
    x = boot_with_lock(executors)
    ident, warden = run_chains(x, chain)
    for pid in children(warden):
        if name_of(pid) == "fork_chain" and os.getpgid(pid) == pid:  # their program
            os.kill(pid, signal.SIGKILL)
    os.kill(warden, signal.SIGCONT)
    assert x.ended(ident)["signal"] == signal.SIGKILL
    assert processes_of(user_of(x)) == []
    assert "execution.processes_left" not in x.log


@needs_root
def test_what_is_left_ends_with_its_whole_user_in_a_container_of_its_own(executors):
    """Below the first process of a PID namespace nobody is anybody else's; who is outside is not met."""
    x = executors(CLEAT_SANDBOX="none", CLEAT_SANDBOX_UID=str(own_uid()))
    x.command[:0] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    outsider = subprocess.Popen(["sleep", "60"], user=user_of(x), group=user_of(x), extra_groups=[])
    x.boot()
    (executor,) = children(x.process.pid)
    insider = subprocess.Popen(["nsenter", "--target", str(executor), "--pid", "--wd=/", "--setuid", str(user_of(x)),
                                "--setgid", str(user_of(x)), "sleep", "60"])
    wait_for(lambda: len(processes_of(user_of(x))) >= 2, "somebody inside")
    assert x.run(argv=["/bin/sh", "-c", "sleep 60 & exit 0"])["status"] == "completed"
    wait_for(lambda: len(processes_of(user_of(x))) == 1, "the end of all inside")
    assert processes_of(user_of(x)) == [outsider.pid]
    insider.wait(60)
    outsider.kill()
    outsider.wait()
    os.kill(executor, signal.SIGTERM)
    assert x.wait_exit() == 0


def test_user_code_dies_with_the_executor_in_bubblewrap(x):
    need_bwrap(x)
    ident = x.start(DAEMON.format(action="pass", end="time.sleep(600)"))
    x.wait_output(ident, "started")
    left = descendants(x.process.pid)
    assert len(left) >= 8
    x.process.kill()
    x.process.wait()
    wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in left), "their end")


def test_user_code_dies_with_the_executor_without_sandbox(executors):
    x = executors(CLEAT_SANDBOX="none", CLEAT_SANDBOX_UID=str(NOBODY)).boot()
    ident = x.start("import time\nprint('in', flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "in")
    left = descendants(x.process.pid)
    x.process.kill()
    x.process.wait()
    wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in left), "their end")


def test_workspace_modes(x):
    assert stat.S_IMODE(os.stat(x.home).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(x.workspace + "/debug").st_mode) & 0o066 == 0
    if os.geteuid() == 0:
        assert os.stat(x.home).st_uid == NOBODY
        assert os.stat(x.workspace + "/debug").st_uid == 0
