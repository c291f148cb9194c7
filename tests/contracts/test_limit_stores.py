"""What every store of limits promises, on one machine and over Redis."""

import random
import threading
import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.limits.stores.processes import COUNT, SIT, begin
from tests.redis_server import shared_redis  # noqa: F401

HOUR = 3600
LONG = 10**6  # seconds; so that no window ends within a test
AMOUNT = st.integers(0, 12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 1), AMOUNT, st.none() | AMOUNT),
        st.tuples(st.just("settle"), st.integers(0, 20), AMOUNT),
        st.tuples(st.just("seed"), st.integers(0, 1), AMOUNT),
    ),
    max_size=30,
)


def fresh(kind):
    return f"{kind}:{uuid.uuid4().hex}"


class StoreContract:
    """Tests of a subclass whose fixture `another` returns one more process's store."""

    @pytest.fixture
    def store(self, another):
        return another()

    @pytest.mark.parametrize("kind", ["rpm", "tpm"])
    def test_window_takes_its_limit_and_no_more(self, store, another, kind):
        name, other = fresh(kind), another()

        assert [store.hit(name, 3, LONG)[:2] for _ in range(2)] == [(1, 2), (1, 1)]
        assert other.hit(name, 3, LONG)[:2] == (1, 0)
        assert store.hit(name, 3, LONG)[:2] == (0, 0)
        assert store.look(name, 3, LONG)[:2] == (0, 0)
        assert store.look(fresh(kind), 3, LONG)[:3] == (0, 3, 0)

    @pytest.mark.parametrize("kind", ["rpm", "tpm"])
    def test_amount_that_does_not_fit_counts_nothing(self, store, kind):
        name = fresh(kind)
        assert store.hit(name, 10, LONG, 8).taken == 8
        assert store.hit(name, 10, LONG, 3)[:2] == (0, 2)
        assert store.hit(name, 10, LONG, 2)[:2] == (2, 0)
        assert store.hit(fresh(kind), 10, LONG, 11)[:2] == (0, 10)

    @pytest.mark.parametrize(
        "amount, least, taken",
        [(5, 3, 4), (5, 4, 4), (5, 5, 0), (5, None, 0), (4, 4, 4), (3, 1, 3), (9, 0, 4)],
    )
    def test_hit_takes_what_is_left_if_that_is_enough(self, store, amount, least, taken):
        name = fresh("tpm")
        store.hit(name, 10, LONG, 6)
        assert store.hit(name, 10, LONG, amount, least)[:2] == (taken, 4 - taken)

    def test_least_of_nothing_is_refused(self, store):
        name = fresh("tpm")
        store.hit(name, 10, LONG, 10)
        assert store.hit(name, 10, LONG, 5, 0).taken == 0

    @pytest.mark.parametrize("kind", ["rpm", "tpm"])
    def test_add_counts_beyond_the_limit_and_gives_back_to_zero(self, store, kind):
        name = fresh(kind)
        window = store.hit(name, 10, LONG, 4)
        store.add(name, LONG, 9)
        assert store.hit(name, 100, LONG, 0).remaining == 87

        store.add(name, LONG, -4, window)
        assert store.look(name, 100, LONG).remaining == 91
        store.add(name, LONG, -50)
        assert store.look(name, 100, LONG)[:3] == (0, 100, 0)

    def test_add_to_a_window_that_holds_nothing(self, store):
        down, up = fresh("tpm"), fresh("tpm")
        store.add(down, LONG, -5)
        store.add(up, LONG, 5)
        assert (store.look(down, 10, LONG).remaining, store.look(up, 10, LONG).remaining) == (10, 5)

    def test_numbers_beyond_all_sense_stay_numbers(self, store):
        name = fresh("tpm")
        store.add(name, LONG, 10**30)
        store.add(name, LONG, 10**30)
        assert store.hit(name, 10**30, LONG, 1).remaining >= 0
        store.settle(name, None, 10**30)
        store.settle(name, None, 10**30)
        store.seed(name, 10**30, time.time() + HOUR)
        assert store.take(name, 10**30, 10**30).amount == 0

    @pytest.mark.parametrize("name", ["tpm:", "tpm:é\0 {x}", "tpm:" + "x" * 2000])
    def test_names_of_every_kind_are_told_apart(self, store, name):
        name += uuid.uuid4().hex
        store.hit(name, 2, LONG, 2)
        store.take(name, 2, 2)
        assert (store.hit(name, 2, LONG).taken, store.take(name, 2, 1).amount) == (0, 0)
        assert (store.hit(name + "y", 2, LONG).taken, store.take(name + "y", 2, 1).amount) == (1, 1)

    @pytest.mark.parametrize("kind", ["rpm", "tpm"])
    def test_who_waits_for_the_reset_passes(self, store, kind):
        for _ in range(5):  # A machine that stops for a second may let the second one pass.
            name = fresh(kind)
            store.hit(name, 5, 1, 5)
            refused = store.hit(name, 5, 1, 2)
            if not refused.taken:
                break
        assert refused.taken == 0 and 0 < refused.reset <= 2.1

        time.sleep(refused.reset)
        assert store.hit(name, 5, 1, 2).taken == 2

    def test_what_was_counted_in_an_earlier_window_is_given_back_to_that(self, store):
        name = fresh("tpm")
        time.sleep(1 - time.time() % 1)
        window = store.hit(name, 100, 1, 80)
        time.sleep(1.05)
        store.hit(name, 100, 1, 20)

        store.add(name, 1, -80, window)
        assert store.look(name, 100, 1).remaining == 80

    def test_places_are_shared_and_free_again(self, store, another):
        name, other = fresh("slots"), another()
        first, second = store.take(name, 2, 1), other.take(name, 2, 1)
        assert (first[:2], second[:2]) == ((1, 1), (1, 0))
        assert store.take(name, 2, 1)[:2] == other.take(name, 2, 1)[:2] == (0, 0)

        store.settle(name, first)
        assert other.take(name, 2, 1).amount == 1
        assert store.take(name, 2, 1).amount == 0

    def test_money_is_held_and_then_spent(self, store, another):
        name, other = fresh("budget"), another()
        store.seed(name, 40, time.time() + HOUR)
        held = store.take(name, 100, 50)
        assert held[:2] == (50, 10)
        assert other.take(name, 100, 50, 11)[:2] == (0, 10)
        rest = other.take(name, 100, 50, 10)
        assert rest[:2] == (10, 0)

        store.settle(name, held, 5)
        other.settle(name, rest, 10)
        assert store.take(name, 100, 100, 1)[:2] == (45, 0)

    def test_seed_only_ever_raises_what_is_spent(self, store, another):
        name, other = fresh("budget"), another()
        for spent in (30, 10, 20):
            store.seed(name, spent, time.time() + HOUR)
        store.settle(name, None, 5)
        store.seed(name, 33, float("inf"))
        assert other.take(name, 100, 100, 1).amount == 65

    def test_account_of_a_period_that_is_over_is_empty(self, store):
        name = fresh("budget")
        store.seed(name, 90, time.time() - 1)
        assert store.take(name, 100, 100).amount == 100

    def test_what_a_store_held_is_free_once_it_is_closed(self, store, another):
        name, other = fresh("slots"), another()
        taken = other.take(name, 3, 3)
        assert store.take(name, 3, 1).amount == 0
        other.close()
        assert store.take(name, 3, 3).amount == 3

        other.settle(name, taken, 0)
        assert store.take(name, 3, 1).amount == 0

    def test_any_takes_and_settlements_keep_to_the_model(self, store, another):
        stores = store, another()

        @settings(max_examples=60, deadline=None)
        @given(STEPS)
        def compare(steps):
            self.compare(stores, fresh("budget"), steps)

        compare()

    def compare(self, stores, name, steps):
        spent, held, limit = 0, [], 20
        for step, which, *rest in steps:
            left = limit - spent - sum(taken.amount for _, taken in held)
            if step == "take":
                amount, least = rest
                given = amount
                if amount > left:
                    given = left if least is not None and left >= max(least, 1) else 0
                taken = stores[which].take(name, limit, amount, least)
                assert taken[:2] == (given, max(left - given, 0))
                if given:
                    held.append((which, taken))
            elif step == "seed":
                spent = max(spent, rest[0])
                stores[which].seed(name, rest[0], time.time() + HOUR)
            else:
                owner, taken = held.pop(which % len(held)) if held else (0, None)
                stores[owner].settle(name, taken, rest[0])
                spent += rest[0]

    @pytest.mark.parametrize("kind", ["rpm", "tpm"])
    def test_four_processes_count_exactly(self, place, kind):
        name = fresh(kind)
        running = [begin(COUNT, *place, name, 5000, 2500) for _ in range(4)]
        counts = [int(process.communicate(timeout=120)[0]) for process in running]
        assert sum(counts) == 5000

    def test_kills_leave_no_place_taken_and_none_taken_twice(self, place, another, tmp_path):
        name, seed = fresh("slots"), random.Random(7)
        running, ended, said = [], [], []

        def sit():
            running.append(begin(SIT, *place, name, tmp_path))

        try:
            for _ in range(4):
                sit()
            for _ in range(10):
                # Who says so has a place again, or has just had one.
                said.append(running[0].stdout.readline().strip())
                time.sleep(seed.uniform(0.05, 0.3))
                ended.append(running.pop(0))
                ended[-1].kill()
                sit()
        finally:
            for process in running:
                process.kill()
            for process in ended + running:
                said += process.communicate()[0].splitlines()
        assert set(said) == {"sat"} and len(said) > 50

        store, deadline = another(), time.monotonic() + 20
        while store.take(name, 3, 3).amount < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)


class TestLocal(StoreContract):
    @pytest.fixture
    def place(self, tmp_path):
        return "local", tmp_path / "limits"

    @pytest.fixture
    def another(self, place):
        from gateway.limits.stores.local import Local

        made = []
        yield lambda: made.append(Local(place[1])) or made[-1]
        for store in made:
            store.close()


@pytest.mark.live
class TestShared(StoreContract):
    @pytest.fixture
    def place(self, shared_redis):  # noqa: F811
        return "shared", f"{shared_redis.url}|{uuid.uuid4().hex}:"

    @pytest.fixture
    def another(self, place):
        from gateway.limits.stores.shared import Shared

        made, stop = [], threading.Event()
        url, _, prefix = place[1].partition("|")

        def make():
            made.append(Shared(url, prefix))
            threading.Thread(target=made[-1].run, args=(stop,), daemon=True).start()
            return made[-1]

        yield make
        stop.set()
        for store in made:
            store.close()
