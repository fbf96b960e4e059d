"""A reader of server-sent events of its own, after WHATWG HTML section 9.2, over the API's socket."""

import json
import socket
import threading


class Lost(Exception):
    """The stream broke off without its end."""


class Stream:
    """One connection. Iterating gives (id, event, data); ended: the last chunk came."""

    def __init__(self, path, target, last_id=None, timeout=60, buffer=None):
        self.socket = socket.socket(socket.AF_UNIX)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        resume = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n{resume}\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self._line().split()[1])
        self.headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self.id, self.ended = last_id, False

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Lost(line)
        return line[:-2].decode()

    def _bytes(self):
        while True:
            size = int(self._line(), 16)
            data = self.file.read(size)
            if len(data) != size or self._line():
                raise Lost(data)
            if size == 0:
                self.ended = True
                return
            yield data

    def __iter__(self):
        event, data, pending = None, [], b""
        for piece in self._bytes():
            *lines, pending = (pending + piece).split(b"\n")
            for line in (raw.decode() for raw in lines):
                name, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                if name == "id":
                    self.id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                elif not line:
                    if data:
                        yield int(self.id), event, json.loads("\n".join(data))
                    event, data = None, []

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_all(api, target):
    """What is kept, at once."""
    with Stream(api.path, target + ("&" if "?" in target else "?") + "follow=false") as stream:
        assert stream.status == 200, stream.headers
        events = list(stream)
        assert stream.ended and events[-1][1] == "end", events[-1:]
        return events[:-1]


class Reader(threading.Thread):
    """Reads until the end, coming back whenever the connection breaks, or after each `drop()` events."""

    def __init__(self, path, target, drop=None, again=lambda: False):
        super().__init__(daemon=True)
        self.path, self.target, self.drop, self.again = path, target, drop, again
        self.events, self.id, self.connections, self.error = [], None, 0, None
        self.stopped = threading.Event()
        self.stream = None
        self.start()

    def run(self):
        try:
            while not self.stopped.is_set():
                if self._once():
                    return
        except Exception as error:  # noqa: BLE001  (the test that joins says it)
            if not self.stopped.is_set():
                self.error = error

    def _once(self):
        limit = self.drop() if self.drop else None
        try:
            with Stream(self.path, self.target, self.id) as self.stream:
                self.connections += 1
                assert self.stream.status == 200, self.stream.status
                for count, event in enumerate(self.stream, 1):
                    self.id = str(event[0])
                    self.events.append(event)
                    if event[1] == "end":
                        return True
                    if count == limit:
                        return False
                self.id = self.stream.id
                return not self.again()
        except (Lost, OSError):
            if not self.again() and not self.stopped.is_set():
                raise
            self.id = self.stream.id if self.stream else self.id
            self.stopped.wait(0.05)
            return False

    def result(self, timeout=120):
        self.join(timeout)
        assert not self.is_alive(), f"{self.target}: {len(self.events)} events and no end"
        if self.error:
            raise self.error
        return self.events

    def stop(self):
        self.stopped.set()
        if self.stream:
            self.stream.socket.shutdown(socket.SHUT_RDWR)
        self.join(30)
        if self.error:
            raise self.error
        return self.events
