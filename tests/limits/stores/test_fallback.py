"""The way out of a shared store that is away, with one that does as it is told."""

import logging

import pytest

from gateway.limits.stores import Away, Taken, Window
from gateway.limits.stores.fallback import PATIENCE, PAUSE, Fallback
from gateway.limits.stores.local import Local
from gateway.metrics import tally

LONG = 10**6


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Scripted:
    """A shared store that remembers what it was asked, and is away while `away` is set."""

    epoch = 1

    def __init__(self):
        self.away, self.asked, self.dropped = False, [], []

    def answer(self, method, *asked):
        self.asked.append((method, *asked))
        if self.away:
            raise Away("it is told to be")
        return {"hit": Window(1, 9, 1.0, self), "take": Taken(1, 9, self, "mine")}.get(method)

    def __getattr__(self, method):
        return lambda *asked: self.answer(method, *asked)

    def let_go(self, hold):
        self.dropped.append(hold)

    def close(self):
        pass


@pytest.fixture
def shared():
    return Scripted()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(shared, clock, tmp_path):
    found = Fallback(shared, Local(tmp_path), clock)
    yield found
    found.close()
    tally.limits_alone = 0


def methods(shared):
    asked, shared.asked = [method for method, *_ in shared.asked], []
    return asked


def test_shared_store_is_asked_while_it_answers(store, shared):
    assert store.hit("tpm:x", 10, LONG).remaining == 9
    store.add("tpm:x", LONG, 3)
    store.settle("slots:x", store.take("slots:x", 10, 1), 5)
    store.seed("budget:x", 1, 2)
    assert methods(shared) == ["hit", "add", "take", "settle", "seed"]
    assert not store.alone and store.local.epoch == 0


def test_machine_goes_on_alone_and_asks_nobody_in_vain(store, shared, clock, caplog):
    shared.away = True
    before = store.epoch
    for taken in (1, 1, 0):
        assert store.hit("tpm:x", 2, LONG).taken == taken
    assert store.look("tpm:x", 2, LONG).remaining == 0
    assert methods(shared) == ["hit"]
    assert (store.alone, tally.limits_alone, store.epoch != before) == (True, 1, True)
    assert [(r.levelno, "it is told to be" in r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, True)
    ]


def test_loop_looks_for_the_shared_store_and_says_once_that_it_is_back(
    store, shared, clock, caplog
):
    shared.away = True
    store.hit("tpm:x", 2, LONG)
    methods(shared)
    for _ in range(20):
        clock.now += 1
        store.tend()
    assert methods(shared) == ["beat"] * 4

    shared.away = False
    clock.now += PAUSE
    store.tend()
    assert not store.alone and tally.limits_alone == 0 and len(caplog.records) == 2
    assert store.hit("tpm:x", 10, LONG).remaining == 9


def test_one_call_looks_where_no_loop_does(store, shared, clock):
    shared.away = True
    store.hit("tpm:x", 9, LONG)
    clock.now += PAUSE + PATIENCE
    methods(shared)
    for _ in range(3):
        store.hit("tpm:x", 9, LONG)
    assert methods(shared) == ["beat"]

    clock.now += PAUSE + PATIENCE
    shared.away = False
    assert store.hit("tpm:x", 10, LONG).remaining == 9


def test_second_call_does_not_look_while_the_first_does(store, shared, clock):
    shared.away = True
    store.hit("tpm:x", 9, LONG)
    clock.now += PAUSE + PATIENCE
    inner = []

    def beat():
        inner.append(store.hit("tpm:x", 9, LONG).remaining)
        raise Away("still")

    shared.beat = beat
    assert store.hit("tpm:x", 9, LONG).remaining == 6 and inner == [7]


def test_heartbeat_is_kept_while_the_shared_store_answers(store, shared, clock):
    for _ in range(9):
        clock.now += 1
        store.tend()
    assert methods(shared) == ["beat"] * 3


def test_what_was_taken_in_one_store_is_settled_in_that(store, shared, clock):
    mine = store.take("slots:x", 1, 1)
    window = store.hit("tpm:x", 10, LONG)
    shared.away = True
    theirs, other = store.take("slots:x", 1, 1), store.hit("tpm:x", 10, LONG, 4)
    assert store.take("slots:x", 1, 1).amount == 0

    methods(shared)
    store.settle("slots:x", mine, 7)
    store.add("tpm:x", LONG, -1, window)
    assert shared.dropped == ["mine"] and methods(shared) == []
    assert store.local.take("slots:x", 8, 8, 1).amount == 0  # 7 are spent, 1 is held
    assert store.look("tpm:x", 10, LONG).remaining == 6

    shared.away = False
    clock.now += PAUSE
    store.tend()
    store.settle("slots:x", theirs, 2)
    store.add("tpm:x", LONG, -4, other)
    assert shared.asked[-1] == ("settle", "slots:x", None, 2) and len(shared.asked) == 2
    assert store.local.take("slots:x", 8, 8, 1).amount == 1
    assert store.local.look("tpm:x", 10, LONG).remaining == 10


def test_settlement_that_the_shared_store_does_not_hear_counts_here(store, shared):
    taken = store.take("budget:x", 10, 1)
    shared.away = True
    store.settle("budget:x", taken, 6)
    assert store.alone and store.take("budget:x", 10, 10, 1).amount == 4
    assert [method for method, *_ in shared.asked] == ["take", "settle"]


def test_add_that_the_shared_store_does_not_hear_counts_here(store, shared):
    shared.away = True
    store.add("tpm:x", LONG, 6)
    assert store.look("tpm:x", 10, LONG).remaining == 4
