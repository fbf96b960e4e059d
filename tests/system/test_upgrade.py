"""A restart is a pause: for the command line, and for clients of a socket that a service manager holds."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from cleat_harness import BUILD, alive, in_parallel, poll

PROGRAM = BUILD / "cleat"
SLOW = "import time\nfor i in range(30): time.sleep(0.1)\nprint('whole')"


def cli(cleatd, *arguments):
    return subprocess.Popen([PROGRAM, "--socket", cleatd.socket, *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"})


def busy(cleatd, session):
    return cleatd.api.session(session)["state"] == "BUSY"


def clients(cleatd):
    """How many are connected to its socket, accepted or not (proc(5); SS_CONNECTED of linux/net.h)."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return sum(row[5] == "03" and row[7:] == [str(cleatd.socket)] for row in rows)


def test_the_command_line_does_not_notice_a_restart(start):
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    running = cli(cleatd, "exec", session, SLOW)
    waiting = cli(cleatd, "wait", "--closed", session)
    poll(lambda: busy(cleatd, session) and clients(cleatd) == 2, 30, "the execution, and both clients")
    cleatd.kill()
    cleatd.start()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "whole\n"), err
    assert cleatd.api.session(session)["executions"] == 1, "asked twice, run once"
    cleatd.api.close(session)
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err


def test_the_command_line_gives_up_when_nobody_comes_back(start):
    cleatd = start.cleatd()
    session = cleatd.api.ready()["session_id"]
    running = cli(cleatd, "exec", session, SLOW)
    poll(lambda: busy(cleatd, session), 30, "the execution")
    cleatd.kill()
    killed_at = time.monotonic()
    out, err = running.communicate(timeout=60)
    assert 14 < time.monotonic() - killed_at < 15 + 15, "it asks again for 15 s; and this machine is busy"
    assert running.returncode == 4 and "did not come back (connection_lost)" in err, (running.returncode, err)
    assert cli(cleatd, "ps").wait(timeout=10) == 5, "who never reached it is told at once"
    cleatd.start()


class Manager:
    """Holds the socket as systemd does, and hands it to each cleatd."""

    def __init__(self, cleatd):
        self.cleatd = cleatd
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(cleatd.socket))
        self.listener.listen(64)
        cleatd.start = self.start

    def start(self):
        def pass_socket():
            os.dup2(self.listener.fileno(), 3)
            os.environ["LISTEN_PID"] = str(os.getpid())

        command = 'LISTEN_PID=$$ exec "$@"'
        with open(self.cleatd.log_path, "ab") as log:
            self.cleatd.process = subprocess.Popen(
                ["sh", "-c", command, "sh", self.cleatd.program, "--config", self.cleatd.config_path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(3,), preexec_fn=pass_socket,
                env={**os.environ, "LISTEN_FDS": "1", "ASAN_OPTIONS": self.cleatd.asan})
        poll(self.cleatd._answers, 30, "cleatd's /healthz")
        return self.cleatd


def test_clients_wait_at_a_socket_that_somebody_keeps(start):
    cleatd = start.cleatd()
    cleatd.terminate()
    assert not cleatd.socket.exists()
    Manager(cleatd).start()
    session = cleatd.api.ready()["session_id"]
    pid = cleatd.pid_of(session)
    cleatd.terminate()
    assert cleatd.socket.exists() and alive(pid)
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(cleatd.api.session(session)["state"]))
               for _ in range(8)]
    for c in clients:  # all of them connect while no cleatd runs
        c.start()
    poll(lambda: sum(c.is_alive() for c in clients) == 8, 10, "eight clients that wait")
    cleatd.start()
    for c in clients:
        c.join(60)
    assert len(answers) == 8 and set(answers) <= {"READY", "REROUTING"}, answers
    in_parallel(lambda i: cleatd.api.execute(session, f"print({i})"), range(4))
    assert cleatd.pid_of(session) == pid
    cleatd.api.close(session)
