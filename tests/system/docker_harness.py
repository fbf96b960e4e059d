"""A real dockerd of the tests' own: private mount namespace, bridge, storage and socket, no packet
filter rules (ports on 127.0.0.1 are served by its proxy), and an image made on the spot."""

import contextlib
import fcntl
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import urllib.parse

from cleat_harness import BUILD, UnixConnection, poll

PROGRAMS = ["/bin/sh", "/bin/bash", "/usr/bin/test", "/usr/bin/cat", "/usr/bin/sleep", "/usr/bin/id"]
IMAGE = "cleat-test:1"


def bridge_slot():
    """A number that no other test run on this machine uses for its bridge and addresses."""
    for slot in range(16):
        f = open(os.path.join(tempfile.gettempdir(), f"cleat-tests-bridge.{slot}.lock"), "w")
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return f, slot
        except OSError:
            f.close()
    raise AssertionError("all sixteen bridges are in use: is another test run stuck?")


def libraries(program):
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    words = [w for line in text.splitlines() for w in line.split()]
    return [w for w in words if w.startswith("/")]


def image_tar():
    """The executor, a shell and their libraries."""
    files = {"/bin/cleat-executor": BUILD / "cleat-executor"}
    for program in [*PROGRAMS, BUILD / "cleat-executor"]:
        if program != BUILD / "cleat-executor":
            files[program] = program
        files.update({path: path for path in libraries(program)})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        parents = {str(p).strip("/") for name in files for p in pathlib.PurePath(name).parents}
        for path in sorted(parents - {""} | {"tmp", "workspace", "artifacts", "proc", "sys", "dev", "etc"}):
            directory = tarfile.TarInfo(path)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            tar.addfile(directory)
        for name, path in files.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            data = pathlib.Path(path).read_bytes()
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Dockerd:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.socket = self.root / "docker.sock"
        self.log_path = self.root / "dockerd.log"
        self.lock, slot = bridge_slot()
        self.bridge = f"cleat-test{slot}"
        self.subnet = f"10.213.{slot * 16}"
        self.process = None

    def start(self):
        self._bridge()
        self.launch()
        self.import_image()
        return self

    def _bridge(self):
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        for words in (f"link add {self.bridge} type bridge",
                      f"addr add {self.subnet}.1/20 dev {self.bridge}", f"link set {self.bridge} up"):
            subprocess.run(["ip", *words.split()], check=True)

    def launch(self):
        script = ("umount -l /sys/fs/cgroup/unified 2>/dev/null\n"
                  f"exec dockerd --storage-driver=vfs --data-root={self.root}/data"
                  f" --exec-root={self.root}/exec --pidfile={self.root}/pid -H unix://{self.socket}"
                  f" --bridge={self.bridge} --iptables=false --ip6tables=false")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        poll(self._answers, 30, "dockerd's _ping")

    def _answers(self):
        if self.process.poll() is not None:
            tail = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-15:])
            raise AssertionError(f"dockerd cannot start here (CLEAT_NO_DOCKER=1 goes without):\n{tail}")
        with contextlib.suppress(OSError):
            return self.ask("GET", "/_ping")[0] == 200
        return False

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)

    def stop(self):
        try:
            if self.process and self.process.poll() is None:
                left = self.containers()
                for c in left:
                    self.ask("DELETE", f"/containers/{c['Id']}?force=1&v=1")
                self.end()
                assert not left, f"containers are left: {[c['Names'] for c in left]}"
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
            self.lock.close()

    def ask(self, method, path, body=None, headers=None):
        connection = UnixConnection(self.socket, 60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text) if text else None
        except ValueError:
            return answer.status, text

    def export(self):
        return image_tar()

    def import_image(self):
        repo, tag = IMAGE.split(":")
        query = urllib.parse.urlencode(
            [("fromSrc", "-"), ("repo", repo), ("tag", tag),
             ("changes", 'ENTRYPOINT ["/bin/cleat-executor"]'),
             ("changes", "ENV ASAN_OPTIONS=detect_leaks=0")])
        status, answer = self.ask("POST", f"/images/create?{query}", image_tar(),
                                  {"Content-Type": "application/x-tar"})
        assert status == 200 and b"error" not in json.dumps(answer).encode(), answer

    # its own word on what there is

    def containers(self):
        return self.ask("GET", "/containers/json?all=1")[1]

    def running(self):
        return [c for c in self.containers() if c["State"] == "running"]

    def of_session(self, session):
        return [c for c in self.containers() if c["Labels"].get("cleat.session") == session]

    def inspect(self, container):
        return self.ask("GET", f"/containers/{container}/json")[1]

    def run(self, name, labels):
        """A container of the test's own that runs until it is stopped."""
        body = json.dumps({"Image": IMAGE, "Entrypoint": ["/usr/bin/sleep", "600"], "Labels": labels,
                           "StopSignal": "SIGKILL"})
        status, made = self.ask("POST", f"/containers/create?name={name}", body,
                                {"Content-Type": "application/json"})
        assert status == 201, made
        assert self.ask("POST", f"/containers/{made['Id']}/start")[0] == 204
        return made["Id"]

    def remove(self, container):
        assert self.ask("DELETE", f"/containers/{container}?force=1&v=1")[0] == 204

    def kill(self, session):
        [c] = self.of_session(session)
        assert self.ask("POST", f"/containers/{c['Id']}/kill")[0] == 204



class LossyDockerd:
    """Stands before dockerd's socket and, as often as `lose` says of a request's first words, lets
    it have its effect and drops the answer."""

    def __init__(self, dockerd, path, lose):
        self.behind, self.socket, self.lose, self.lost = dockerd.socket, path, dict(lose), []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        engine = socket.socket(socket.AF_UNIX)
        with client, engine, contextlib.suppress(OSError):
            engine.connect(str(self.behind))
            head = client.recv(65536)
            line = head.split(b"\r\n", 1)[0].decode()
            loses = next((words for words in self.lose if words in line and self.lose[words] > 0), None)
            if loses:
                self.lose[loses] -= 1
                self.lost.append(line)
            engine.sendall(head)
            while True:
                for ready in select.select([client, engine], [], [])[0]:
                    piece = ready.recv(65536)
                    if not piece or (ready is engine and loses):
                        return
                    (engine if ready is client else client).sendall(piece)


# ---- a registry on loopback, which dockerd asks without TLS


class Registry:
    """Docker Registry HTTP API V2, as far as a pull needs it: manifests and blobs by digest."""

    def __init__(self):
        self.blobs, self.manifests = {}, {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
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
        if words[1:] == ["v2", ""]:
            pass
        elif len(words) == 5 and words[3] == "manifests" and (words[2], words[4]) in self.manifests:
            kind, body = self.manifests[words[2], words[4]]
        elif len(words) == 5 and words[3] == "blobs" and words[4] in self.blobs:
            kind, body = "application/octet-stream", self.blobs[words[4]]
        else:
            status = 404
            body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN",
                                           "message": "manifest unknown"}]}).encode()
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if status == 200 and words[-1]:
            request.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)
