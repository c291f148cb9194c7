import threading
import time

import pytest

from gateway import errors
from gateway.limits import budgets
from tests.limits.counted import NOON, Clock, World, call, key

DAY = 86400


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, budget=1_000_000)
    made.limits.budgets.ticks = made.clock
    yield made
    made.limits.close()


def test_first_take_knows_what_the_table_says(world):
    world.rows = 950_000
    with pytest.raises(errors.InsufficientQuota):
        world.ticket().reserve(call(max_tokens=10))
    assert world.account() == 50_000


def test_table_that_knows_less_takes_nothing_back(world):
    ticket = world.ticket()
    ticket.reserve(call(max_tokens=10))
    ticket.settle(None, 600_000)
    world.rows = 100_000
    world.clock.now += budgets.EVERY
    world.ticket().reserve(call(size=4, max_tokens=1))
    world.limits.budgets.refresh()
    assert world.account() < 400_000


@pytest.mark.parametrize(
    ("period", "later", "name"),
    [
        ("day", DAY, int(NOON - DAY / 2)),
        ("week", 7 * DAY, int(NOON - 4.5 * DAY)),
        ("total", 400 * DAY, 0),
    ],
)
def test_each_period_has_an_account_of_its_own(world, period, later, name):
    mine = key(world.key.id, period=period, budget=5)
    first = world.limits.budgets.account(mine)
    assert first == f"budget:{world.key.id}:{name}"
    assert world.limits.budgets.account(mine) == first
    world.clock.now += later
    assert (world.limits.budgets.account(mine) == first) is (period == "total")


def test_next_period_begins_with_nothing_spent(world):
    ticket = world.ticket()
    ticket.reserve(call(max_tokens=10))
    ticket.settle(None, 1_000_000)
    assert world.account() == 0 or pytest.fail("the budget is not spent")
    world.clock.now += DAY / 2 - 1
    with pytest.raises(errors.InsufficientQuota):
        world.ticket().reserve(call(max_tokens=10))
    world.clock.now += 1
    world.ticket().reserve(call(max_tokens=10))


def test_clock_that_was_ahead_for_a_moment_leaves_no_empty_account_behind(world):
    ticket = world.ticket()
    ticket.reserve(call(max_tokens=10))
    ticket.settle(None, 1_000_000)
    today = world.limits.budgets.account(world.key)
    world.clock.now += DAY
    world.ticket().reserve(call(max_tokens=10))
    world.clock.now -= DAY
    assert world.limits.budgets.account(world.key) == today
    with pytest.raises(errors.InsufficientQuota):
        world.ticket().reserve(call(max_tokens=10))


def test_call_over_the_end_of_its_period_is_settled_where_it_was_reserved(world):
    ticket = world.ticket()
    ticket.reserve(call(max_tokens=10))
    before = world.limits.budgets.account(world.key)
    world.clock.now += DAY
    assert world.account() == 1_000_000
    ticket.settle(None, 700_000)
    assert world.account() == 1_000_000
    assert ticket.account == before


def test_changed_period_is_another_account_at_once(world):
    world.rows = 0
    daily = world.limits.budgets.account(world.key)
    monthly = world.limits.budgets.account(key(world.key.id, period="month", budget=5))
    assert daily != monthly


@pytest.mark.parametrize("fault", [errors.DependencyUnavailable(), ZeroDivisionError()])
def test_table_that_is_away_refuses_no_call_and_heals(world, fault):
    world.rows = fault
    world.ticket().reserve(call(max_tokens=10))
    assert world.account() == 860_000
    world.limits.budgets.refresh()
    world.rows = 900_000
    world.limits.budgets.refresh()
    assert world.account() == 0
    with pytest.raises(errors.InsufficientQuota):
        world.ticket().reserve(call(size=4, max_tokens=1))


def test_slow_table_holds_a_key_s_first_calls_up_for_a_moment_and_no_later_one(world, monkeypatch):
    monkeypatch.setattr(budgets, "PATIENCE", 0.05)
    answer = threading.Event()
    spent = 900_000
    world.limits.budgets.spent = lambda keys, since: answer.wait(20) and dict.fromkeys(keys, spent)
    world.ticket().reserve(call(max_tokens=10))
    waited = []
    monkeypatch.setattr(threading.Event, "wait", lambda *args: waited.append(args))
    world.ticket().reserve(call(max_tokens=10))
    monkeypatch.undo()
    assert waited == []
    answer.set()
    deadline = time.monotonic() + 10
    while world.account() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert world.account() == 0


def test_table_that_answers_holds_nobody_up(world, monkeypatch):
    monkeypatch.setattr(budgets, "PATIENCE", 20)
    began = time.monotonic()
    world.ticket().reserve(call(max_tokens=10))
    assert time.monotonic() - began < 15


def test_one_look_at_the_table_serves_all_first_calls(world):
    looks, entered = [], threading.Event()

    def spent(keys, since):
        looks.append(since)
        entered.wait(5)
        return dict.fromkeys(keys, 0)

    world.limits.budgets.spent = spent
    account = world.limits.budgets.account
    threads = [threading.Thread(target=account, args=(world.key,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    entered.set()
    for thread in threads:
        thread.join()
    assert len(looks) == 1


def test_keys_in_use_are_looked_at_twice_a_minute_and_idle_ones_not(world):
    looks = []
    world.limits.budgets.spent = lambda keys, since: looks.extend(keys) or dict.fromkeys(keys, 0)
    world.account()
    world.account()
    looks.clear()
    for _ in range(budgets.EVERY):
        world.clock.now += 1
        world.limits.budgets.account(world.key)
        world.limits.budgets.refresh()
    assert looks == [world.key.id]
    for _ in range(100):
        world.clock.now += 1
        world.limits.budgets.refresh()
    assert looks == [world.key.id]  # all that it was used is known
    world.clock.now += budgets.IDLE
    world.limits.budgets.refresh()
    assert world.limits.budgets.accounts == {}


def test_clock_that_is_put_back_keeps_no_key_from_being_looked_at(world):
    looks = []
    world.limits.budgets.spent = lambda keys, since: looks.extend(keys) or dict.fromkeys(keys, 0)
    world.limits.budgets.ticks = Clock(0)
    world.account()
    looks.clear()
    world.clock.now -= DAY / 4
    world.limits.budgets.ticks.now += budgets.EVERY
    world.account()
    world.limits.budgets.refresh()
    assert looks == [world.key.id]


def test_other_store_learns_from_the_table_before_it_lends_anything(world):
    world.account()
    world.rows = 950_000
    assert world.account() == 1_000_000
    world.store.close()  # the next use opens the store anew, and its epoch is another one
    world.store.look("rpm:x", 1, 60)
    assert world.account() == 50_000


def test_loop_survives_any_fault(world, monkeypatch):
    found = world.limits.budgets
    stop, calls = threading.Event(), []

    def refresh():
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        raise ZeroDivisionError()

    monkeypatch.setattr(found, "refresh", refresh)
    found.run(stop, interval=0)
    assert len(calls) == 3
