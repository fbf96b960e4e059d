"""Faults to come: each waits for a call of its action, and goes off as often as it was told."""

import threading

from aws.errors import AwsError

THROTTLED = {"ecs": ("ThrottlingException", 400), "s3": ("SlowDown", 503), "ec2": ("RequestLimitExceeded", 503),
             None: ("Throttling", 400)}


def throttled(service):
    code, status = THROTTLED.get(service) or THROTTLED[None]
    return AwsError(code, "Please reduce your request rate." if service == "s3" else "Rate exceeded", status)


def server_error(service, status=500):
    code = {500: {"ecs": "ServerException", "s3": "InternalError", "elbv2": "InternalFailure",
                  "sts": "InternalFailure", "ec2": "InternalError"}[service]}.get(status, "ServiceUnavailable")
    return AwsError(code, "We encountered an internal error. Please try again.", status)


class Fault:
    def __init__(self, action, kind, count, after, **details):
        self.action, self.kind, self.left, self.after, self.details = action, kind, count, after, details
        self.went_off = 0


class Faults:
    """On the wire: throttle, 500, 503, malformed, truncated, hang, reset_before, reset_after, error
    (code=…, message=…, status=…). Of one service: RunTask capacity (reason=…), stuck (the task stays
    PENDING), start_fails (reason=…); CopyObject and CompleteMultipartUpload error_in_200."""

    WIRE = ("throttle", "500", "503", "malformed", "truncated", "hang", "reset_before", "reset_after",
            "error")

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []

    def add(self, action, kind, count=1, after=0, **details):
        """after: so many calls pass unharmed first. details of "hang": seconds (at most 60)."""
        fault = Fault(action, kind, count, after, **details)
        with self.lock:
            self.waiting.append(fault)
        return fault

    def clear(self):
        with self.lock:
            self.waiting.clear()

    def take(self, action, *kinds):
        """The fault that this call meets, or None."""
        with self.lock:
            for fault in self.waiting:
                if fault.action in (action, "*") and fault.kind in kinds and fault.left:
                    if fault.after:
                        fault.after -= 1
                        continue
                    fault.left -= 1
                    fault.went_off += 1
                    return fault
        return None
