"""What lies or fails between cleatd and a real dockerd, and a registry on loopback, which dockerd asks
without TLS."""

import base64
import contextlib
import ctypes
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import select
import socket
import threading

FAULTS = ("lose", "hang", "hang-after", "500", "cut", "huge", "garbage")


class LyingDockerd:
    """Stands before dockerd's socket. `faults` maps words of a request's first line to (what goes
    wrong, how often):
    lose, hang-after: it has its effect and the answer is dropped, or never comes;
    hang, 500: nothing is done; cut, huge, garbage: it has its effect, the answer is not what it was."""

    def __init__(self, dockerd, path, faults):
        self.behind, self.socket, self.faults, self.seen = dockerd.socket, path, dict(faults), []
        self.healed, self.open = threading.Event(), []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self):
        """Those that hang are dropped."""
        self.faults = {}
        self.healed.set()

    def drop(self, words):
        """Cuts the connections whose request says so."""
        for line, client in list(self.open):
            if words in line:
                client.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.heal()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _fault_of(self, line):
        for words, (kind, times) in self.faults.items():
            if words in line and times > 0:
                self.faults[words] = (kind, times - 1)
                self.seen.append(line)
                return kind
        return None

    def _serve(self, client):
        engine = socket.socket(socket.AF_UNIX)
        with client, engine, contextlib.suppress(OSError):
            engine.connect(str(self.behind))
            head = client.recv(65536)
            line = head.split(b"\r\n", 1)[0].decode()
            fault = self._fault_of(line)
            self.open.append((line, client))
            if fault == "hang":
                self.healed.wait()
            elif fault == "500":
                client.sendall(answer("500 Internal Server Error", b'{"message":"on purpose"}'))
            else:
                self._forward(client, engine, head, fault)
            self.open.remove((line, client))

    def _forward(self, client, engine, head, fault):
        engine.sendall(head)
        while True:
            for ready in select.select([client, engine], [], [])[0]:
                piece = ready.recv(65536)
                if ready is engine and fault:
                    self._lie(client, fault)
                    return
                if not piece:
                    return
                (engine if ready is client else client).sendall(piece)

    def _lie(self, client, fault):
        if fault == "hang-after":
            self.healed.wait()
        elif fault == "cut":
            client.sendall(answer("200 OK", b'{"Id": "0123'))
        elif fault == "garbage":
            client.sendall(b"\0\1\2 no HTTP\r\n\r\n")
        elif fault == "huge":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(1000):
                client.sendall(b"[" * 100000)


def answer(status, body):
    return (f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class Registry:
    """Docker Registry HTTP API V2, as far as a pull needs it: manifests and blobs by digest. login:
    USER:PASSWORD that it demands. While an image is held, or all are,
    only a half of large blobs comes, and no word of what is not there."""

    def __init__(self, login=None):
        self.blobs, self.manifests, self.login = {}, {}, login
        self.flow, self.held = threading.Event(), ""
        self.flow.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with contextlib.suppress(ConnectionError):  # who has enough of it goes away
                    outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hold(self, image=""):
        self.held = image
        self.flow.clear()

    def release(self):
        self.flow.set()

    def close(self):
        self.release()
        self.server.shutdown()
        self.server.server_close()

    def blob(self, data):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def offer(self, name, layer):
        """An image of one layer, under the tag `latest`."""
        packed = gzip.compress(layer, 1)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {
            "Env": ["ASAN_OPTIONS=detect_leaks=0"]}, "rootfs": {
                "type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}).encode()
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                       "size": len(config), "digest": self.blob(config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(packed), "digest": self.blob(packed)}]}).encode()
        for reference in ("latest", self.blob(manifest)):
            self.manifests[name, reference] = (kind, manifest)

    def answer(self, request):
        words = request.path.split("/")
        kind, body, status = "application/json", b"{}", 200
        if self.login and request.headers.get("Authorization") != f"Basic {base64_of(self.login)}":
            status = 401
            body = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}).encode()
        elif words[1:] == ["v2", ""]:
            pass
        elif len(words) == 5 and words[3] == "manifests" and (words[2], words[4]) in self.manifests:
            kind, body = self.manifests[words[2], words[4]]
        elif len(words) == 5 and words[3] == "blobs" and words[4] in self.blobs:
            kind, body = "application/octet-stream", self.blobs[words[4]]
        else:
            status = 404
            body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN",
                                           "message": "manifest unknown"}]}).encode()
        held = self.held in request.path
        if status == 404 and held:
            self.flow.wait()
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if status == 401:
            request.send_header("WWW-Authenticate", 'Basic realm="tests"')
        if status == 200 and words[-1]:
            request.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
        request.end_headers()
        if request.command == "GET":
            half = len(body) // 2
            request.wfile.write(body[:half])
            if half > 1 << 20 and held:
                self.flow.wait()
            request.wfile.write(body[half:])


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


class MuteDirectory:
    """A file system that answers nobody: whoever touches it waits until it is gone, or is killed."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir()
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0".encode()
        self.libc = ctypes.CDLL(None, use_errno=True)
        if self.libc.mount(b"mute", os.fsencode(self.path), b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")

    def close(self):
        self.libc.umount2(os.fsencode(self.path), 2)  # MNT_DETACH
        os.close(self.device)
