"""botocore's signer agrees with the signature of every kind of request that cleat sends."""

import datetime
import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import threading
from unittest import mock

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

IP = "127.72.1.1"
REGION = "eu-central-1"
KEY, SECRET, TOKEN = "AKIDEXAMPLE00000", "wJalr/XUtn+FEMI/K7MDENG=bPxRfi", "IQoJb3JpZ2luX2VjE//8B+a=="
SEND = pathlib.Path(os.environ.get("CLEAT_BUILDDIR", ".")) / "aws-send"
AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
                           r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$")
# Names that every layer would like to encode in its own way.
AWKWARD = "a b+c/ü~(1)'*!=&?#%41@:,;$/x.tar.gz"


class Server(http.server.ThreadingHTTPServer):
    """Keeps each request as it came."""
    daemon_threads = True

    def __init__(self):
        super().__init__((IP, 0), Handler)
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://{IP}:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.requests.append((self.command, self.path, self.headers, self.rfile.read(length)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


def encode(text):
    """RFC 3986, as AWS wants it, written out here on purpose."""
    return "".join(c if re.match(r"[A-Za-z0-9_.~-]", c) else "".join(f"%{b:02X}" for b in c.encode())
                   for c in text)


def query(**parameters):
    return "&".join(f"{encode(k)}={encode(v)}" for k, v in
                    sorted((k.replace("_", "-"), v) for k, v in parameters.items()))


def s3(action, method, key=None, **more):
    return dict(service="s3", action=action, method=method, bucket="the.bucket", key=key, **more)


def form(service, action, body):
    return dict(service=service, action=action, body=body)


SOURCE = {"x-amz-copy-source": "/other-bucket/" + "/".join(encode(p) for p in AWKWARD.split("/"))}
RANGE = {"x-amz-copy-source-range": "bytes=0-5368709119", "x-amz-copy-source-if-match": '"abc"'}
KINDS = {
    "ecs": dict(service="ecs", action="RunTask", body=json.dumps({"cluster": "c", "text": "ü ✓"})),
    "ecs_empty": dict(service="ecs", action="ListClusters"),
    "elb": form("elb", "RegisterTargets", "TargetGroupArn=arn%3Aaws%3Ax%2Fy&Targets.member.1.Id=10.0.0.1"),
    "elb_empty": form("elb", "DescribeLoadBalancers", None),
    "sts": form("sts", "AssumeRole", "RoleArn=arn%3Aaws&Policy=" + encode('{"a": ["b c", "+"]}')),
    "ec2": form("ec2", "DescribeSubnets", "SubnetId.1=subnet-1"),
    "put": s3("PutObject", "PUT", AWKWARD, body="content\n", headers={"Content-Type": "text/plain; charset=utf-8"}),
    "put_empty": s3("PutObject", "PUT", "empty", body=""),
    "put_none": s3("PutObject", "PUT", "none"),
    "put_large": s3("PutObject", "PUT", "large", body_size=3 << 20),
    "get": s3("GetObject", "GET", AWKWARD),
    "get_range": s3("GetObject", "GET", "k", headers={"Range": "bytes=0-9", "If-Match": '"e tag"'}),
    "head": s3("HeadObject", "HEAD", AWKWARD),
    "head_bucket": s3("HeadBucket", "HEAD"),
    "delete": s3("DeleteObject", "DELETE", AWKWARD),
    "dots": s3("GetObject", "GET", "a/../b/./c//d"),
    "list": s3("ListObjectsV2", "GET", query=query(list_type="2", prefix="p/")),
    "list_awkward": s3("ListObjectsV2", "GET",
                       query=query(list_type="2", prefix=AWKWARD, continuation_token="1/a+b==", max_keys="9")),
    "list_empty": s3("ListObjectsV2", "GET", query=query(list_type="2", prefix="")),
    "create": s3("CreateMultipartUpload", "POST", AWKWARD, query="uploads=",
                 headers={"Content-Type": "application/gzip"}),
    "part": s3("UploadPart", "PUT", AWKWARD, body="part", query=query(partNumber="10000", uploadId="a.b_c-/+=")),
    "part_copy": s3("UploadPartCopy", "PUT", AWKWARD, query=query(partNumber="1", uploadId="u"), headers=SOURCE),
    "part_copy_range": s3("UploadPartCopy", "PUT", AWKWARD, query=query(partNumber="1", uploadId="u"),
                          headers={**SOURCE, **RANGE}),
    "copy": s3("CopyObject", "PUT", AWKWARD, headers={**SOURCE, "x-amz-metadata-directive": "COPY"}),
    "complete": s3("CompleteMultipartUpload", "POST", AWKWARD, query=query(uploadId="u"),
                   body="<CompleteMultipartUpload><Part>…</Part></CompleteMultipartUpload>",
                   headers={"Content-Type": "application/xml"}),
    "abort": s3("AbortMultipartUpload", "DELETE", AWKWARD, query=query(uploadId="u")),
    "get_lifecycle": s3("GetBucketLifecycleConfiguration", "GET", query="lifecycle="),
}


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def send(server, requests, token, **environment):
    """All of them; the recorded ones by kind's name."""
    env = {"HOME": "/nonexistent", "AWS_REGION": REGION, "AWS_ENDPOINT_URL": server.url,
           "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true",
           **({"AWS_SESSION_TOKEN": token} if token else {}), **environment}
    recorded = {}
    for name, request in requests.items():
        server.requests.clear()
        line = json.dumps({"id": 0, "tries": 1, **{k: v for k, v in request.items() if v is not None}})
        result = subprocess.run([SEND], input=line + "\n", env=env, capture_output=True, text=True, timeout=30)
        assert result.returncode == 0, result.stderr
        answer = json.loads(result.stdout)
        # These must have an answer that ends well, and the server has none for them.
        if request["action"] in ("CopyObject", "UploadPartCopy", "CompleteMultipartUpload"):
            assert (answer["class"], answer["code"]) == ("transient", "InternalError"), answer
        else:
            assert answer["class"] == "fine", answer
        assert len(server.requests) == 1
        recorded[name] = server.requests[0]
    return recorded


def expected_signature(server, recorded, secret, token):
    method, path, headers, body = recorded
    found = AUTHORIZATION.match(headers["Authorization"])
    assert found, headers["Authorization"]
    key, day, region, service, names, signature = found.groups()
    assert (key, region) == (KEY, REGION)
    signed = {name: headers[name] for name in names.split(";") if name not in ("host", "x-amz-date",
                                                                              "x-amz-security-token")}
    when = datetime.datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    assert when.strftime("%Y%m%d") == day
    request = AWSRequest(method=method, url=server.url + path, data=body, headers=signed)
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(key, secret, token), service, region)
    with mock.patch.object(botocore.auth.datetime, "datetime", mock.Mock(utcnow=lambda: when)):
        signer.add_auth(request)
    wanted = AUTHORIZATION.match(request.headers["Authorization"]).groups()
    must = {n.lower() for n in headers if n.lower().startswith("x-amz-")} | {"host"}
    if "Content-Type" in headers:
        must.add("content-type")
    assert must <= set(names.split(";"))
    return (names, signature), (wanted[4], wanted[5])


@pytest.mark.parametrize("token", [None, TOKEN], ids=["keys", "token"])
def test_botocore_agrees_with_every_signature(server, token):
    for name, recorded in send(server, KINDS, token).items():
        ours, botocores = expected_signature(server, recorded, SECRET, token)
        assert ours == botocores, name
        assert recorded[2].get("X-Amz-Security-Token") == token, name


def test_another_secret_is_noticed(server):
    """The comparison itself can fail."""
    recorded = send(server, {"get": KINDS["get"], "range": KINDS["part_copy_range"]}, None)
    for request in recorded.values():
        ours, botocores = expected_signature(server, request, SECRET + "x", None)
        assert ours[0] == botocores[0] and ours[1] != botocores[1]


def test_names_reach_s3_as_they_were_meant(server):
    recorded = send(server, {k: v for k, v in KINDS.items() if v["service"] == "s3"}, None)
    for name, (method, path, headers, body) in recorded.items():
        kind = KINDS[name]
        key = "/".join(encode(p) for p in (kind["key"] or "").split("/"))
        wanted = f"/the.bucket/{key}" + (f"?{kind['query']}" if kind.get("query") else "")
        assert (method, path) == (kind["method"], wanted), name
        assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest(), name
        assert all(headers[k] == v for k, v in kind.get("headers", {}).items()), name


def test_protocols(server):
    recorded = send(server, {k: v for k, v in KINDS.items() if v["service"] != "s3"}, None)
    for name, (method, path, headers, body) in recorded.items():
        kind = KINDS[name]
        assert (method, path) == ("POST", "/")
        if kind["service"] == "ecs":
            assert headers["X-Amz-Target"] == f"AmazonEC2ContainerServiceV20141113.{kind['action']}"
            assert headers["Content-Type"] == "application/x-amz-json-1.1"
            assert body == (kind.get("body") or "{}").encode()
        else:
            version = {"elb": "2015-12-01", "sts": "2011-06-15", "ec2": "2016-11-15"}[kind["service"]]
            more = f"&{kind['body']}" if kind["body"] else ""
            assert body.decode() == f"Action={kind['action']}&Version={version}{more}"
            assert headers["Content-Type"].startswith("application/x-www-form-urlencoded")


def test_the_endpoint_of_a_service_goes_before_the_common_one(server):
    other = Server()
    try:
        for service, variable in (("ecs", "ECS"), ("elb", "ELASTIC_LOAD_BALANCING_V2"), ("sts", "STS"),
                                  ("ec2", "EC2"), ("s3", "S3")):
            request = KINDS["get"] if service == "s3" else KINDS[service]
            recorded = send(other, {"x": request}, None, AWS_ENDPOINT_URL=server.url,
                            **{f"AWS_ENDPOINT_URL_{variable}": other.url + "/"})
            assert recorded["x"][2]["Host"] == other.url.removeprefix("http://")
            assert "//" not in recorded["x"][1][:2]
    finally:
        other.shutdown()
        other.server_close()
