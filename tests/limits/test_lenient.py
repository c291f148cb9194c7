import logging

import pytest

from gateway.limits.lenient import QUIET, Lenient
from tests.limits.counted import Broken, Clock

METHODS = ("hit", "look", "add", "take", "settle", "seed")


@pytest.mark.parametrize("method", METHODS)
def test_fault_of_the_store_is_nothing_known(method):
    assert getattr(Lenient(Broken()), method)("name", 1, 60) is None


def test_outage_is_logged_once_a_minute(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    clock = Clock()
    store = Lenient(Broken(), clock)
    for _ in range(10):
        store.hit("name", 1, 60)
    clock.now += QUIET - 1
    store.hit("name", 1, 60)
    assert len(caplog.records) == 1
    clock.now += 1
    store.hit("name", 1, 60)
    assert [record.getMessage() for record in caplog.records] == [
        "limits are not kept: their store fails"
    ] * 2
