"""Clients of other users: a process under their uid and gids connects, and hands the connection over, whose
credentials stay those of the connect (unix(7), SO_PEERCRED)."""

import re
import socket
import subprocess

from cleat_harness import PYTHON, Api, UnixConnection

CONNECTS = """
import socket, sys
us = socket.socket(fileno=0)
while path := us.recv(200):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path.decode())
    socket.send_fds(us, [b"x"], [s.fileno()])
    s.close()
"""


class PeerConnection(UnixConnection):
    peer = None

    def connect(self):
        self.sock = self.peer.connect()
        self.sock.settimeout(self.timeout)


class Peer(Api):
    """The API as one user sees it."""

    def __init__(self, path, uid, gid=65500, groups=()):
        super().__init__(path)
        self.pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen([PYTHON, "-c", CONNECTS], stdin=theirs, cwd="/", user=uid, group=gid,
                                        extra_groups=list(groups))
        theirs.close()

    def connect(self):
        self.pipe.send(self.path.encode())
        _, (fd,), _, _ = socket.recv_fds(self.pipe, 1, 1)
        return socket.socket(fileno=fd)

    def connection(self, timeout):
        made = PeerConnection(self.path, timeout)
        made.peer = self
        return made

    def bytes(self, method, target, body=None, timeout=60):
        """Every byte of the answer but the time in it: status, headers and body."""
        with self.connect() as s:
            s.settimeout(timeout)
            head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            if body is not None:
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            s.sendall((head + "\r\n" + (body or "")).encode())
            answer = b""
            while piece := s.recv(65536):
                answer += piece
            return re.sub(rb"\r\nDate: [^\r]*", b"", answer)

    def stop(self):
        self.pipe.close()
        self.process.wait(30)
