"""What was asked and what came of it: the stand-in's own account, which tests believe."""

import collections
import threading
import time

Call = collections.namedtuple("Call", "at service action outcome who params")

# Calls that serve every session at once, on a clock.
TICKS = {"DescribeTasks", "DescribeTargetHealth", "ListTasks"}


class Books:
    def __init__(self):
        self.lock = threading.Lock()
        self.calls = []
        self.watch = None  # is told of each call when it has had its effect, before it is answered

    def note(self, service, action, outcome, who=None, params=None):
        """outcome: "ok", AWS's code of an error, or the fault that took the answer."""
        with self.lock:
            self.calls.append(Call(time.time(), service, action, outcome, who, params))
        if self.watch:
            self.watch(f"call={action}")

    def mark(self):
        return len(self.calls)

    def of(self, *actions, since=0):
        with self.lock:
            return [c for c in self.calls[since:] if c.action in actions]

    def counts(self, since=0):
        with self.lock:
            return collections.Counter(c.action for c in self.calls[since:])

    def control(self, since=0):
        """Calls to ECS and ELBv2: (those that a session causes, those of the ticks)."""
        with self.lock:
            calls = [c for c in self.calls[since:] if c.service in ("ecs", "elbv2")]
        ticks = sum(c.action in TICKS for c in calls)
        return len(calls) - ticks, ticks
