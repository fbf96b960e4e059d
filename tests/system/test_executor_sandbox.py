"""What user code sees, and what it outlives."""

import fcntl
import os
import signal
import stat

import pytest

from executor_client import wait_for
from executor_help import each, executors, x  # noqa: F401
from executor_help import DAEMON, NOBODY, descendants, need_bwrap, needs_root, non_root, write_file


@needs_root
def test_user_code_has_another_uid_outside(each):
    ident = each.start("import time; print('in', flush=True); time.sleep(600)")
    each.wait_output(ident, "in")
    for pid in descendants(each.process.pid):
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


def test_lock_is_not_held_by_user_code(executors, tmp_path):
    path = tmp_path / "lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    x = executors(CLEAT_SANDBOX="none", lock_fd=lock).boot()
    os.close(lock)
    ident = x.start("import os, time\nprint(os.listdir('/proc/self/fd'), flush=True)\ntime.sleep(600)")
    x.wait_output(ident, "]")
    left = descendants(x.process.pid)
    for pid in left:
        fds = [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)]
        assert str(path) not in fds
    probe = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    x.process.kill()
    x.process.wait()
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)  # though user code may still run
    finally:
        os.close(probe)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


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
