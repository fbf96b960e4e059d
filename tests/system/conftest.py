import os
import pathlib
import shutil
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from cleat_harness import Cleatd, HAProxy, scratch  # noqa: E402


def scratch_of(request, name):
    """Removed when nothing in it failed; else it stays, and the test's report says where."""
    path, failed = scratch(name), request.session.testsfailed
    yield path
    if request.session.testsfailed == failed and not (path / "failed").exists():
        shutil.rmtree(path, ignore_errors=True)
    else:
        print(f"what {name} left: {path}")


@pytest.fixture
def root(request):
    yield from scratch_of(request, request.node.originalname)


@pytest.fixture(scope="module")
def module_root(request):
    yield from scratch_of(request, pathlib.Path(request.module.__file__).stem)


def make_factory(root):
    """Starts things in one directory and stops them in the opposite order, checks included."""
    started = []

    def haproxy(name="haproxy", **options):
        started.append(HAProxy(root / name, **options).start())
        return started[-1]

    def cleatd(name="cleatd", **options):
        started.append(Cleatd(root / name, **options))
        return started[-1].start()

    def add(thing):
        started.append(thing)
        return thing

    def stop():
        failures = []
        for thing in reversed(started):
            try:
                (thing.stop if hasattr(thing, "stop") else thing.close)()
            except Exception as e:  # the others must be stopped all the same
                failures.append(e)
        if failures:
            (root / "failed").touch()
            raise failures[0]

    shared = root / "shared"  # user code of any uid may leave a mark here
    shared.mkdir()
    shared.chmod(0o777)
    factory = type("Factory", (), {"haproxy": staticmethod(haproxy), "cleatd": staticmethod(cleatd),
                                   "add": staticmethod(add), "root": root, "shared": shared})
    return factory, stop


@pytest.fixture
def start(root):
    """start.cleatd(…), start.haproxy(…): of this test alone."""
    factory, stop = make_factory(root)
    yield factory
    stop()


@pytest.fixture(scope="module")
def module_start(module_root):
    factory, stop = make_factory(module_root)
    yield factory
    stop()


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running():
    yield
    left = [(h.root, h.process.pid) for h in HAProxy.everyone if h.process and h.process.poll() is None]
    for daemon in Cleatd.everyone:
        left += daemon.leftovers()
    assert not left, f"the tests left these running: {left}"


def pytest_configure(config):
    """An ended test run (a time limit, say) ends what it started, as an interrupted one does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
