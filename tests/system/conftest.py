import os
import pathlib
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from cleat_harness import Cleatd, HAProxy  # noqa: E402


@pytest.fixture
def root(tmp_path):
    return tmp_path


@pytest.fixture(scope="module")
def module_root(tmp_path_factory, request):
    return tmp_path_factory.mktemp(pathlib.Path(request.module.__file__).stem)


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
            raise failures[0]

    factory = type("Factory", (), {"haproxy": staticmethod(haproxy), "cleatd": staticmethod(cleatd),
                                   "add": staticmethod(add), "root": root})
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
