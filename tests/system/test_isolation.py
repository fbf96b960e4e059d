"""I1 and I2 against the real thing: connections, identities, liars."""

import json
import os
import shutil
import subprocess

import pytest

from cleat_harness import (BUILD, HERE, PYTHON, SOURCE, ApiError, haproxy_class, in_parallel, poll,
                           shared_connections)


def work_of_eight(cleatd):
    """Eight sessions that execute several times: enough for connections to be reused."""
    api = cleatd.api
    sessions = in_parallel(lambda n: api.ready(user=f"u{n}"), range(8))
    failures = []
    for turn in range(4):
        for s in sessions:
            try:
                api.execute(s["session_id"], f"print({turn})")
            except ApiError as e:
                failures.append(e)
    return failures


def test_a_connection_carries_one_session(start):
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)})
    assert work_of_eight(cleatd) == []
    log = haproxy.requests()
    per_connection = {}
    for r in log:
        per_connection[r.client] = per_connection.get(r.client, 0) + 1
    assert max(per_connection.values()) > 1, "connections are reused, or this shows nothing"
    assert len({r.session for r in log if r.session}) == 8
    assert shared_connections(log) == {}


MUTANT = "CLEAT_MUTANT_SHARED_POOL"


def without(*patterns):
    return shutil.ignore_patterns(".git", "config.status", "config.log", "*.tar.gz", "__pycache__", *patterns)


@pytest.fixture(scope="module")
def mutant(tmp_path_factory):
    """cleatd built with all sessions in one pool, from a clean copy of the source and this build's objects
    of what is the same."""
    if not shutil.which("make") or not (SOURCE / "configure").exists():
        pytest.fail("the mutant needs make and a configured source tree")
    root = tmp_path_factory.mktemp("mutant")
    copy, build, log = root / "source", root / "build", root / "log"
    shutil.copytree(SOURCE, copy, ignore=without("*.o", "*.lo", "*.la", ".libs", ".deps", "build"), symlinks=True)
    subprocess.run(["chmod", "-R", "u+w", copy], check=True)
    shutil.copytree(BUILD / "src", build / "src", ignore=without("*.Po", "*.Plo"))
    different = [f.relative_to(copy) for f in (copy / "src").rglob("*.c") if MUTANT in f.read_text()]
    assert different
    for source in different:
        for compiled in (build / source.parent).rglob(f"*{source.stem}.*o"):
            compiled.unlink()
    options = subprocess.run([BUILD / "config.status", "--config"], capture_output=True, text=True, check=True).stdout
    with open(log, "w") as out:
        for command in (f"{copy}/configure -q {options.strip()} CPPFLAGS=-D{MUTANT}", "make -s cleatd"):
            done = subprocess.run(command, shell=True, cwd=build, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                  env={k: v for k, v in os.environ.items()
                                       if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "srcdir")})
            assert done.returncode == 0, log.read_text()[-4000:]
    return build / "cleatd"


def test_the_check_sees_a_shared_pool(start, mutant):
    """The same work by a build that shares connections on purpose: the same check must object."""
    haproxy = start.haproxy()
    cleatd = start.cleatd(classes={"default": haproxy_class(haproxy)}, program=mutant)
    work_of_eight(cleatd)
    assert shared_connections(haproxy.requests()) != {}


def liar_or_executor(root, executor):
    """The first container of a class is a liar, the others are honest."""
    script = root / "liar-or-executor"
    script.write_text(
        "#!/bin/sh\n"
        f'if mkdir "{root}/liar" 2>/dev/null; then\n'
        f'    exec {PYTHON} "{HERE}/plain_container.py" --dir "{root}/liar" --impersonate "{root}/victim"\n'
        "fi\n"
        f'exec "{executor}"\n')
    script.chmod(0o755)
    return script


def test_a_liar_gets_nothing(start):
    """A container that answers in the name of another session, behind the same balancer, healthy
    and probed like any other: no request of a session ever reaches it."""
    haproxy = start.haproxy()
    script = liar_or_executor(start.root, BUILD / "cleat-executor")
    cleatd = start.cleatd(classes={"default": haproxy_class(
        haproxy, command=[script], direct_path="never")})
    api = cleatd.api
    liar = api.create(create_timeout_s=10, user="liar")
    poll(lambda: any(state.startswith("UP") for _, state in haproxy.servers().values()), 20,
         "the liar's place in the rotation")

    victim = api.create(user="victim")
    (start.root / "victim").write_text(victim["session_id"])
    assert api.wait(victim["session_id"])["state"] == "READY"
    for n in range(5):
        answer = api.execute(victim["session_id"], f"print('secret of the victim', {n})")
        assert answer["session_id"] == victim["session_id"]
    requests = [json.loads(l) for l in (start.root / "liar" / "requests").read_text().splitlines()]
    assert requests, "the liar was probed, or this shows nothing"
    told = [r for r in requests if r["path"] != "/container-info" or r["body"]
            or victim["session_id"] in json.dumps(r["headers"])]
    assert told == []
    assert api.session(victim["session_id"])["executions"] == 5
    with pytest.raises(ApiError) as failed:
        api.wait(liar["session_id"])
    assert failed.value.code in ("create_timeout", "misroute"), "it never proved itself"
    assert b'"/execute"' not in (start.root / "liar" / "requests").read_bytes()


def test_a_direct_liar_gets_nothing(start):
    """The same without a balancer: not even its own session is given to it."""
    command = [PYTHON, HERE / "plain_container.py", "--dir", start.root, "--impersonate", start.root / "victim"]
    cleatd = start.cleatd(classes={"default": {"command": command, "create_timeout_s": 4,
                                               "launch_attempts": 1}})
    with pytest.raises(ApiError) as failed:
        cleatd.api.ready()
    assert failed.value.code in ("create_timeout", "misroute", "never_healthy", "launch_failed")
    requests = [json.loads(l) for l in (start.root / "requests").read_text().splitlines()]
    assert {r["path"] for r in requests} <= {"/container-info"}


def test_the_executor_refuses_a_stranger(start):
    """Whoever finds the address of a container gets /health and /container-info, nothing else."""
    import http.client
    cleatd = start.cleatd()
    s = cleatd.api.ready()
    for method, path, body in (("POST", "/execute", {"session_id": s["session_id"], "code": "print(1)"}),
                               ("POST", "/session/complete", {"session_id": s["session_id"]}),
                               ("GET", "/session/complete", None),
                               ("POST", "/file-sync", {"action": "download"})):
        connection = http.client.HTTPConnection(*s["address"].split(":"), timeout=10)
        connection.request(method, path, json.dumps(body) if body else None)
        assert connection.getresponse().status == 403
        connection.close()
    assert cleatd.api.execute(s["session_id"], "print(1)")["total_executions"] == 1


def test_what_sandbox_none_does_not_isolate_is_said(start):
    """Also where `auto` came down to it: cleatd tells it from the container's own word."""
    cleatd = start.cleatd(classes={"default": {"sandbox": "none"}, "boxed": {"sandbox": "bwrap"}})
    for name in ("default", "boxed"):
        cleatd.api.ready(**{"class": name})
    classes = cleatd.api.status()["classes"]
    assert (classes["default"]["unconfined"], classes["boxed"]["unconfined"]) == (True, False)
    assert classes["default"]["runtime"]["isolation"] == "none"
    assert [l for l in cleatd.log_lines() if "event=sandbox.none" in l and "class=default" in l]
