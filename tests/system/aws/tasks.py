"""Tasks: a walk through the states, and in RUNNING a real process on an address of its own."""

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import uuid

from aws.models import ACCOUNT, REGION
from aws.parse import utc_now

ORDER = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING",
         "STOPPED"]


class Addresses:
    """A small pool; the address that was given back last is given next."""

    def __init__(self, network, count):
        first, second, third = network.split(".")[:3]
        self.lock = threading.Lock()
        self.free = [f"{first}.{second}.{int(third) + n // 250}.{n % 250 + 2}" for n in range(count)][::-1]
        self.used = {}

    def take(self, task):
        with self.lock:
            if not self.free:
                return None
            address = self.free.pop()
            self.used[address] = task
            return address

    def give_back(self, address):
        with self.lock:
            del self.used[address]
            self.free.append(address)


class Platform:
    """Where tasks run: directory, addresses, speeds and what every process is told."""

    def __init__(self, root, addresses, knobs, environment):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o711)
        self.addresses, self.knobs = addresses, knobs
        self.environment = environment  # task → variables that the engine itself adds
        self.closing = threading.Event()


class Task:
    def __init__(self, platform, cluster, definition, params, programs, fault=None):
        self.platform, self.definition, self.params, self.programs = platform, definition, params, programs
        self.id = uuid.uuid4().hex
        self.cluster = cluster
        self.arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{self.id}"
        self.tags = list(params.get("tags", []))
        self.fault = fault
        self.status, self.desired = "PROVISIONING", "RUNNING"
        self.address = self.code = self.reason = self.exit_code = self.exit_reason = None
        self.process = None
        self.version = 1
        self.created, self.started, self.stopping, self.stopped = utc_now(), None, None, None
        self.history = [("PROVISIONING", self.created)]
        self.attachment = str(uuid.uuid4())
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._walk, daemon=True)

    # ---- what others do to it

    def stop(self, code, reason):
        with self.changed:
            if self.desired == "RUNNING":
                self.desired, self.code, self.reason, self.stopping = "STOPPED", code, reason, utc_now()
                self.version += 1
            self.changed.notify_all()

    def kill(self, number=signal.SIGKILL):
        """As the kernel does when memory runs out: nobody asked."""
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may end by itself in between
                os.kill(self.process.pid, number)

    @property
    def over(self):
        return self.status == "STOPPED"

    def environment_of(self, name="SESSION_ID"):
        return self.variables().get(name)

    # ---- the walk

    def _go(self, status):
        with self.changed:
            self.status = status
            self.version += 1
            self.history.append((status, utc_now()))
            self.changed.notify_all()

    def _pause(self, seconds):
        """False when it was told to stop meanwhile."""
        with self.changed:
            return not self.changed.wait_for(lambda: self.desired == "STOPPED", seconds)

    def _walk(self):
        step = self.platform.knobs.state_s
        if self._pause(step) and self._attach() and self._pending() and self._start():
            self._go("RUNNING")
            self.started = utc_now()
            with self.changed:
                self.changed.wait_for(lambda: self.desired == "STOPPED" or self.process.poll() is not None)
            self.stop("EssentialContainerExited", "Essential container in task exited")
        if self.process:
            self._go("DEACTIVATING")
            self._end_process()
        self._go("DEPROVISIONING")
        self.platform.closing.wait(step)
        if self.address:
            self.platform.addresses.give_back(self.address)
        self.stopped = utc_now()
        self._go("STOPPED")

    def _attach(self):
        self.address = self.platform.addresses.take(self)
        if not self.address:
            self.stop("TaskFailedToStart", "Timeout waiting for network interface provisioning to complete.")
            return False
        self._go("PENDING")
        return True

    def _pending(self):
        kind = self.fault and self.fault.kind
        if kind == "stuck":
            return self._pause(None)
        if kind == "start_fails":
            self._pause(self.platform.knobs.state_s)
            self.exit_reason = self.fault.details.get(
                "reason", "CannotPullContainerError: pull image manifest has been retried 5 time(s): not found")
            self.stop("TaskFailedToStart", self.exit_reason)
            return False
        return self._pause(self.platform.knobs.state_s)

    def variables(self):
        values = {}
        container = self.definition["containerDefinitions"][0]
        overrides = self.params.get("overrides", {}).get("containerOverrides", [])
        for source in [container, *(o for o in overrides if o["name"] == container["name"])]:
            values.update({v["name"]: v["value"] for v in source.get("environment", [])})
        return values

    @property
    def directory(self):
        return self.platform.root / self.id

    @property
    def log_path(self):
        return self.platform.root / f"{self.id}.log"

    def _start(self):
        self._go("ACTIVATING")
        self.directory.mkdir()
        self.directory.chmod(0o711)
        values = {"PATH": os.environ["PATH"], **self.platform.environment(self), **self.variables()}
        values["CLEAT_LISTEN"] = values.get("CLEAT_LISTEN", "0.0.0.0:8080").replace("0.0.0.0", self.address)
        values["CLEAT_WORKSPACE"] = str(self.directory)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.programs[self.definition["containerDefinitions"][0]["image"]], env=values,
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        threading.Thread(target=self._reap, daemon=True).start()
        return self._pause(self.platform.knobs.state_s)

    def _reap(self):
        self.process.wait()
        with self.changed:
            self.changed.notify_all()

    def _end_process(self):
        self._go("STOPPING")
        if self.process.poll() is None:
            self.process.terminate()
            limit = self.definition["containerDefinitions"][0].get("stopTimeout", 30)
            limit *= self.platform.knobs.stop_scale
            with self.changed:
                self.changed.wait_for(lambda: self.process.poll() is not None or self.platform.closing.is_set(),
                                      limit)
            self.process.kill()
        code = self.process.wait()
        self.exit_code = code if code >= 0 else 128 - code
        self._end_rest()

    def _end_rest(self):
        """A container takes all its processes with it."""
        mark = str(self.directory).encode()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    proc = pathlib.Path("/proc", entry)
                    if mark in os.readlink(bytes(proc / "cwd")) + (proc / "environ").read_bytes():
                        os.kill(int(entry), signal.SIGKILL)
