import logging
import threading
import time

import pytest

from gateway import errors
from gateway.jobs import waiting as module
from gateway.jobs.waiting import Waiting


class Statuses:
    """Jobs by status; what is no text is raised."""

    def __init__(self):
        self.found, self.asked = {}, []

    def statuses(self, ids):
        self.asked.append(sorted(ids))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def plainly(function, *args):
    return function(*args)


@pytest.fixture
def jobs():
    return Statuses()


@pytest.fixture
def waiting(jobs, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    monkeypatch.setattr(module, "IDLE", 0.01)
    return Waiting(jobs)


@pytest.fixture
def running(waiting):
    stop = threading.Event()
    thread = threading.Thread(target=waiting.run, args=(stop,))
    thread.start()
    yield thread
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def wait_in_thread(waiting, *ids):
    threads = [threading.Thread(target=waiting.wait, args=(id, 60, plainly)) for id in ids]
    for thread in threads:
        thread.start()
    while sum(map(len, waiting.waiters.values())) < len(ids):
        time.sleep(0.005)
    return threads


def test_who_waits_is_freed_when_the_job_has_ended_or_is_gone(waiting, jobs):
    jobs.found = {"a": "queued", "b": "in_progress", "c": "completed"}
    a, b, *others = wait_in_thread(waiting, "a", "b", "c", "c", "gone")
    waiting.look()
    for thread in others:
        thread.join(5)
    assert (a.is_alive(), b.is_alive()) == (True, True)
    assert sorted(waiting.waiters) == ["a", "b"]

    jobs.found = {"a": "cancelled", "b": "failed"}
    waiting.look()
    for thread in (a, b):
        thread.join(5)
    assert waiting.waiters == {}


@pytest.mark.parametrize("fault", [errors.DependencyUnavailable(), ValueError("x")])
def test_fault_is_outlived(waiting, jobs, running, fault, caplog):
    with caplog.at_level(logging.CRITICAL):
        jobs.found = fault
        (thread,) = wait_in_thread(waiting, "a")
        while len(jobs.asked) < 3:
            time.sleep(0.01)
        assert thread.is_alive()
        jobs.found = {"a": "expired"}
        thread.join(5)
    assert not thread.is_alive()


def test_nobody_is_asked_while_nobody_waits(waiting, jobs, running):
    time.sleep(0.1)
    assert jobs.asked == []


def test_wait_that_is_ended_from_outside_is_forgotten(waiting):
    class Left(BaseException):
        pass

    def leave(function, *args):
        raise Left

    with pytest.raises(Left):
        waiting.wait("a", 60, leave)
    assert waiting.waiters == {}


def test_one_that_leaves_does_not_take_the_others_along(waiting, jobs):
    jobs.found = {"a": "queued"}
    (thread,) = wait_in_thread(waiting, "a")
    waiting.wait("a", 0.01, plainly)
    jobs.found = {}
    waiting.look()
    thread.join(5)
    assert not thread.is_alive()


def test_closing_frees_all_for_good(waiting):
    threads = wait_in_thread(waiting, "a", "b", "b")
    waiting.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    waiting.wait("a", 60, plainly)


def test_many_jobs_are_asked_for_in_parts(waiting, jobs, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    threads = wait_in_thread(waiting, "a", "b", "c")
    waiting.look()
    for thread in threads:
        thread.join(5)
    assert sorted(map(len, jobs.asked)) == [1, 2]
