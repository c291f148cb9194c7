import threading
import time

import pytest

from gateway import idling
from gateway.jobs import waiting as module
from gateway.jobs.waiting import Waiting


class Statuses:
    """Jobs by status."""

    def __init__(self):
        self.found = {}

    def statuses(self, ids):
        return self.found


def plainly(function):
    return function()


@pytest.fixture
def jobs():
    return Statuses()


@pytest.fixture
def waiting(jobs, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    monkeypatch.setattr(idling, "IDLE", 0.01)
    return Waiting(jobs)


def wait_in_thread(waiting, *ids):
    threads = [threading.Thread(target=waiting.wait, args=(id, 60, plainly)) for id in ids]
    for thread in threads:
        thread.start()
    while sum(map(len, waiting.waiters.values())) < len(ids):
        time.sleep(0.005)
    return threads


def assert_freed(threads):
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_who_waits_is_freed_when_the_job_has_ended_or_is_gone(waiting, jobs):
    jobs.found = {"a": "queued", "b": "in_progress", "c": "completed"}
    a, b, *others = wait_in_thread(waiting, "a", "b", "c", "c", "gone")
    waiting.look()
    assert_freed(others)
    assert (a.is_alive(), b.is_alive()) == (True, True)
    assert sorted(waiting.waiters) == ["a", "b"]

    jobs.found = {"a": "cancelled", "b": "failed"}
    waiting.look()
    assert_freed([a, b])
    assert waiting.waiters == {}


def test_closing_frees_all_for_good(waiting):
    threads = wait_in_thread(waiting, "a", "b", "b")
    waiting.close()
    assert_freed(threads)
    waiting.wait("a", 60, plainly)


def test_end_of_the_loop_frees_all_for_good(waiting, jobs):
    jobs.found = {"a": "queued"}
    stop = threading.Event()
    loop = threading.Thread(target=waiting.run, args=(stop,))
    loop.start()
    threads = wait_in_thread(waiting, "a")
    stop.set()
    assert_freed([loop, *threads])
    waiting.wait("a", 60, plainly)
