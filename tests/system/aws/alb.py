"""The load balancer: a real HAProxy that gives cookies as an ALB does, real health checks, and
targets that come, fail, drain and go."""

import contextlib
import http.client
import ipaddress
import pathlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cleat_harness import HAProxy, free_port

from aws.elbv2 import arn

HEAD = """global
    stats socket {socket} mode 600 level admin
    log stdout format raw local0
    maxconn 4000
    nbthread 1

defaults
    mode http
    log global
    retries 0
    http-reuse never
    timeout connect 2s
    timeout client {idle_ms}ms
    timeout server {idle_ms}ms
    timeout queue 2s
"""
FRONTEND = """
frontend {name}
    bind {bind}
    capture request header X-Cleat-Session len 64
    capture request header Cookie len 400
    http-request set-var(txn.at) date(0,ms)
    http-request set-var(txn.alb) uuid()
    http-after-response set-status 502 reason "Bad Gateway" if {{ status 503 }} \
{{ var(txn.tried) -m found }} !{{ var(txn.answered) -m found }}
    http-after-response set-header Server awselb/2.0 if !{{ var(txn.answered) -m found }}
    log-format "%ci:%cp|%[var(txn.at)]|%s|%ST|%HM|%HU|%[capture.req.hdr(0)]|%[capture.req.hdr(1)]|%[var(txn.alb)]"
"""
STICKY = """    stick match req.cook(AWSALB) table {table}
    stick match req.cook(AWSALBCORS) table {table}
    stick store-response var(txn.alb) table {table}
    http-response add-header Set-Cookie "AWSALB=%[var(txn.alb)]; Expires=%[date({life}),http_date]; Path=/"
    http-response add-header Set-Cookie "AWSALBCORS=%[var(txn.alb)]; Expires=%[date({life}),http_date]; \
Path=/; SameSite=None"
"""


class Listener:
    """Forwards to one group, or by a header's value to the group of that number."""

    def __init__(self, number, port, header=None, protocol="HTTP"):
        self.number, self.port, self.header, self.protocol = number, port, header, protocol
        self.groups = []
        self.arn = arn("listener", f"app/agents/00000000000000a1/{number:016x}")

    def action(self):
        if self.header:
            return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}
        return self._forward(self.groups[0])

    def _forward(self, group):
        return {"Type": "forward", "TargetGroupArn": group.arn, "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": group.arn, "Weight": 1}],
            "TargetGroupStickinessConfig": {"Enabled": False}}}

    def rules(self):
        rules = [{"RuleArn": self._rule_arn(0), "Priority": "default", "Conditions": [],
                  "Actions": [self.action()], "IsDefault": True}]
        for group in self.groups if self.header else []:
            rules.insert(0, {
                "RuleArn": self._rule_arn(group.number), "Priority": str(group.number), "IsDefault": False,
                "Conditions": [{"Field": "http-header", "HttpHeaderConfig": {
                    "HttpHeaderName": self.header, "Values": [str(group.number)]}}],
                "Actions": [self._forward(group)]})
        return rules

    def _rule_arn(self, number):
        return arn("listener-rule", f"app/agents/00000000000000a1/{self.number:016x}/{number:016x}")


class Target:
    def __init__(self, serial, group, key, knobs):
        self.name, self.group, self.key, self.knobs = f"t{serial}", group, key, knobs
        self.state, self.reason, self.description = "initial", "Elb.RegistrationInProgress", \
            "Target registration is in progress"
        self.passed = self.failed = 0
        self.next_check = time.monotonic() + knobs.registration_s
        self.checking = self.ready = False
        self.traffic_until = self.gone_at = None

    def health(self):
        if self.group.listener is None and self.state != "draining":
            return {"State": "unused", "Reason": "Target.NotInUse",
                    "Description": "Target group is not configured to receive traffic from the load balancer"}
        if self.state == "healthy":
            return {"State": "healthy"}
        return {"State": self.state, "Reason": self.reason, "Description": self.description}

    def _become(self, state, reason=None, description=None):
        self.state, self.reason, self.description = state, reason, description

    def drain(self, now):
        self._become("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
        self.traffic_until = now + self.knobs.linger_s
        self.gone_at = now + max(self.knobs.drain_s, self.knobs.linger_s)

    def checked(self, failure):
        """failure: None, or (reason, description)."""
        self.checking = False
        self.next_check = time.monotonic() + self.knobs.check_interval_s
        if self.state == "draining":
            return
        self.passed, self.failed = (0, self.failed + 1) if failure else (self.passed + 1, 0)
        if not failure and (self.state == "initial" or self.passed >= self.knobs.check_rise):
            self._become("healthy")
        elif failure and self.failed >= self.knobs.check_fall:
            self._become("unhealthy", *failure)


class Alb(HAProxy):
    """layout "listeners": a listener for each group; "header": one listener and a rule per group.
    nodes: addresses that it answers on; each keeps its own round robin, cookies are good at all."""

    def __init__(self, root, groups, knobs, layout="listeners", header="X-Cleat-Slot", nodes=1,
                 host="127.0.0.74", certificate=None):
        self.root = pathlib.Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.socket, self.log_path = self.root / "haproxy.sock", self.root / "frontend.log"
        self.config_path = self.root / "haproxy.cfg"
        self.host, self.groups, self.knobs, self.certificate = host, groups, knobs, certificate
        self.hosts = [str(ipaddress.ip_address(host) + n) for n in range(nodes)]
        self.process, self.serial, self.lock = None, 0, threading.RLock()
        self.removed = []  # servers that may still have connections
        self.complaints = []  # what HAProxy did not like
        self.listeners = self._listeners(layout, header)
        self.config_path.write_text(self._text())
        self.end = threading.Event()
        self.checkers = ThreadPoolExecutor(16)
        HAProxy.everyone.append(self)

    def _listeners(self, layout, header):
        protocol = "HTTPS" if self.certificate else "HTTP"
        count = 1 if layout == "header" else len(self.groups)
        made = [Listener(n + 1, free_port(self.host), header if layout == "header" else None, protocol)
                for n in range(count)]
        for n, group in enumerate(self.groups):
            group.listener = made[n % count]
            group.listener.groups.append(group)
        return made

    @property
    def urls(self):
        scheme = "https" if self.certificate else "http"
        return [f"{scheme}://{self.host}:{x.port}" for x in self.listeners]

    # ---- HAProxy's configuration

    def _text(self):
        text = HEAD.format(socket=self.socket, idle_ms=int(self.knobs.idle_s * 1000))
        tls = f" ssl crt {self.certificate}" if self.certificate else ""
        for node, host in enumerate(self.hosts):
            for x in self.listeners:
                text += FRONTEND.format(name=f"l{x.number}-n{node}", bind=f"{host}:{x.port}{tls}")
                if x.header:
                    text += "".join(f"    use_backend {self._backend(g, node)} if {{ req.hdr({x.header}) -m str "
                                    f"{g.number} }}\n" for g in x.groups)
                    text += "    http-request return status 503 if !{ req.hdr(%s) -m found }\n" % x.header
                text += f"    default_backend {self._backend(x.groups[0], node)}\n"
            text += "".join(self._backend_text(g, node) for g in self.groups)
        return text

    def _backend(self, group, node):
        return f"g{group.number}-n{node}"

    def _backend_text(self, group, node):
        text = (f"\nbackend {self._backend(group, node)}\n"
                f"    balance {'random' if group.random else 'roundrobin'}\n"
                "    http-request set-var(txn.tried) int(1) if { nbsrv gt 0 }\n"
                "    http-response set-var(txn.answered) int(1)\n")
        life = int(group.attributes["stickiness.lb_cookie.duration_seconds"])
        if group.sticky:
            if node == 0:
                text += f"    stick-table type string len 64 size 200k expire {life}s\n"
            text += STICKY.format(table=self._backend(group, 0), life=life)
        return text

    def connections(self):
        """How many each node had of its first listener."""
        rows = [line.split(",") for line in self.admin("show stat -1 1 -1").splitlines()]
        column = rows[0].index("conn_tot")
        found = {row[0]: int(row[column]) for row in rows[1:] if len(row) > column}
        return [found[f"l1-n{node}"] for node in range(len(self.hosts))]

    # ---- targets

    def start(self):
        super().start()
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def stop(self):
        self.end.set()
        self.checkers.shutdown(wait=False)
        super().stop()

    def register(self, group, key):
        with self.lock:
            known = group.targets.get(key)
            if known and known.state != "draining":
                return
            if known:
                self._drop(known)
            self.serial += 1
            target = group.targets[key] = Target(self.serial, group, key, self.knobs)
            # Without an id of its own HAProxy 2.6 hashes all dynamic servers alike, and `balance
            # random` picks two of them only.
            self._each(target, f"add server {{}} {key[0]}:{key[1]} id {self.serial}", "New server registered.")

    def deregister(self, group, key):
        with self.lock:
            target = group.targets.get(key)
            if target and target.state != "draining":
                target.drain(time.monotonic())

    def targets(self, *states):
        with self.lock:
            return [t for g in self.groups for t in g.targets.values() if not states or t.state in states]

    def _each(self, target, command, wanted=""):
        """The command at all nodes; whether each answered as wanted. Else it is a complaint, unless
        it was about a server that is to go, which may take a while."""
        fine = True
        for node in range(len(self.hosts)):
            command_here = command.format(f"{self._backend(target.group, node)}/{target.name}")
            answer = self.admin(command_here).strip()
            if answer != wanted:
                fine = False
                if target not in self.removed:
                    self.complaints.append(f"{command_here}: {answer}")
        return fine

    def _drop(self, target):
        """It is gone: what is still in flight is cut."""
        self._each(target, "set server {} state maint")
        self._each(target, "shutdown sessions server {}")
        target.group.targets.pop(target.key)
        self.removed.append(target)

    def _run(self):
        while not self.end.wait(0.02):
            with self.lock, contextlib.suppress(OSError):
                if self.process.poll() is None:
                    self._tick(time.monotonic())

    def _tick(self, now):
        for target in self.targets():
            if target.gone_at is not None and now >= target.gone_at:
                self._drop(target)
            elif not target.checking and target.state != "draining" and now >= target.next_check:
                if target.reason == "Elb.RegistrationInProgress":
                    target.reason, target.description = "Elb.InitialHealthChecking", \
                        "Initial health checks in progress"
                target.checking = True
                self.checkers.submit(self._check, target)
        for group in self.groups:
            self._rotate(group, now)
        for target in self.removed[:]:
            if self._each(target, "del server {}", "Server deleted."):
                self.removed.remove(target)

    def _rotate(self, group, now):
        """Puts HAProxy's servers in and out; with no healthy target all of them are as good."""
        targets = list(group.targets.values())
        open_ = not any(t.state == "healthy" for t in targets)
        for t in targets:
            ready = (t.state == "healthy" or (open_ and t.state == "unhealthy")
                     or (t.state == "draining" and t.ready and now < t.traffic_until))
            if ready != t.ready:
                t.ready = ready
                self._each(t, "set server {} state " + ("ready" if ready else "maint"))

    def fails_open(self, group):
        states = [t.state for t in group.targets.values()]
        return "healthy" not in states and "unhealthy" in states

    def _check(self, target):
        failure = self._ask(target)
        with self.lock:
            target.checked(failure)

    def _ask(self, target):
        connection = http.client.HTTPConnection(*target.key, timeout=self.knobs.check_timeout_s)
        try:
            connection.request("GET", "/health", headers={"User-Agent": "ELB-HealthChecker/2.0"})
            status = connection.getresponse().status
        except TimeoutError:
            return "Target.Timeout", "Request timed out"
        except (OSError, http.client.HTTPException):
            return "Target.FailedHealthChecks", "Health checks failed"
        finally:
            connection.close()
        if status == 200:
            return None
        return "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status}]"
