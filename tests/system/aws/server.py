"""The HTTP side: one server for all services, told apart by the scope of the signature."""

import contextlib
import ctypes
import http.server
import io
import socket
import ssl
import struct
import threading
import urllib.parse
import uuid

from aws import answer, models, parse, policy
from aws.errors import AwsError
from aws.faults import server_error, throttled


class Request:
    def __init__(self, handler, body):
        self.method, self.target, self.headers, self.body = handler.command, handler.path, handler.headers, body
        self.path, _, self.query = self.target.partition("?")
        self.service = None
        self.id = str(uuid.uuid4())


class Dropped(Exception):
    """The connection is reset instead of an answer."""


class Hung(Exception):
    """No answer for so many seconds, then the connection is reset."""


class Gone(Exception):
    """Part of an answer, and the connection is closed."""


def reset(connection):
    """Whoever reads or writes it, here or there, learns it at once: connect(2), AF_UNSPEC."""
    return ctypes.CDLL(None).connect(connection.fileno(), bytes(16), 16) == 0


class Endpoint:
    """services: name → object with a method per action, method(identity, params) → output members;
    S3 also says which operation a request is. metadata: answers unsigned GET and PUT, or None."""

    def __init__(self, host, identities, faults, books, services, metadata, context=None):
        self.identities, self.faults, self.books = identities, faults, books
        self.services, self.metadata = services, metadata
        self.end = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 65536  # head and body in one piece

            def handle_all(self):
                outer.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_all

            def handle_expect_100(self):
                go_on = super().handle_expect_100()
                self.wfile.flush()
                return go_on

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_):
                """A client that hangs up is no news."""

            def process_request(self, request, client_address):
                outer.connections.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request):
                outer.connections.discard(request)
                super().shutdown_request(request)

        self.make, self.context, self.connections = lambda port: Server((host, port), Handler), context, set()
        self.dying, self.leaving, self.cut, self.resets = threading.Event(), None, 0, 0
        self._listen(0)
        self.address = f"{host}:{self.server.server_address[1]}"
        self.url = f"http{'s' if isinstance(context, ssl.SSLContext) else ''}://{self.address}"

    def _listen(self, port):
        self.server = self.make(port)
        if self.context:
            self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True,
                                                          do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def away(self):
        """As when it is killed: nobody listens any more, every connection is reset, and an answer ends in the
        middle. What was asked has its effect, since AWS keeps its state whichever front end of it dies.
        May be called by who serves a call, whose answer is one of those."""
        self.dying.set()
        self.leaving = threading.Thread(target=self._leave)
        self.leaving.start()

    def _leave(self):
        self.server.shutdown()
        self.server.server_close()
        self.resets += sum(map(reset, list(self.connections)))

    def back(self):
        self.leaving.join()
        self.dying.clear()
        self._listen(self.server.server_address[1])

    def close(self):
        self.end.set()
        self.server.shutdown()
        self.server.server_close()

    # ---- one request

    def handle(self, handler):
        body = self._body(handler)
        request = Request(handler, body)
        try:
            status, headers, body = self._answer(request)
            self._send(handler, request, status, headers, body)
        except (Dropped, Hung) as e:
            self.end.wait(e.args[0] if e.args else 0)
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.connection.close()
        except Gone as e:
            status, headers, body = e.args
            handler.close_connection = True
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body) + 100))
            handler.end_headers()
            handler.wfile.write(body[:len(body) // 2])

    def _body(self, handler):
        if handler.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(handler.rfile.readline(), 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
            return body
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))

    def _send(self, handler, request, status, headers, body):
        wire, handler.wfile = handler.wfile, io.BytesIO()
        handler.send_response(status)
        handler.send_header("x-amzn-RequestId" if request.service != "s3" else "x-amz-request-id", request.id)
        for name, value in headers.items():
            handler.send_header(name, value)
        if "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        whole, handler.wfile = handler.wfile.getvalue(), wire
        dying = self.dying.is_set()
        wire.write(whole[:len(whole) // 2] if dying else whole)
        wire.flush()
        if dying:
            self.cut += 1
            self.resets += reset(handler.connection)
            handler.close_connection = True

    def _answer(self, request):
        if not request.headers.get("Authorization", "").startswith("AWS4-"):
            found = self.metadata.answer(request)
            if found:
                return found
        action, outcome, params, who = "?", "ok", {}, None
        try:
            service, who = self._caller(request)
            operation, params = self._parse(request)
            action = operation.name
            models.check(service, operation, params)
            return self._perform(request, who, operation, params)
        except AwsError as e:
            outcome = e.code
            kind, body = answer.error_answer(request.service or "sts", e, request.id)
            return e.status, {"Content-Type": kind}, body
        except (Dropped, Hung, Gone) as e:
            outcome = type(e).__name__
            raise
        finally:
            known = {k: v for k, v in params.items() if k != "Body"}
            self.books.note(request.service, action, outcome, who and who.arn, known)

    def _caller(self, request):
        if request.headers.get("Authorization"):
            return self.identities.caller(request)
        form = urllib.parse.parse_qs(request.body.decode("latin-1"))
        if request.method == "POST" and form.get("Action") == ["AssumeRoleWithWebIdentity"]:
            request.service = "sts"
            return "sts", None
        raise AwsError("MissingAuthenticationToken", "Missing Authentication Token", 403)

    def _parse(self, request):
        if request.service == "s3":
            return self.services["s3"].operation(request)
        if (request.method, request.target) != ("POST", "/"):
            raise AwsError("InvalidAction", f"{request.method} {request.target} is none of ours", 404)
        if request.service == "ecs":
            return parse.json_request(request.headers, request.body)
        return parse.form_request(request.service, request.headers, request.body)

    def _perform(self, request, who, operation, params):
        fault = self.faults.take(operation.name, *self.faults.WIRE)
        kind = fault.kind if fault else None
        if kind == "throttle":
            raise throttled(request.service)
        if kind in ("500", "503"):
            raise server_error(request.service, int(kind))
        if kind == "error":
            raise AwsError(fault.details["code"], fault.details.get("message", "as the test says"),
                           fault.details.get("status", 400))
        if kind == "reset_before":
            raise Dropped
        status, headers, body = self._output(request, who, operation, params)
        if kind == "reset_after":
            raise Dropped
        if kind == "hang":  # the effect is there, the answer is not
            raise Hung(min(fault.details.get("seconds", 60), 60))
        if kind == "malformed":
            return status, headers, b"<<{" + body[:len(body) // 2]
        if kind == "truncated":
            raise Gone(status, headers, body)
        return status, headers, body

    def _output(self, request, who, operation, params):
        service = self.services[request.service]
        method = getattr(service, operation.name, None)
        if method is None:
            raise AwsError("UnknownOperationException", f"the stand-in has no {operation.name}", 501)
        if request.service == "s3":
            return service.perform(who, operation, method, params)
        if who is not None and operation.name != "GetCallerIdentity":  # which nobody can be denied
            if who.policies:
                for need in service.needs(operation.name, params):
                    policy.demand(who, request.service, *need)
        members = method(who, params)
        if request.service == "ecs":
            return 200, {"Content-Type": "application/x-amz-json-1.1"}, answer.json_answer(
                operation.output_shape, members)
        return 200, {"Content-Type": "text/xml"}, answer.query_answer(
            models.model(request.service), operation, members, request.id)
