import logging

import pytest

from gateway.limits.lenient import QUIET, Lenient
from tests.limits.counted import Broken, Clock

HIT = ("hit", "name", 1, 60)


class Single:
    """A store that is asked one thing at a time, and fails at some of them."""

    epoch = 0

    def hit(self, name, limit, seconds):
        if name == "broken":
            raise OSError(28, "No space left on device")
        return (0, 0) if name == "full" else (1, 5)


@pytest.mark.parametrize("ask", [HIT, ("settle", "name", None, 5)])
def test_fault_of_the_store_is_nothing_known(ask):
    store = Lenient(Broken())
    assert store.each([ask, ask]) == [None, None]
    assert store.look("name", 1, 60) is None
    assert store.each([("seed", "name", 1, 60)]) == [None]


def test_one_fault_among_several_keeps_nothing_from_the_others():
    asks = [("hit", name, 1, 60) for name in ("free", "broken", "free", "full", "free")]
    assert Lenient(Single()).each(asks) == [(1, 5), None, (1, 5), (0, 0)]


def test_outage_is_logged_once_a_minute(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    clock = Clock()
    store = Lenient(Broken(), clock)
    for _ in range(10):
        store.each([HIT])
    clock.now += QUIET - 1
    store.each([HIT])
    assert len(caplog.records) == 1
    clock.now += 1
    store.each([HIT])
    assert [record.getMessage() for record in caplog.records] == [
        "limits are not kept: their store fails"
    ] * 2
