import logging
import threading
import time

import pytest

from gateway import errors, idling
from gateway.polling import Polling


class Rows:
    """What has come, as {place: row}; an exception is raised instead."""

    def __init__(self):
        self.found, self.asked = {}, []

    def find(self, places):
        self.asked.append(sorted(places))
        if isinstance(self.found, Exception):
            raise self.found
        return {place: self.found[place] for place in places if place in self.found}


def plainly(function):
    return function()


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture
def polled(rows, monkeypatch):
    monkeypatch.setattr(idling, "IDLE", 0.01)
    return Polling(rows.find, 0.01, 2, "rows could not be read")


@pytest.fixture
def running(polled):
    stop = threading.Event()
    thread = threading.Thread(target=polled.run, args=(stop,))
    thread.start()
    yield thread
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture
def wait(polled):
    """A function that waits for places, each in a thread of its own; it returns what they get."""
    threads = []

    def begin(*places):
        got = []
        before = sum(map(len, polled.waiters.values()))
        for place in places:
            work = lambda place=place: got.append((place, polled.wait(place, 60, plainly)))  # noqa: E731
            threads.append(threading.Thread(target=work))
            threads[-1].start()
        while sum(map(len, polled.waiters.values())) < before + len(places):
            time.sleep(0.005)
        return got

    yield begin
    for place in list(polled.waiters):
        polled.free(place)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def reached(got, count):
    deadline = time.monotonic() + 5
    while len(got) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    return sorted(got)


def test_all_who_wait_get_what_has_come_and_the_others_wait_on(polled, rows, wait):
    got = wait("a", "a", "b", "c")
    rows.found = {"a": 1, "c": 3}
    polled.look()
    assert reached(got, 3) == [("a", 1), ("a", 1), ("c", 3)]
    assert list(polled.waiters) == ["b"]
    rows.found = {"b": 2}
    polled.look()
    assert reached(got, 4)[2] == ("b", 2)
    assert polled.waiters == {}


@pytest.mark.parametrize(
    "fault, logged", [(errors.DependencyUnavailable(), False), (ValueError(), True)]
)
def test_fault_is_outlived(rows, running, wait, fault, logged, caplog):
    with caplog.at_level(logging.ERROR):
        rows.found = fault
        got = wait("a")
        while len(rows.asked) < 3:
            time.sleep(0.005)
        assert got == []
        rows.found = {"a": 1}
        assert reached(got, 1) == [("a", 1)]
    assert ("rows could not be read" in caplog.messages) == logged


def test_nobody_is_asked_while_nobody_waits(rows, running):
    time.sleep(0.1)
    assert rows.asked == []


def test_who_waits_in_vain_gets_nothing(polled):
    assert polled.wait("a", 0.01, plainly) is None
    assert polled.waiters == {}


def test_wait_that_is_ended_from_outside_is_forgotten(polled):
    class Left(BaseException):
        pass

    def leave(function, *args):
        raise Left

    with pytest.raises(Left):
        polled.wait("a", 60, leave)
    assert polled.waiters == {}


def test_one_that_leaves_does_not_take_the_others_along(polled, rows, wait):
    got = wait("a")
    polled.wait("a", 0.01, plainly)
    rows.found = {"a": 1}
    polled.look()
    assert reached(got, 1) == [("a", 1)]


def test_many_are_asked_for_in_parts(polled, rows, wait):
    got = wait("a", "b", "c")
    rows.found = {"a": 1, "b": 2, "c": 3}
    polled.look()
    assert len(reached(got, 3)) == 3
    assert sorted(map(len, rows.asked)) == [1, 2]
