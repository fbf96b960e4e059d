"""Balancers that lose, change or replace cookies: nothing ever runs in the wrong place."""

import pytest

from cleat_harness import ApiError, HAProxy, haproxy_class, in_parallel, poll, shared_connections

HOME = "import os; print(os.getcwd())"


def assert_executes_only_at_home(api, ids, rounds=2):
    """Each execution ran in its own container or certainly not at all."""
    done = {i: 0 for i in ids}
    for _ in range(rounds):
        for i in ids:
            try:
                record = api.execute(i, HOME, timeout_s=10)
            except ApiError as e:
                assert e.error["ran"] == "no", e
                continue
            done[i] += 1
            assert record["session_id"] == i and i in record["stdout"]
            assert record["total_executions"] == done[i]
    return done


def execute_eventually(api, session, timeout=30):
    def attempt():
        try:
            return api.execute(session, HOME, timeout_s=10)
        except ApiError as e:
            assert e.error["ran"] == "no" and e.error["retryable"], e
            return None
    record = poll(attempt, timeout, "an execution")
    assert session in record["stdout"]
    return record


def test_answers_without_cookies(start):
    """No cookie ever comes: no route can be proven to stick, so no session becomes ready."""
    haproxy = start.haproxy(cookie_rules="")
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, create_timeout_s=3, backoff_base_ms=200)})
    created = [cleatd.api.create(user=f"u{n}") for n in range(3)]
    for s in created:
        with pytest.raises(ApiError) as failed:
            cleatd.api.wait(s["session_id"])
        assert failed.value.code in ("create_timeout", "misroute"), failed.value
    for s in created:
        over = cleatd.api.wait(s["session_id"], "closed")
        assert over["executions"] == 0 and len([l for l in cleatd.launches()
                                                 if l.session == s["session_id"]]) == 1
    assert {r.path for r in haproxy.requests()} <= {"/container-info"}
    assert len(haproxy.requests()) < 100, "sweeps back off"


def test_requests_lose_their_cookies(start):
    """The balancer drops cookies from requests, so that each lands anywhere: four sessions execute at
    home or not at all."""
    haproxy = start.haproxy(frontend_rules="    http-request del-header Cookie")
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, create_timeout_s=10, backoff_base_ms=50)})
    api = cleatd.api
    created = [api.create(user=f"u{n}")["session_id"] for n in range(4)]
    ready = []
    for i in created:
        try:
            ready.append(api.wait(i)["session_id"])
        except ApiError as e:
            assert e.code in ("create_timeout", "misroute", "session_closed"), e
    done = assert_executes_only_at_home(api, ready)
    misroutes = sum(api.session(i)["misroutes"] for i in created)
    print(f"{len(ready)} of 4 ready, {sum(done.values())} executions, {misroutes} misroutes")
    assert misroutes > 0
    assert all(r.status == 403 or r.server for r in haproxy.requests())
    assert shared_connections(haproxy.requests()) == {}


def test_cookies_that_lead_to_somebody_else(start):
    """One constant cookie for everybody: it leads to whoever answered last. At most one session at
    a time can be right, and nobody executes elsewhere."""
    rules = '    http-response add-header Set-Cookie "AWSALB=same-for-all; Path=/"'
    haproxy = start.haproxy(cookie_rules=rules, frontend_rules="    http-request set-var(txn.alb) str(same-for-all)")
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, create_timeout_s=6, backoff_base_ms=50)})
    api = cleatd.api
    created = [api.create(user=f"u{n}")["session_id"] for n in range(3)]
    ready = []
    for i in created:
        try:
            ready.append(api.wait(i)["session_id"])
        except ApiError as e:
            assert e.code in ("create_timeout", "misroute", "session_closed"), e
    assert_executes_only_at_home(api, ready)
    assert sum(api.session(i)["misroutes"] for i in created) > 0
    assert shared_connections(haproxy.requests()) == {}


def test_the_newest_cookie_is_used(start):
    """Every answer gives a fresh cookie; the next request of that session carries it."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)})
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(3))]
    for _ in range(5):
        for i in ids:
            api.execute(i, "print(1)")
    for i in ids:
        own = [r for r in haproxy.requests() if r.session == i]
        assert len(own) >= 6
        for before, after in zip(own, own[1:]):
            assert f"AWSALB={before.given}" in after.cookie, (before, after)


def test_old_cookies_stop_working(start):
    """The balancer remembers only a handful of cookies, the newest ones, for more sessions than
    that: those who lost theirs get a new route, and everyone executes at home."""
    haproxy = start.haproxy()
    text = haproxy.config_path.read_text().replace("size 200k expire 1h", "size 12 expire 1h")
    haproxy.kill()
    haproxy.config_path.write_text(text)
    haproxy.start()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, backoff_base_ms=50)})
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(6))]
    for _ in range(3):
        for i in ids:
            execute_eventually(api, i)
    for i in ids:
        assert api.session(i)["executions"] >= 3
    assert shared_connections(haproxy.requests()) == {}


def test_a_deleted_cookie_is_acquired_again(start):
    """The answer to an execution takes the cookie away; the session finds its way back."""
    rules = HAProxy.COOKIE_RULES.replace("\n", " unless { var(txn.path) -m str /execute }\n") + \
        " unless { var(txn.path) -m str /execute }\n" + \
        '    http-response add-header Set-Cookie "AWSALB=; Path=/; Max-Age=0" if { var(txn.path) -m str /execute }'
    haproxy = start.haproxy(cookie_rules=rules,
                            frontend_rules="    http-request set-var(txn.path) path")
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy, backoff_base_ms=50)})
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(3))]
    for turn in range(3):
        for i in ids:
            assert execute_eventually(api, i)["total_executions"] == turn + 1
    assert shared_connections(haproxy.requests()) == {}


def test_the_dynamic_key_is_forgotten(start):
    """A HAProxy that restarted with `cookie … dynamic` needs the key again, or its answers delete
    the cookie."""
    haproxy = start.haproxy(template="dynamic", key="of-the-file")
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, cookies=["STICKY"], dynamic_cookie_key="of-the-class", backoff_base_ms=50)})
    api = cleatd.api
    ids = [s["session_id"] for s in in_parallel(lambda n: api.ready(user=f"u{n}"), range(3))]
    for i in ids:
        execute_eventually(api, i)
    haproxy.kill()
    haproxy.start()
    for i in ids:
        assert execute_eventually(api, i)["total_executions"] == 2
