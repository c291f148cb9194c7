"""The sliding windows of a local store, by a clock in hand."""

import itertools
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from gateway.limits.stores.local import Local

NOON = 1_800_014_400.0  # the beginning of a minute
MINUTE = 60
names = itertools.count(1)
AMOUNT = st.integers(1, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hit"), AMOUNT, st.none() | AMOUNT),
        st.tuples(st.just("wait"), st.floats(0, 90)),
        st.tuples(st.just("add"), AMOUNT),
        st.tuples(st.just("give back"), st.integers(0, 20)),
    ),
    max_size=25,
)


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def store(tmp_path_factory, clock):
    found = Local(tmp_path_factory.mktemp("limits"), clock=clock)
    yield found
    found.close()


@pytest.fixture
def name(clock):
    clock.now = NOON
    return f"tpm:{next(names)}"


class Model:
    """What was counted in each minute, weighed by the formula."""

    def __init__(self):
        self.minutes = {}

    def add(self, now, amount):
        minute = now // MINUTE
        self.minutes[minute] = max(self.minutes.get(minute, 0) + amount, 0)

    def counted(self, now):
        before = self.minutes.get(now // MINUTE - 1, 0)
        left = MINUTE - now % MINUTE
        return floor(before * left / MINUTE) + self.minutes.get(now // MINUTE, 0)


def test_windows_count_as_the_model_does(store, clock):
    @settings(max_examples=150, deadline=None)
    @given(st.integers(1, 60), STEPS)
    def compare(limit, steps):
        model, name, taken = Model(), f"tpm:{next(names)}", []
        clock.now = NOON
        for step, amount, *least in steps:
            if step == "wait":
                clock.now += amount
            elif step == "hit":
                left = limit - model.counted(clock.now)
                given = amount
                if amount > left:
                    given = left if least[0] is not None and left >= least[0] else 0
                window = store.hit(name, limit, MINUTE, amount, least[0])
                assert window[:2] == (given, max(left - given, 0))
                if given:
                    taken.append(window)
                    model.add(clock.now, given)
            elif step == "add":
                store.add(name, MINUTE, amount)
                model.add(clock.now, amount)
            elif taken:
                window = taken.pop(amount % len(taken))
                store.add(name, MINUTE, -window.taken, window)
                model.add(window.at, -window.taken)
            left = max(limit - model.counted(clock.now), 0)
            assert store.look(name, limit, MINUTE).remaining == left

    compare()


def test_who_waits_for_the_reset_passes_and_who_does_not_wait_does_not(store, clock):
    @settings(max_examples=150, deadline=None)
    @given(
        st.integers(1, 1000),
        st.integers(0, 1500),
        st.integers(0, 1500),
        st.floats(0, 119),
        st.integers(1, 1000),
        st.none() | st.integers(1, 1000),
    )
    def compare(limit, before, current, ago, amount, least):
        name, needed = f"tpm:{next(names)}", amount if least is None else least
        clock.now = NOON
        store.add(name, MINUTE, before)
        clock.now += ago
        store.add(name, MINUTE, current)
        window, asked = store.hit(name, limit, MINUTE, amount, least), clock.now
        if window.taken or needed > limit:
            clock.now = asked + window.reset
            assert store.look(name, limit, MINUTE).remaining == limit
            return
        clock.now = asked + window.reset - 0.01
        if clock.now > asked:
            assert store.look(name, limit, MINUTE).remaining < needed
        clock.now = asked + window.reset
        assert store.hit(name, limit, MINUTE, needed).taken == needed

    compare()


def test_reset_after_a_hit_that_passed_is_when_the_window_is_empty(store, clock, name):
    window = store.hit(name, 100, MINUTE, 100)
    assert window.reset == pytest.approx(120 - 60 / 100, abs=0.01)
    clock.now += window.reset - 0.01
    assert store.look(name, 100, MINUTE).remaining == 99
    clock.now += 0.01
    assert store.look(name, 100, MINUTE)[:3] == (0, 100, 0)


@pytest.mark.parametrize("step", [0.001, 1, 59, 60, 61, 3600, 10**8])
def test_clock_put_back_locks_nobody_out_for_longer_than_a_window(store, clock, name, step):
    clock.now = NOON - 0.5
    store.hit(name, 100, MINUTE, 100)
    clock.now = NOON + 0.0005
    store.hit(name, 100, MINUTE)
    assert store.hit(name, 100, MINUTE).taken == 0
    clock.now -= step

    refused = store.hit(name, 100, MINUTE)
    assert refused.taken == 0
    assert refused.reset <= MINUTE + 1
    clock.now += refused.reset
    assert store.hit(name, 100, MINUTE).taken == 1


@pytest.mark.parametrize("step", [1, 61, 3600])
def test_clock_put_back_loses_no_settlement(store, clock, name, step):
    window = store.hit(name, 100, MINUTE, 50)
    clock.now -= step
    store.add(name, MINUTE, -20, window)
    store.add(name, MINUTE, 5)
    assert store.look(name, 100, MINUTE).remaining == 65


def test_clock_put_forward_begins_anew(store, clock, name):
    store.hit(name, 100, MINUTE, 100)
    clock.now += 10**8
    assert store.hit(name, 100, MINUTE, 100).taken == 100


@pytest.mark.parametrize("later, left", [(0, 90), (59, 90), (90, 95), (119, 99), (125, 100)])
def test_what_is_given_back_goes_back_to_its_own_window(store, clock, name, later, left):
    window = store.hit(name, 100, MINUTE, 80)
    store.hit(name, 100, MINUTE, 10)
    clock.now += later
    store.add(name, MINUTE, -80, window)
    assert store.look(name, 100, MINUTE).remaining >= left
    if later > MINUTE:
        store.add(name, MINUTE, 7)
        store.add(name, MINUTE, -80, window)
        assert store.look(name, 100, MINUTE).remaining == 100 - 7


def test_window_of_another_length_begins_anew(store, name):
    store.hit(name, 100, MINUTE, 100)
    assert store.hit(name, 100, 30, 100).taken == 100


def test_limits_itself_counts_on_the_same_records(tmp_path, clock):
    storage = storage_from_string(f"gateway+lmdb://{tmp_path}", clock=clock)
    store = Local(tmp_path, clock=clock)
    limiter, item = SlidingWindowCounterRateLimiter(storage), RateLimitItemPerMinute(10)
    name = item.key_for("x")
    clock.now = NOON
    try:
        assert limiter.hit(item, "x", cost=4)
        assert store.hit(name, 10, MINUTE, 5).taken == 5
        assert limiter.test(item, "x") and not limiter.test(item, "x", cost=2)
        assert not limiter.hit(item, "x", cost=2)
        clock.now += 90
        assert limiter.get_window_stats(item, "x").remaining == 6
        assert store.look(name, 10, MINUTE).remaining == 6
        limiter.clear(item, "x")
        assert store.look(name, 10, MINUTE).remaining == 10
        assert storage.check() and limiter.hit(item, "x") and storage.reset() == 1
    finally:
        store.close()
        storage.records.close()
