"""What the tests of cleat-executor share: executors that end with their test, and looks at processes."""

import itertools
import os
import re
import threading

import pytest

from executor_client import DEADLINE_S, Executor

NOBODY = 65534
# of this run alone
addresses = (f"127.{22 + n // 250}.{os.getpid() % 256}.{n % 250 + 1}" for n in itertools.count())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def executors(tmp_path):
    """Makes executors that end with the test."""
    made = []

    def make(name="x", **options):
        root = tmp_path / name
        root.mkdir()
        root.chmod(0o755)
        made.append(Executor(next(addresses), str(root), **options))
        return made[-1]

    os.chmod(tmp_path, 0o755)
    for parent in list(tmp_path.parents)[:2]:  # pytest closes them for other users
        os.chmod(parent, 0o755)
    yield make
    for executor in made:
        executor.stop()


@pytest.fixture
def x(executors):
    return executors(CLEAT_SANDBOX_UID=str(NOBODY)).boot()


@pytest.fixture(params=["bwrap", "none"])
def each(request, executors):
    """One executor with each kind of sandbox."""
    return executors(CLEAT_SANDBOX=request.param, CLEAT_SANDBOX_UID=str(NOBODY)).boot()


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry) as line:
                    if int(line.read().rsplit(")", 1)[1].split()[1]) == pid:
                        found.append(int(entry))
            except (OSError, IndexError):
                pass
    return found


def descendants(pid):
    below = children(pid)
    return below + [deeper for child in below for deeper in descendants(child)]


def processes_of(uid):
    """Its pids, without those that have ended."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = open(f"/proc/{pid}/status").read()
        except OSError:
            continue
        if str(uid) in re.search(r"^Uid:(.*)$", text, re.M)[1].split() and "\nState:\tZ" not in text:
            found.append(int(pid))
    return found


def in_thread(function):
    result = {}
    thread = threading.Thread(target=lambda: result.update(value=function()), daemon=True)
    thread.start()

    def value():
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        return result["value"]
    return value


def write_file(path, content, owner=None):
    with open(path, "w") as file:
        file.write(content)
    if owner is not None and os.geteuid() == 0:
        os.chown(path, owner, owner)


def in_bwrap(x):
    return x.get("/container-info").json["sandbox"] == "bwrap"


def need_bwrap(x):
    if not in_bwrap(x):
        pytest.skip("bubblewrap does not work here")


def non_root(executors, name="user", **more):
    """An executor that is no root: its tree belongs to that user."""
    x = executors(name, user=NOBODY if os.geteuid() == 0 else 0, **more)
    if os.geteuid() == 0:
        os.makedirs(x.workspace)
        os.makedirs(x.artifacts)
        for path in os.path.dirname(x.workspace), x.workspace, x.artifacts:
            os.chown(path, NOBODY, NOBODY)
        os.chmod(x.workspace, 0o700)
        with open(x.log_path, "w"):
            os.chown(x.log_path, NOBODY, NOBODY)
    return x.boot()


DAEMON = """
import os, time
for i in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            {action}
            time.sleep(600)
        os._exit(0)
print('started', flush=True)
{end}
"""


def make_artifacts(x):
    x.run("import os\n"
          "open('artifacts/a.txt', 'w').write('alpha')\n"
          "os.makedirs('artifacts/deep/er')\n"
          "open('artifacts/deep/er/b.bin', 'wb').write(bytes(range(256)) * 5000)\n"
          "open('data/d.csv', 'w').write('1,2')\n"
          "open('artifacts/empty', 'w')\n"
          "open('elsewhere', 'w').write('stays')")
