"""Many keys that are looked up in the usage table at once."""

import threading
import time
from types import SimpleNamespace

import pytest

from gateway import errors
from gateway.limits import budgets
from gateway.limits.budgets import AT_ONCE, Budgets
from tests.limits.counted import NOON, Clock, World, key

DAY = 86400
BUDGET = 1_000_000
SPENT = 400_000


class Table:
    """Says of each key that it has spent SPENT, once it is `open`; notes its `looks`."""

    def __init__(self):
        self.looks, self.fault = [], None
        self.open, self.asked = threading.Event(), threading.Event()
        self.open.set()

    def spent(self, keys, since):
        self.looks.append((since, list(keys)))
        self.asked.set()
        assert self.open.wait(20)
        if self.fault:
            self.fault(keys)
        return dict.fromkeys(keys, SPENT)

    def sizes(self):
        """Return how many keys each look was for, and forget the looks."""
        sizes = [len(keys) for _, keys in self.looks]
        self.looks.clear()
        return sizes


class Changing:
    """A store that becomes another one while it is told something the first few times."""

    def __init__(self, changes):
        self.changes, self.epoch, self.told = changes, 0, []

    def each(self, asks):
        self.told.append((self.epoch, list(asks)))
        if len(self.told) <= self.changes:
            self.epoch += 1


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def world(tmp_path, table):
    made = World(tmp_path)
    made.limits.budgets.spent = table.spent
    made.limits.budgets.ticks = made.clock
    yield made
    table.open.set()
    until(lambda: not made.limits.budgets.seeding)
    made.limits.close()


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def some(count, period="day"):
    return [key(period=period, budget=BUDGET) for _ in range(count)]


def left(world, one):
    """Return the nano-USD that could still be taken of a key's budget."""
    name = world.limits.budgets.account(one)
    return world.store.take(name, BUDGET, 2 * BUDGET).left


def use(world, keys):
    for one in keys:
        world.limits.budgets.account(one)


def used_first(world, table, keys, monkeypatch):
    """Use keys for the first time while the table is busy with the first of them."""
    monkeypatch.setattr(budgets, "PATIENCE", 0)
    table.open.clear()
    use(world, keys[:1])
    assert table.asked.wait(20)
    use(world, keys[1:])
    table.open.set()
    until(lambda: not world.limits.budgets.seeding)


def test_first_uses_that_wait_are_looked_up_together(world, table, monkeypatch):
    keys = some(2 * AT_ONCE + 51)
    used_first(world, table, keys, monkeypatch)
    assert table.sizes() == [1, AT_ONCE, AT_ONCE, 50]
    assert {left(world, one) for one in keys} == {BUDGET - SPENT}
    assert table.looks == []


def test_where_many_come_they_gather_for_the_next_look(world, table, monkeypatch):
    pausing, paused = threading.Event(), threading.Event()

    def sleep(seconds):
        pausing.set()
        paused.wait(20)

    monkeypatch.setattr(budgets, "time", SimpleNamespace(sleep=sleep))
    keys = some(9)
    monkeypatch.setattr(budgets, "PATIENCE", 0)
    table.open.clear()
    use(world, keys[:1])
    assert table.asked.wait(20)
    use(world, keys[1:3])
    table.open.set()
    assert pausing.wait(20)
    use(world, keys[3:])
    paused.set()
    until(lambda: not world.limits.budgets.seeding)
    assert table.sizes() == [1, 2, 6]


def test_keys_that_come_alone_wait_for_no_others(world, table, monkeypatch):
    monkeypatch.setattr(budgets, "time", None)
    assert {left(world, one) for one in some(3)} == {BUDGET - SPENT}
    assert table.sizes() == [1, 1, 1]


def test_periods_that_began_at_other_times_are_looked_up_apart(world, table, monkeypatch):
    keys = [*some(1), *some(9, "month"), *some(8), *some(7, "total"), *some(6)]
    used_first(world, table, keys, monkeypatch)
    today = int(NOON) - DAY // 2
    looks = [(since, len(asked)) for since, asked in table.looks]
    assert looks == [(today, 1), (today - 14 * DAY, 9), (today, 14), (0, 7)]
    assert {left(world, one) for one in keys} == {BUDGET - SPENT}


def test_keys_used_one_after_the_other_are_each_known_at_once(world, monkeypatch):
    monkeypatch.setattr(budgets, "PATIENCE", 20)
    began = time.monotonic()
    assert {left(world, one) for one in some(200)} == {BUDGET - SPENT}
    assert time.monotonic() - began < 15


def test_keys_in_use_are_looked_up_again_together(world, table):
    keys = [*some(AT_ONCE + 20), *some(30, "total")]
    use(world, keys)
    for _ in range(2):
        table.looks.clear()
        world.clock.now += budgets.EVERY
        use(world, keys)
        world.limits.budgets.refresh()
        assert table.sizes() == [AT_ONCE, 20, 30]


def test_account_that_is_known_and_ready_is_not_looked_at_twice(world, monkeypatch):
    (one,) = some(1)
    name = world.limits.budgets.account(one)
    monkeypatch.setattr(world.limits.budgets, "ready", None)
    world.clock.now += 1
    assert world.limits.budgets.account(one) == name
    assert world.limits.budgets.accounts[one.id].used == world.clock.now


def test_what_a_database_cannot_sum_up_in_time_is_asked_for_in_parts(world, table):
    keys = some(AT_ONCE)
    use(world, keys)

    def slow(asked):
        if len(asked) > 30:
            raise errors.DependencyUnavailable()

    table.fault = slow
    world.clock.now += budgets.EVERY
    use(world, keys)
    table.looks.clear()
    for _ in range(3):
        world.limits.budgets.refresh()
    assert table.sizes() == [100, 50, 25, 26, 27, 22]
    table.fault = None
    for _ in range(AT_ONCE):
        table.looks.clear()
        world.clock.now += budgets.EVERY
        use(world, keys)
        world.limits.budgets.refresh()
    assert table.sizes() == [AT_ONCE]


def test_database_that_is_away_is_asked_once_and_lets_all_calls_go(world, table, monkeypatch):
    monkeypatch.setattr(budgets, "PATIENCE", 20)
    world.limits.budgets.at_once = 1

    def away(keys):
        raise errors.DependencyUnavailable()

    table.fault = away
    table.open.clear()
    keys = some(9)
    threads = [threading.Thread(target=use, args=(world, [one])) for one in keys]
    threads[0].start()
    assert table.asked.wait(20)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(world.limits.budgets.waiting) == 8)
    began = time.monotonic()
    table.open.set()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 15
    assert table.sizes() == [1, 1]  # of the first key, and of all that came meanwhile
    table.fault = None
    world.limits.budgets.refresh()
    assert {left(world, one) for one in keys} == {BUDGET - SPENT}


def test_thread_that_cannot_be_started_keeps_no_later_key_from_being_known(world, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    first, second = some(2)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(threading.Thread, "start", start)
        world.limits.budgets.account(first)
    assert [left(world, one) for one in (second, first)] == 2 * [BUDGET - SPENT]


@pytest.mark.parametrize(("changes", "looks"), [(0, 1), (1, 1), (2, 2)])
def test_store_that_changes_while_it_is_told_is_told_again(table, changes, looks):
    store = Changing(changes)
    found = Budgets(store, table.spent, clock=Clock())
    (one,) = some(1)
    for _ in range(3):
        found.account(one)
    last, asks = store.told[-1]
    assert (last, len(table.looks)) == (store.epoch, looks)
    assert [ask[0] for ask in asks] == ["seed"]
