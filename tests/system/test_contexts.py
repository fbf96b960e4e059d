"""For whom a session is: context and parent, children that close with it, and the class that resources choose."""

import json
import os
import signal
import subprocess

import pytest

from cleat_harness import BUILD, ApiError, alive, poll

NEVER = "019cb6a1-5c00-7000-8000-000000000001"
ENDED = ("CLOSING", "CLOSED", "FAILED")


@pytest.fixture(scope="module")
def daemon(module_start):
    return module_start.cleatd(classes={"default": {}, "small": {"memory_mb": 4096, "cpu_milli": 1000},
                                        "gpu": {"gpu": 1, "memory_mb": 8192, "labels": ["zone=a"]}})


def refused(call, *arguments, **fields):
    with pytest.raises(ApiError) as error:
        call(*arguments, **fields)
    return error.value.status, error.value.code


@pytest.mark.parametrize("field", ["tenant", "user", "thread", "run", "parent"])
@pytest.mark.parametrize("value", ["null", "Undefined", "PLACEHOLDER", "none", "", "a b", "x" * 129])
def test_placeholders_are_refused(daemon, field, value):
    assert refused(daemon.api.create, **{field: value}) == (400, "invalid_request")


def test_a_context_does_not_change(daemon):
    first = daemon.api.create(request_id="fixed", tenant="t1", user="u", thread="th", run="r")
    for field in ("user", "thread", "run"):
        assert refused(daemon.api.create, **{"request_id": "fixed", "tenant": "t1", "user": "u", "thread": "th",
                                             "run": "r", field: "other"}) == (409, "conflict")
    assert daemon.api.create(request_id="fixed", tenant="t1", user="u", thread="th", run="r")["session_id"] == first["session_id"]
    daemon.api.close(first["session_id"])


def test_a_child_inherits_what_it_does_not_name(daemon):
    parent = daemon.api.create(tenant="t1", user="u1", thread="th1", run="r1")
    child = daemon.api.create(request_id="inherits", parent=parent["session_id"], run="r2")
    assert [child[k] for k in ("tenant", "user", "thread", "run", "parent")] == [
        "t1", "u1", "th1", "r2", parent["session_id"]]
    again = daemon.api.create(request_id="inherits", tenant="t1", user="u1", parent=parent["session_id"], run="r2")
    assert again["session_id"] == child["session_id"] and not again["created"]
    daemon.api.close(parent["session_id"])
    assert daemon.api.wait(child["session_id"], "closed")["stop_reason"] == "parent_closed"
    assert refused(daemon.api.create, request_id="inherits", parent=parent["session_id"], run="r2") == (410, "request_id_closed")
    assert refused(daemon.api.create, parent=parent["session_id"]) == (409, "session_closed")


def test_a_parent_is_a_session_of_the_tenant(daemon):
    theirs = daemon.api.create(tenant="t2")
    for parent in (NEVER, "no-id", theirs["session_id"]):
        assert refused(daemon.api.create, tenant="t1", parent=parent) == (404, "not_found")
    assert refused(daemon.api.create, parent=NEVER) == (404, "not_found")
    daemon.api.close(theirs["session_id"])


def test_generations_close_together(daemon):
    """Also one that runs something, which ends; a stranger to the family stays."""
    parent = daemon.api.ready()
    child = daemon.api.ready(parent=parent["session_id"])
    grandchild = daemon.api.ready(parent=child["session_id"])
    sibling = daemon.api.ready()
    pids = [daemon.pid_of(s["session_id"]) for s in (parent, child, grandchild)]
    daemon.api.close(child["session_id"])
    assert daemon.api.wait(grandchild["session_id"], "closed")["stop_reason"] == "parent_closed"
    assert daemon.api.session(parent["session_id"])["state"] == "READY", "a child takes nobody with it"
    late = daemon.api.create(parent=parent["session_id"])
    daemon.api.close(parent["session_id"])
    assert daemon.api.wait(late["session_id"], "closed")["stop_reason"] == "parent_closed"
    poll(lambda: not any(map(alive, pids)), 30, "the end of the family")
    assert daemon.api.session(sibling["session_id"])["state"] == "READY"
    daemon.api.close(sibling["session_id"])


@pytest.mark.parametrize("reason, fields", [("idle_timeout", {"idle_timeout_s": 1}), ("max_lifetime", {"max_lifetime_s": 1})])
def test_any_end_of_the_parent_is_the_childs(daemon, reason, fields):
    parent = daemon.api.create(**fields)
    child = daemon.api.create(parent=parent["session_id"])
    assert daemon.api.wait(child["session_id"], "closed")["stop_reason"] == "parent_closed"
    assert daemon.api.wait(parent["session_id"], "closed")["stop_reason"] == reason


def test_children_know_their_parent_after_a_crash(start):
    """Also when the parent starts to close in the last moment, and the child's end is not on disk."""
    daemon = start.cleatd()
    parent = daemon.api.ready(tenant="t1", user="u")
    child = daemon.api.ready(parent=parent["session_id"])
    daemon.kill()
    daemon.start()
    assert daemon.api.wait(child["session_id"])["parent"] == parent["session_id"]
    assert [daemon.api.session(child["session_id"])[k] for k in ("tenant", "user")] == ["t1", "u"]
    daemon.api.close(parent["session_id"], wait=False)
    daemon.kill()
    daemon.start()
    assert daemon.api.wait(child["session_id"], "closed")["stop_reason"] == "parent_closed"
    assert daemon.api.wait(parent["session_id"], "closed")["stop_reason"] == "deleted"


def test_a_child_is_adopted_with_its_parent_when_the_journal_is_lost(start):
    """The order in which containers are found does not matter; without its parent a child closes."""
    daemon = start.cleatd()
    parent, other = daemon.api.ready(), daemon.api.ready()
    child = daemon.api.ready(parent=parent["session_id"], user="mine")
    orphan = daemon.api.ready(parent=other["session_id"])
    daemon.kill()
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (daemon.root / "state" / name).unlink(missing_ok=True)
    os.kill(daemon.pid_of(other["session_id"]), signal.SIGKILL)
    daemon.start()
    assert daemon.api.wait(orphan["session_id"], "closed")["stop_reason"] == "parent_closed"
    adopted = daemon.api.wait(child["session_id"])
    assert adopted["adopted"] and adopted["parent"] == parent["session_id"] and adopted["user"] == "mine"
    daemon.api.close(parent["session_id"])
    assert daemon.api.wait(child["session_id"], "closed")["stop_reason"] == "parent_closed"


def test_a_job_is_a_child_and_has_resources(daemon):
    parent = daemon.api.create(tenant="t1", user="u")
    job = daemon.api.call("POST", "/v1/jobs", {"argv": ["sleep", "1000"], "parent": parent["session_id"],
                                               "resources": {"gpu": 1}, "request_id": "child-job"})
    assert [job[k] for k in ("tenant", "user", "parent", "class")] == ["t1", "u", parent["session_id"], "gpu"]
    poll(lambda: daemon.api.call("GET", f"/v1/jobs/{job['job_id']}")["state"] == "running", 30, "the command")
    daemon.api.close(parent["session_id"])
    over = daemon.api.call("GET", f"/v1/jobs/{job['job_id']}?wait=ended&timeout_s=60")
    assert (over["state"], over["stop_reason"]) == ("cancelled", "parent_closed")
    assert daemon.api.wait(job["job_id"], "closed")["stop_reason"] == "parent_closed"
    assert not any(l.session == job["job_id"] for l in daemon.containers_alive())


# ---- resources


def test_resources_choose_the_class(daemon):
    for resources, wanted in (({"memory_mb": 2048}, "small"), ({"gpu": 1}, "gpu"), ({"cpu_milli": 2000}, "default"),
                              ({"labels": {"zone": "a"}}, "gpu")):
        made = daemon.api.create(resources=resources)
        assert made["class"] == wanted
        daemon.api.close(made["session_id"])
    assert refused(daemon.api.create, resources={"gpu": 2}) == (400, "no_class_fits")
    assert refused(daemon.api.create, resources={"gpu": 1}, **{"class": "small"}) == (400, "no_class_fits")


def test_a_request_id_keeps_its_class(start):
    """Over a restart, and when no class would fit any more."""
    daemon = start.cleatd(classes={"default": {"memory_mb": 2048}, "small": {"memory_mb": 1024}})
    made = daemon.api.create(request_id="kept", resources={"memory_mb": 1000})
    assert made["class"] == "small"
    for values in daemon.classes.values():
        values["memory_mb"] = 512
    daemon.config_path.write_text(daemon._config())
    daemon.process.send_signal(signal.SIGHUP)
    poll(lambda: any("reload.done" in line for line in daemon.log_lines()), 20, "the reload")
    for _ in range(2):
        again = daemon.api.create(request_id="kept", resources={"memory_mb": 1000})
        assert (again["session_id"], again["class"], again["created"]) == (made["session_id"], "small", False)
        assert refused(daemon.api.create, request_id="kept", resources={"memory_mb": 999}) == (409, "conflict")
        assert refused(daemon.api.create, resources={"memory_mb": 1000}) == (400, "no_class_fits")
        daemon.kill()
        daemon.start()


def test_the_command_line_gives_context_and_resources(daemon):
    def cleat(*arguments):
        return subprocess.run([BUILD / "cleat", "--socket", daemon.socket, *arguments], capture_output=True, text=True, timeout=60)

    parent = daemon.api.create()
    made = cleat("create", "--json", "--user", "ann", "--thread", "t", "--run", "1", "--parent", parent["session_id"],
                 "--cpu-milli", "250", "--memory-mb", "1024", "--gpu", "1", "--label", "zone=a")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    document = document.get("sessions", [document])[0]
    assert [document[k] for k in ("user", "thread", "run", "parent", "class")] == ["ann", "t", "1", parent["session_id"], "gpu"]
    unfit = cleat("create", "--memory-mb", "9000", "--gpu", "1")
    assert unfit.returncode != 0 and "all of it at once" in unfit.stderr
    for wrong in (["--cpu-milli", "x"], ["--memory-mb", "1t"], ["--gpu", "-1"], ["--label", "zone"], ["--label", "=a"]):
        result = cleat("create", *wrong)
        assert result.returncode == 2 and wrong[0] in result.stderr, result.stderr
    daemon.api.close(parent["session_id"])
    assert daemon.api.wait(document["session_id"], "closed")["stop_reason"] == "parent_closed"
