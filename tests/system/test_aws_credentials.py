"""Where keys come from: each source for real, over files and loopback servers."""

import datetime
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

IP = "127.72.2.1"
SEND = pathlib.Path(os.environ.get("CLEAT_BUILDDIR", ".")) / "aws-send"
ACCOUNT = "arn:aws:iam::111122223333:role"


def when(seconds):
    return (datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def keys_json(key, life_s=3600, **more):
    return json.dumps({"AccessKeyId": key, "SecretAccessKey": "s" + key, "Token": "t" + key,
                       "Expiration": when(life_s), **more})


def keys_xml(action, key, life_s=3600):
    return (f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
            f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s{key}</SecretAccessKey>"
            f"<SessionToken>t{key}</SessionToken><Expiration>{when(life_s)}</Expiration></Credentials>"
            f"</{action}Result></{action}Response>")


class Server(http.server.ThreadingHTTPServer):
    """answer(method, path, headers, body) gives status and text, or None: it hangs."""
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, answer, ip=IP, port=0):
        super().__init__((ip, port), Handler)
        self.answer, self.seen, self.over = answer, [], threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return "http://%s:%d" % self.server_address

    def calls(self, path):
        return [s for s in self.seen if s[1] == path]

    def close(self):
        self.over.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        seen = (self.command, self.path, self.headers, body)
        self.server.seen.append(seen)
        answer = self.server.answer(*seen)
        if answer is None:
            self.server.over.wait(60)
            self.close_connection = True
            return
        status, text = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = do_POST = reply

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(answer):
        servers.append(Server(answer))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


@pytest.fixture
def ecs(serve):
    return serve(lambda *_: (200, "{}"))


class Sender:
    """aws-send with an environment of its own; its answers by id."""

    def __init__(self, ecs, home, **environment):
        env = {"HOME": str(home), "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_ECS": ecs.url,
               "AWS_EC2_METADATA_DISABLED": "true", "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""), **environment}
        self.process = subprocess.Popen([SEND], env={k: v for k, v in env.items() if v is not None},
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.answers, self.status, self.last = {}, None, -1
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            o = json.loads(line)
            if "id" in o:
                self.answers[o["id"]] = o
            else:
                self.status = o

    def tell(self, o):
        self.process.stdin.write(json.dumps(o) + "\n")
        self.process.stdin.flush()

    def start(self, action="ListTasks", service="ecs", **more):
        self.last += 1
        self.tell({"id": self.last, "service": service, "action": action, "body": "{}", **more})
        return self.last

    def wait(self, number, seconds=30):
        return until(lambda: self.answers.get(number), seconds)

    def call(self, **more):
        return self.wait(self.start(**more))

    def ask_status(self):
        self.status = None
        self.tell({"status": True})
        return until(lambda: self.status, 10)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0, self.process.stderr.read()
        self.process.stderr.close()


def until(what, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def sender(ecs, tmp_path):
    senders = []

    def start(**environment):
        senders.append(Sender(ecs, tmp_path, **environment))
        return senders[-1]
    yield start
    for s in senders:
        s.end()


def signer(ecs, number=-1):
    headers = ecs.seen[number][2]
    return (headers["Authorization"].split("Credential=")[1].split("/")[0], headers.get("X-Amz-Security-Token"))


def fine(answer):
    assert answer["class"] == "fine", answer
    return answer


def failed(answer, *words):
    assert (answer["class"], answer["error"], answer["tries"], answer["sent"]) == ("auth", "permanent", 0, False), answer
    for word in words:
        assert word in answer["message"], answer["message"]


# ---- each source

def test_environment_goes_before_all(sender, ecs, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[default]\naws_access_key_id=F\naws_secret_access_key=f\n")
    s = sender(AWS_ACCESS_KEY_ID="E", AWS_SECRET_ACCESS_KEY="e", AWS_SESSION_TOKEN="t")
    fine(s.call())
    assert signer(ecs) == ("E", "t")
    assert s.ask_status()["credentials"] == "environment"


def test_files(sender, ecs, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[default]\naws_access_key_id=D\naws_secret_access_key=d\n")
    fine(sender().call())
    assert signer(ecs) == ("D", None)
    config, keys = tmp_path / "config", tmp_path / "keys"
    config.write_text("[profile p]\nregion = ap-south-1\n")
    keys.write_text("[p]\naws_access_key_id=P\naws_secret_access_key=p\naws_session_token=pt\n")
    s = sender(AWS_CONFIG_FILE=str(config), AWS_SHARED_CREDENTIALS_FILE=str(keys), AWS_PROFILE="p", AWS_REGION=None)
    fine(s.call())
    assert signer(ecs) == ("P", "pt")
    assert "/ap-south-1/ecs/" in ecs.seen[-1][2]["Authorization"]
    status = s.ask_status()
    assert (status["region"], status["credentials"]) == ("ap-south-1", "profile")


def test_web_identity(sender, serve, ecs, tmp_path):
    sts = serve(lambda *_: (200, keys_xml("AssumeRoleWithWebIdentity", "WEB")))
    (tmp_path / "token").write_text("a.b/c+d==\n")
    s = sender(AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"), AWS_ROLE_ARN=f"{ACCOUNT}/a b",
               AWS_ROLE_SESSION_NAME="me@x", AWS_ENDPOINT_URL_STS=sts.url)
    fine(s.call())
    assert signer(ecs) == ("WEB", "tWEB")
    (method, path, headers, body), = sts.seen
    assert headers["Authorization"] is None and (method, path) == ("POST", "/")
    assert dict(urllib.parse.parse_qsl(body)) == {
        "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": f"{ACCOUNT}/a b",
        "RoleSessionName": "me@x", "WebIdentityToken": "a.b/c+d=="}
    status = s.ask_status()
    assert status["credentials"] == "web_identity" and status["expires_at"].endswith("Z")


def test_roles_of_profiles(sender, serve, ecs, tmp_path):
    def answer(method, path, headers, body):
        form = dict(urllib.parse.parse_qsl(body))
        assert form["Action"] == "AssumeRole"
        return 200, keys_xml("AssumeRole", "R" + form["RoleArn"][-1])
    sts = serve(answer)
    config = tmp_path / "config"
    config.write_text(f"[profile a]\nrole_arn={ACCOUNT}/a\nsource_profile=b\nrole_session_name=me\n"
                      f"[profile b]\nrole_arn={ACCOUNT}/b\ncredential_source=Environment\nexternal_id=x y\n")
    s = sender(AWS_CONFIG_FILE=str(config), AWS_PROFILE="a", AWS_ENDPOINT_URL_STS=sts.url,
               AWS_ACCESS_KEY_ID=None)
    failed(s.call(), "profile:", "no access key")  # the environment has none
    config.write_text(config.read_text().replace("credential_source=Environment", "source_profile=c") +
                      "[profile c]\naws_access_key_id=C\naws_secret_access_key=c\n")
    fine(s.call())
    assert [signer(sts, i) for i in (0, 1)] == [("C", None), ("Rb", "tRb")]
    assert signer(ecs) == ("Ra", "tRa")
    assert "ExternalId=x%20y" in sts.seen[0][3] and "RoleSessionName=me" in sts.seen[1][3]


def test_container_with_a_token_that_changes(sender, serve, ecs, tmp_path):
    agent = serve(lambda m, path, headers, b: (200, keys_json("CON", 200)) if headers["Authorization"] in ("one", "two")
                  else (403, '{"code":"AccessDenied","message":"no token"}'))
    token = tmp_path / "token"
    token.write_text("one\n")
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=agent.url + "/v1/credentials?x=1",
               AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token))
    fine(s.call())
    assert signer(ecs) == ("CON", "tCON")
    token.write_text("two")
    # Less than five minutes are left: renewed in the background.
    until(lambda: fine(s.call()) and len(agent.seen) >= 2, 10)
    assert [h["Authorization"] for _, _, h, _ in agent.seen[:2]] == ["one", "two"]
    assert agent.seen[0][1] == "/v1/credentials?x=1"


def test_container_refuses_us(sender, serve):
    agent = serve(lambda *_: (403, '{"code":"AccessDenied","message":"no token"}'))
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=agent.url, AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong")
    failed(s.call(), "container: HTTP status 403: AccessDenied: no token", "environment: AWS_ACCESS_KEY_ID is not set")
    assert len(agent.seen) == 1 and agent.seen[0][2]["Authorization"] == "wrong"


@pytest.mark.parametrize("url", ["http://192.0.2.1/x", "http://127.0.0.1@192.0.2.1/", "ftp://127.0.0.1/"])
def test_container_elsewhere_is_not_asked(sender, url):
    failed(sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=url).call(), "neither https nor on this machine")


class Metadata:
    """IMDSv2."""

    def __init__(self, life_s=3600):
        self.life_s, self.count = life_s, 0

    def __call__(self, method, path, headers, body):
        roles = "/latest/meta-data/iam/security-credentials/"
        if (method, path) == ("PUT", "/latest/api/token"):
            return (200, "TOKEN==") if 0 < int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600 else (400, "")
        if headers["X-aws-ec2-metadata-token"] != "TOKEN==":
            return 401, ""
        if path == roles:
            return 200, "my-role"
        if path == roles + "my-role":
            self.count += 1
            return 200, keys_json(f"I{self.count}", self.life_s, Code="Success", Type="AWS-HMAC")
        return 404, ""


def instance(server):
    return dict(AWS_EC2_METADATA_DISABLED=None, AWS_EC2_METADATA_SERVICE_ENDPOINT=server.url + "/")


def test_instance_metadata(sender, serve, ecs):
    server = serve(Metadata())
    s = sender(**instance(server))
    fine(s.call())
    assert signer(ecs) == ("I1", "tI1")
    assert [c[0] for c in server.seen] == ["PUT", "GET", "GET"]
    assert s.ask_status()["credentials"] == "instance"


def test_instance_without_a_role(sender, serve):
    server = serve(lambda m, *_: (200, "T") if m == "PUT" else (404, "<html>Not found</html>"))
    failed(sender(**instance(server)).call(), "instance: the instance has no role")


def test_instance_disabled_and_nobody_else(sender):
    failed(sender().call(), "environment: AWS_ACCESS_KEY_ID is not set", "web_identity:", "profile:", "container:",
           "instance: AWS_EC2_METADATA_DISABLED is set")


# ---- where nobody configures an address; in a network of its own, so that nobody else is asked

def in_own_network(name):
    script = """set -e
        ip link set lo up
        for ip in 169.254.170.2 169.254.169.254; do ip address add $ip/32 dev lo; done
        exec "$@" """
    run = "import sys; sys.path.insert(0, sys.argv[1]); import test_aws_credentials as t; getattr(t, sys.argv[2])()"
    subprocess.run(["unshare", "-rn", "sh", "-c", script, "sh", sys.executable, "-B", "-c", run,
                    os.path.dirname(__file__), name], check=True, timeout=60)


def alone(answer, ip, **environment):
    ecs, source = Server(lambda *_: (200, "{}")), Server(answer, ip, 80)
    s = Sender(ecs, "/nonexistent", **environment)
    fine(s.call())
    s.end()
    return signer(ecs), source.seen


def relative_uri():
    who, seen = alone(lambda *_: (200, keys_json("REL")), "169.254.170.2",
                      AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/v2/credentials/x-y")
    assert who == ("REL", "tREL")
    assert [s[:2] for s in seen] == [("GET", "/v2/credentials/x-y")] and seen[0][2]["Authorization"] is None


def metadata_address():
    who, seen = alone(Metadata(), "169.254.169.254", AWS_EC2_METADATA_DISABLED=None)
    assert who == ("I1", "tI1") and len(seen) == 3


@pytest.mark.parametrize("name", ["relative_uri", "metadata_address"])
def test_addresses_that_are_known(name):
    in_own_network(name)


# ---- sources that lie, hang, come and go

LIES = {
    "no JSON": "<html>",
    "no access key id": "{}",
    "no secret access key": '{"AccessKeyId":"A"}',
    "ran out": keys_json("A", -60),
    "expiry makes no sense": '{"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"tomorrow"}',
    "it answered Failed": '{"Code":"Failed"}',
    "no access key": '{"AccessKeyId":"A\\r\\nX-Evil: 1","SecretAccessKey":"S"}',
}


@pytest.mark.parametrize("word", LIES)
def test_a_lying_source(sender, serve, ecs, word):
    server = serve(lambda *_: (200, LIES[word]))
    failed(sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url).call(), "container:", word)
    assert ecs.seen == []


def test_a_source_that_sends_too_much(sender, serve):
    server = serve(lambda *_: (200, " " * (1 << 20)))
    failed(sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url).call(), "container:")


def test_a_hanging_source(sender, serve):
    server = serve(lambda *_: None)
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url)
    calls = [s.start() for _ in range(3)]
    for number in calls:
        failed(s.wait(number), "container:")
    assert len(server.seen) == 3  # tries of one fetch


def test_a_source_that_recovers(sender, serve, ecs):
    answers = [(500, ""), (429, ""), (200, keys_json("LATE"))]
    server = serve(lambda *_: answers.pop(0))
    fine(sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url).call())
    assert signer(ecs)[0] == "LATE"


def test_a_failed_source_is_not_passed_over(sender, serve, ecs, tmp_path):
    """Another source's keys would be another identity."""
    sts = serve(lambda *_: (400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code>"
                            "<Message>no provider</Message></Error></ErrorResponse>"))
    agent = serve(lambda *_: (200, keys_json("OTHER")))
    (tmp_path / "token").write_text("x")
    s = sender(AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"), AWS_ROLE_ARN="arn:r",
               AWS_ENDPOINT_URL_STS=sts.url, AWS_CONTAINER_CREDENTIALS_FULL_URI=agent.url)
    failed(s.call(), "web_identity: AssumeRoleWithWebIdentity: HTTP status 400: InvalidIdentityToken: no provider")
    assert agent.seen == [] and ecs.seen == []


def test_what_is_wrong_is_said(sender, tmp_path):
    failed(sender(AWS_ACCESS_KEY_ID="A").call(), "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    failed(sender(AWS_PROFILE="none").call(), "profile: there is no profile none")
    failed(sender(AWS_WEB_IDENTITY_TOKEN_FILE="/t").call(), "AWS_ROLE_ARN is not")
    failed(sender(AWS_WEB_IDENTITY_TOKEN_FILE="/nonexistent", AWS_ROLE_ARN="r").call(), "/nonexistent cannot be read")
    failed(sender(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/",
                  AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="/nonexistent").call(), "cannot be read")
    config = tmp_path / "config"
    config.write_text("[default]\ncredential_process=/bin/true\n")
    failed(sender(AWS_CONFIG_FILE=str(config)).call(), "credential_process, which is not supported")


# ---- many calls, keys that run out

def test_all_wait_for_one_fetch(sender, serve, ecs):
    gate = threading.Event()

    def answer(*_):
        gate.wait(20)
        return 200, keys_json("ONE")
    server = serve(answer)
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url)
    calls = [s.start() for _ in range(20)]
    until(lambda: server.seen, 10)
    assert ecs.seen == []
    gate.set()
    for number in calls:
        fine(s.wait(number))
    assert len(server.seen) == 1 and len(ecs.seen) == 20


def test_renewed_in_the_background(sender, serve, ecs):
    """Between one and five minutes are left: nobody waits for the new ones."""
    gate = threading.Event()
    given = []

    def answer(*_):
        given.append(1)
        if len(given) == 1:
            return 200, keys_json("OLD", 200)
        gate.wait(20)
        return 200, keys_json("NEW")
    server = serve(answer)
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url)
    while len(server.seen) < 2:
        fine(s.call())
        assert signer(ecs)[0] == "OLD"
        assert len(ecs.seen) < 10000
    for _ in range(5):
        fine(s.call())
        assert signer(ecs)[0] == "OLD"
    gate.set()
    until(lambda: fine(s.call()) and signer(ecs)[0] == "NEW", 10)
    assert len(server.seen) == 2


def test_waited_for_when_little_is_left(sender, serve, ecs):
    given = [keys_json("OLD", 30), keys_json("NEW")]
    server = serve(lambda *_: (200, given.pop(0)))
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url)
    fine(s.call())
    assert signer(ecs)[0] == "OLD"  # better than none, and not asked for again at once
    until(lambda: fine(s.call()) and signer(ecs)[0] == "NEW", 10)
    assert len(server.seen) == 2


def test_old_keys_are_used_while_renewing_fails(sender, serve, ecs):
    given = [(200, keys_json("OLD", 8))]
    server = serve(lambda *_: given.pop(0) if given else (403, '{"code":"Gone","message":"no more"}'))
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url)
    until(lambda: fine(s.call()) and len(server.seen) == 2, 6)
    fine(s.call())
    assert signer(ecs) == ("OLD", "tOLD")
    assert "Gone" in s.ask_status()["credentials_problem"]
    # They run out: the source's reason is the call's.
    failed(until(lambda: (a := s.call())["class"] != "fine" and a, 20), "container: HTTP status 403: Gone: no more")


def test_expiry_in_flight(sender, serve, tmp_path):
    """AWS refuses what our clock holds for good: fetched anew, once, and the calls go on."""
    accepted = ["K1"]

    def answer_ecs(method, path, headers, body):
        key = headers["Authorization"].split("Credential=")[1].split("/")[0]
        if key == accepted[0]:
            return 200, "{}"
        return 400, '{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}'
    ecs = serve(answer_ecs)
    count = []

    def answer_keys(*_):
        count.append(1)
        return 200, keys_json(f"K{len(count)}")
    agent = serve(answer_keys)
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=agent.url, AWS_ENDPOINT_URL_ECS=ecs.url)
    assert fine(s.call())["tries"] == 1
    accepted[0] = "K2"
    calls = [s.start(tries=1) for _ in range(10)]
    for number in calls:
        assert fine(s.wait(number))["tries"] <= 2
    assert len(agent.seen) == 2
    accepted[0] = "none"
    answer = s.call()
    assert (answer["class"], answer["code"], answer["tries"]) == ("auth", "ExpiredTokenException", 2)
    assert len(agent.seen) == 3


def test_secrets_stay_out_of_the_log(sender, serve, ecs):
    server = serve(lambda *_: (200, keys_json("PUBLIC", 30)))
    s = sender(AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url, AWS_CONTAINER_AUTHORIZATION_TOKEN="hushhush")
    fine(s.call())
    s.process.stdin.close()
    log = s.process.stderr.read()
    assert "aws.credentials" in log
    assert "sPUBLIC" not in log and "tPUBLIC" not in log and "hushhush" not in log
