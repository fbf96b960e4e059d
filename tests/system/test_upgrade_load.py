"""cleatd is ended by SIGTERM and started again while its clients go on: an upgrade is a pause."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cleat_harness import ApiError, haproxy_class, in_parallel, poll, shared_connections
from crowd import NOBODY

CLIENTS = 20
UPGRADES = 2


class Worker:
    """Executes in its session without a rest; what got no answer is asked for again, with its id."""

    def __init__(self, api, session, ledger):
        self.api, self.session, self.ledger = api, session, ledger
        self.asked, self.repeated, self.longest = 0, 0, 0

    def work(self, stop):
        for n in itertools.count():
            if stop.is_set():
                return
            begin = time.monotonic()
            record = poll(lambda n=n: self.execute(n), 90, f"execution {n} of {self.session}")
            assert record["stdout"] == f"{n}\n" and record["total_executions"] == n + 1, record
            self.asked, self.longest = n + 1, max(self.longest, time.monotonic() - begin)

    def execute(self, n):
        try:
            return self.api.execute(self.session, f"BASH:echo {n} | tee -a {self.ledger}", execution_id=f"x{n}")
        except NOBODY:
            pass
        except ApiError as e:
            assert e.error["retryable"] and e.error["ran"] == "no", e
        self.repeated += 1
        return None


def test_an_upgrade_is_a_pause(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy), "direct": {}})
    api = cleatd.api
    sessions = in_parallel(lambda n: api.ready(user=f"u{n}", **{"class": ("default", "direct")[n % 2]}),
                           range(CLIENTS))
    workers = [Worker(api, s["session_id"], start.shared / s["session_id"]) for s in sessions]
    launches, stop, pauses = cleatd.launches(), threading.Event(), []
    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(w.work, stop) for w in workers]
        try:
            for _ in range(UPGRADES):
                more(workers)
                begin = time.monotonic()
                cleatd.terminate()
                cleatd.start()
                more(workers)
                pauses.append(time.monotonic() - begin)
        finally:
            stop.set()
    for w in working:
        w.result()
    assert cleatd.launches() == launches == cleatd.containers_alive()
    for w in workers:
        assert w.ledger.read_text().split() == [str(n) for n in range(w.asked)], "each ran once, in order"
    assert shared_connections(haproxy.requests()) == {}
    longest = max(w.longest for w in workers)
    assert max(*pauses, longest) < 15, "as long as the command line asks again"
    print(f"{UPGRADES} upgrades under load: every session answered again after "
          f"{', '.join(f'{p:.2f}' for p in pauses)} s; {sum(w.asked for w in workers)} executions, "
          f"{sum(w.repeated for w in workers)} asked for again, the longest took {longest:.2f} s")


def more(workers):
    """Each of them has had another answer."""
    before = [w.asked for w in workers]
    poll(lambda: all(w.asked > b for w, b in zip(workers, before)), 90, "an answer for everybody")
