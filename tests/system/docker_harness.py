"""Real engines of the tests' own, dockerd and Podman: private mount namespace, bridge, storage and
socket, and an image made on the spot."""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import resource
import signal
import subprocess
import tarfile
import tempfile
import urllib.parse

import pytest

from cleat_harness import BUILD, UnixConnection, alive, poll

PROGRAMS = ["/bin/sh", "/bin/bash", "/usr/bin/test", "/usr/bin/cat", "/usr/bin/sleep", "/usr/bin/id"]
IMAGE = "cleat-test:1"


def bridge_slot(kind):
    """A number that no other test run on this machine uses for its bridge and addresses."""
    for slot in range(16):
        f = open(os.path.join(tempfile.gettempdir(), f"cleat-tests-{kind}.{slot}.lock"), "w")
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


def image_tar(more=None):
    """The executor, a shell and their libraries; more: files by name, with what is in them."""
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
        contents = {name: pathlib.Path(path).read_bytes() for name, path in files.items()}
        for name, data in {**contents, **(more or {})}.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Engine:
    """What both have in common: a process in a mount namespace, and the API's own word on what there is."""

    def __init__(self, root, kind):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.socket = self.root / f"{kind}.sock"
        self.log_path = self.root / f"{kind}.log"
        self.kind, self.process = kind, None
        self.lock, self.slot = bridge_slot(kind)

    def spawn(self, command, **environment):
        script = f"umount -l /sys/fs/cgroup/unified 2>/dev/null\nexec {command}"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**os.environ, **environment})
        poll(self._answers, 30, f"{self.kind}'s _ping")

    def _answers(self):
        if self.process.poll() is not None:
            tail = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-15:])
            raise AssertionError(f"{self.kind} cannot start here (CLEAT_NO_DOCKER=1 goes without):\n{tail}")
        with contextlib.suppress(OSError):
            return self.ask("GET", "/_ping")[0] == 200
        return False

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)

    def kill_process(self):
        self.process.kill()
        self.process.wait()

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
                self.kill_process()
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


class Dockerd(Engine):
    """Without packet filter rules: ports on 127.0.0.1 are served by its proxy."""

    def __init__(self, root):
        super().__init__(root, "dockerd")
        self.bridge = f"cleat-test{self.slot}"
        self.address = f"10.213.{self.slot * 16}.1"

    def start(self):
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        for words in (f"link add {self.bridge} type bridge",
                      f"addr add {self.address}/20 dev {self.bridge}", f"link set {self.bridge} up"):
            subprocess.run(["ip", *words.split()], check=True)
        self.launch()
        self.import_image()
        return self

    def launch(self):
        self.spawn(f"dockerd --data-root={self.root}/data --exec-root={self.root}/exec"
                   f" --pidfile={self.root}/pid -H unix://{self.socket} --bridge={self.bridge}"
                   " --iptables=false --ip6tables=false")

    def kill_process(self):
        """Its containerd ends with it; where nobody reaps that, a next dockerd would take it for alive."""
        pid = self.root / "exec" / "containerd" / "containerd.pid"
        super().kill_process()
        if pid.exists():
            poll(lambda: not alive(int(pid.read_text())), 10, "the end of containerd")
            pid.unlink()

    def stop(self):
        """A shim whose container was being made or removed when dockerd was killed is forgotten by the next."""
        try:
            super().stop()
        finally:
            mine = f"-address {self.root}/exec/".replace(" ", "\0").encode()
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if mine in (process / "cmdline").read_bytes():
                        children = " ".join(f.read_text() for f in process.glob("task/*/children")).split()
                        for pid in [*children, process.name]:
                            os.kill(int(pid), signal.SIGKILL)


class Podman(Engine):
    """`podman system service` with a network of its own (CNI's plugins serve its ports)."""

    def __init__(self, root):
        super().__init__(root, "podman")
        self.bridge = f"cleat-podman{self.slot}"

    def start(self):
        self._configure()
        self.launch()
        self.import_image()
        return self

    def import_image(self):
        super().import_image()  # takes no notice of the tag
        repo, tag = IMAGE.split(":")
        assert self.ask("POST", f"/images/{repo}:latest/tag?repo={repo}&tag={tag}")[0] == 201

    def _configure(self):
        subnet = f"10.214.{self.slot * 16}.0/20"
        (self.root / "networks").mkdir()
        (self.root / "networks" / "podman.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "podman", "plugins": [
                {"type": "bridge", "bridge": self.bridge, "isGateway": True,
                 "ipam": {"type": "host-local", "dataDir": f"{self.root}/leases",
                          "ranges": [[{"subnet": subnet}]]}},
                {"type": "portmap", "capabilities": {"portMappings": True}}]}))
        (self.root / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{self.root}/data"\nrunroot = "{self.root}/run"\n')
        # its defaults are above what this machine may allow
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        (self.root / "containers.conf").write_text(
            f'[containers]\nlog_driver = "k8s-file"\n'
            f'default_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
            f'tmp_dir = "{self.root}/tmp"\n'
            f'[network]\nnetwork_backend = "cni"\nnetwork_config_dir = "{self.root}/networks"\n')

    def launch(self):
        self.spawn(f"podman system service -t 0 unix://{self.socket}",
                   CONTAINERS_CONF=f"{self.root}/containers.conf",
                   CONTAINERS_STORAGE_CONF=f"{self.root}/storage.conf")


# ---- for the tests that import them

without_docker = pytest.mark.skipif(os.environ.get("CLEAT_NO_DOCKER") == "1", reason="CLEAT_NO_DOCKER=1")


@pytest.fixture(scope="module")
def dockerd(module_start):
    return module_start.add(Dockerd(module_start.root / "docker").start())


def docker_class(engine, **options):
    return {"runtime": "docker", "docker_socket": engine.socket, "image": IMAGE, "sandbox": "none", **options}


def gone(engine):
    poll(lambda: not engine.containers(), 30, "the end of all containers")


def user_status(api, session):
    """What the kernel says of user code's process."""
    said = api.execute(session, "BASH:cat /proc/self/status")["stdout"]
    return dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
