"""A container that is killed in the middle of an execution, wherever it runs: what its session and its
executions make of it."""

import concurrent.futures
import contextlib
import time

import pytest

from cleat_harness import ApiError, poll

LIST = "BASH:echo $COLOUR input/* artifacts/*"
SEEN = "green input/a.txt input/b.txt artifacts/*\n"  # nothing of the dead container's


def options(source, **values):
    """Of a class whose sessions take input from this directory."""
    return {"input_sources": [f"*=file://{source}"], "backoff_base_ms": 200, **values}


def make_source(root):
    source = root / "source"
    source.mkdir()
    for name in ("a.txt", "b.txt"):
        (source / name).write_text(name)
    return source


def open_session(api, url):
    return api.ready(env={"COLOUR": "green"}, input=url)["session_id"]


@contextlib.contextmanager
def killed_during(api, session, kill, within):
    """Executes `first` to its end, then is killed during `second`, when `third` waits. Yields what
    third comes to; `within` is a generous limit, far below the time that the execution has."""
    api.execute(session, "BASH:echo x >artifacts/first", execution_id="first")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        second = pool.submit(api.execute, session, "BASH:exec sleep 280", execution_id="second")
        poll(lambda: api.session(session)["state"] == "BUSY", 20, "the execution")
        time_to_start(api, session)
        third = pool.submit(api.execute, session, LIST, execution_id="third")
        poll(lambda: api.session(session)["executions_queued"] == 2, 20, "an execution in the queue")
        killed_at = time.monotonic()
        kill()
        with pytest.raises(ApiError) as failed:
            second.result(timeout=100)
        took = time.monotonic() - killed_at
        print(f"the execution failed {took:.2f} s after its container")
        assert took < within
        error = failed.value.error
        assert (failed.value.code, error["ran"]) == ("container_died", "unknown"), error
        assert error["message"].startswith("the container died: "), error
        yield third


def time_to_start(api, session):
    """The container itself says that something runs."""
    host, port = api.session(session)["address"].split(":")
    import http.client
    import json

    def busy():
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/container-info")
        info = json.loads(connection.getresponse().read())
        connection.close()
        return info["busy"]
    poll(busy, 20, "the execution in the container")


def check_closed(api, session, third):
    with pytest.raises(ApiError) as failed:
        third.result(timeout=30)
    assert (failed.value.code, failed.value.error["ran"]) == ("container_died", "no"), failed.value
    over = api.wait(session, "closed")
    assert over["stop_reason"] == "container_died" and over["replacements"] == 0, over
    assert {c["name"]: c["result"] for c in over["cleanup"]}["upload"] == "lost"


def check_replaced(api, session, third):
    record = third.result(timeout=60)
    assert record["stdout"] == SEEN, record
    now = api.session(session)
    assert (now["state"], now["attempt"], now["replacements"]) == ("READY", 2, 1), now
    assert now["stop_reason"] is None and now["waiting_for"] is None
    for name in ("first", "second"):  # each may have run in the dead one, and runs in no other
        with pytest.raises(ApiError) as again:
            api.execute(session, "BASH:echo twice", execution_id=name)
        assert (again.value.code, again.value.error["ran"]) == ("container_died", "unknown"), again.value
    assert api.execute(session, LIST, execution_id="third")["stdout"] == SEEN, "its record"
    assert api.session(session)["executions"] == 2
    api.execute(session, "BASH:echo y >artifacts/second")
    over = api.close(session)
    assert over["stop_reason"] == "deleted" and over["error"] is None
    uploads = {c["attempt"]: c["result"] for c in over["cleanup"] if c["name"] == "upload"}
    assert uploads == {1: "lost", 2: "ok"}
