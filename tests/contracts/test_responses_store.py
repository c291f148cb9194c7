"""What the stored responses promise over every database."""

import threading
import time
from functools import partial

import pytest
import sqlalchemy as sa

from gateway import errors, stored
from gateway.database import Database
from gateway.stored import Stored
from tests.contracts.keeping import HOUR, Clock, conversation, held, named, put, response, said

HELD_UP = sa.text(
    "select exists (select from pg_locks where not granted "
    "and pg_backend_pid() = any(pg_blocking_pids(pid)))"
)


def wait_for(holds):
    deadline = time.monotonic() + 4
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class StoredContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def store(self, database, clock):
        return Stored(database, 1, clock)

    @pytest.fixture
    def other(self, store, clock):
        """The store of another process."""
        found = Database(store.database.url)
        yield Stored(found, 1, clock)
        found.close()

    def test_response_is_read_by_every_process_as_it_was_put(self, store, other):
        assert put(store, 1)

        assert other.get("mine", named(1)) == response(1)
        assert list(other.get("mine", named(1))) == list(response(1))
        assert other.items("mine", named(1)) == [said(1)]

    def test_text_of_every_kind_comes_back(self, store):
        text = "\0 \u2028 é 😀 \\u0000 \x7f"
        assert put(store, 1, text=text)
        assert store.get("mine", named(1))["output"][0]["content"] == text

    @pytest.mark.parametrize("way", ["get", "items", "history", "delete"])
    def test_response_of_another_key_is_none(self, store, way):
        put(store, 1)
        assert not getattr(store, way)("yours", named(1))
        assert not getattr(store, way)("", named(1))
        assert store.get("mine", named(1))

    @pytest.mark.parametrize("way", ["get", "items", "history", "delete"])
    @pytest.mark.parametrize("id", ["", "resp_x", "\0", "resp_\ud800", named(9), named(1) + "\n"])
    def test_unknown_id_is_none(self, store, way, id):
        put(store, 1)
        assert not getattr(store, way)("mine", id)

    def test_history_is_all_that_was_said_before(self, store, other):
        put(store, 1)
        put(other, 2, 1)
        put(store, 3, 2)

        found = other.history("mine", named(3))
        assert found.items == conversation(1, 2, 3) + response(3)["output"]
        assert store.items("mine", named(3)) == conversation(1, 2, 3)
        assert found.links == 3

    def test_conversation_may_fork(self, store):
        put(store, 1)
        put(store, 2, 1)
        put(store, 3, 1)

        assert store.items("mine", named(2)) == conversation(1, 2)
        assert store.items("mine", named(3)) == conversation(1, 3)

    def test_long_conversation_is_read_from_few_rows(self, store, monkeypatch):
        monkeypatch.setattr(stored, "LINKS", 3)
        put(store, 0)
        for number in range(1, 10):
            put(store, number, number - 1)

            found = store.history("mine", named(number))
            assert found.items == conversation(*range(number + 1)) + response(number)["output"]
            assert found.links <= 3

    def test_commas_in_what_was_said_make_no_conversation_too_long(self, store, monkeypatch):
        monkeypatch.setattr(stored, "DENSEST", 25)
        put(store, 1, text='a,b;[{"c",\\' * 50)
        assert store.history("mine", named(1)).items

    @pytest.mark.parametrize("bound", [("LONGEST", 400), ("DENSEST", 25)])
    def test_conversation_that_grew_too_long_is_refused_in_a_sentence(
        self, store, monkeypatch, bound
    ):
        monkeypatch.setattr(stored, *bound)
        put(store, 1)
        put(store, 2, 1)
        with pytest.raises(errors.InvalidValue) as found:
            put(store, 3, 2, text="x" * 400)
            store.history("mine", named(3))

        assert (found.value.param, found.value.code) == (
            "previous_response_id", "context_length_exceeded",
        )  # fmt: skip
        assert store.items("mine", named(3)) == conversation(1, 2, 3)

    def test_response_that_is_too_large_is_not_stored(self, store, monkeypatch):
        monkeypatch.setattr(stored, "LARGEST", 400)
        assert put(store, 1)
        assert not put(store, 2, text="x" * 400)
        assert held(store) == {1}

    @pytest.mark.parametrize("status", ["x" * 99, None, 5, {}])
    def test_status_of_any_kind_is_stored(self, store, status):
        assert put(store, 1, status=status)
        assert store.get("mine", named(1))["status"] == status

    def test_response_is_gone_after_its_hours(self, store, clock):
        put(store, 1)
        clock.now += HOUR - 1
        assert store.get("mine", named(1))
        clock.now += 1

        assert store.get("mine", named(1)) is None
        assert store.history("mine", named(1)) is None
        assert not store.delete("mine", named(1))
        store.sweep(threading.Event())
        assert held(store) == set()

    def test_conversation_outlives_its_first_turn(self, store, clock):
        put(store, 1)
        clock.now += HOUR / 2
        put(store, 2, 1)
        clock.now += HOUR / 2

        store.sweep(threading.Event())
        assert store.get("mine", named(1)) is None
        assert store.items("mine", named(2)) == conversation(1, 2)
        clock.now += HOUR / 2
        store.sweep(threading.Event())
        assert held(store) == set()

    def test_turn_whose_past_runs_out_while_it_is_answered_keeps_it(self, store, clock):
        put(store, 1)
        before = store.history("mine", named(1))
        clock.now += HOUR
        store.sweep(threading.Event())
        assert held(store) == set()

        assert store.put("mine", response(2), [said(2)], named(1), before)
        assert store.items("mine", named(2)) == conversation(1, 2)

    def test_deleted_response_is_nobody_s_and_leaves_the_database_at_once(self, store, other):
        put(store, 1)
        assert store.delete("mine", named(1))

        assert other.get("mine", named(1)) is None
        assert not other.delete("mine", named(1))
        assert held(store) == set()

    def test_deleted_turn_stays_in_the_past_of_later_ones_alone(self, store):
        put(store, 1)
        put(store, 2, 1)
        assert store.delete("mine", named(1))

        assert store.get("mine", named(1)) is None
        assert store.history("mine", named(1)) is None
        assert store.items("mine", named(2)) == conversation(1, 2)
        put(store, 3, 2)
        assert store.items("mine", named(3)) == conversation(1, 2, 3)
        for number in (2, 3):
            assert store.delete("mine", named(number))
        store.sweep(threading.Event())
        assert held(store) == set()

    def test_sweep_goes_through_more_than_a_batch(self, store, clock, monkeypatch):
        monkeypatch.setattr("gateway.sweeping.PAUSE", 0)
        for number in range(stored.BATCH + 20):
            put(store, number)
        for number in range(1000, 1005):
            put(store, number, number - 1 if number > 1000 else None)
        clock.now += HOUR
        put(store, 1)  # the same id again would be a fault, so it is not stored
        put(store, 2000)

        store.sweep(threading.Event())
        assert held(store) == {2000}

    def test_sweep_takes_no_more_at_once_than_the_database_has_time_for(
        self, store, clock, monkeypatch
    ):
        for number in range(5):
            put(store, number, text="x" * 1000)
        size = store.row("mine", response(1, text="x" * 1000), [said(1)])["size"]
        clock.now += HOUR

        def purged(weight):
            monkeypatch.setattr(stored, "WEIGHT", weight)
            return store.database.write(partial(stored.purge, now=clock.now))

        assert [purged(weight) for weight in (1, 2 * size, 9 * size, 1)] == [1, 2, 2, 0]

    def test_same_id_is_stored_once(self, store):
        assert put(store, 1)
        assert not put(store, 1, text="other")
        assert store.get("mine", named(1)) == response(1)

    @pytest.mark.parametrize("bound", [("MOST", 3), ("MOST_BYTES", 800)])
    def test_oldest_of_a_key_go_beyond_its_bound(self, store, clock, monkeypatch, bound):
        monkeypatch.setattr(stored, *bound)
        monkeypatch.setattr(stored, "BATCH", 2)
        monkeypatch.setattr("gateway.sweeping.PAUSE", 0)
        put(store, 100, key="yours")
        for number in range(9):
            clock.now += 1
            put(store, number)

        store.sweep(threading.Event())
        assert held(store) == {6, 7, 8, 100}

    def test_turns_that_a_newer_one_builds_on_stay_within_the_bound(
        self, store, clock, monkeypatch
    ):
        monkeypatch.setattr(stored, "MOST", 1)
        for number in range(3):
            clock.now += 1
            put(store, number, number - 1 if number else None)

        store.sweep(threading.Event())
        assert store.items("mine", named(2)) == conversation(0, 1, 2)
        assert store.get("mine", named(1)) is None

    def test_many_put_read_and_sweep_at_once(self, store, other):
        faults = []

        def work(mine, first):
            try:
                for number in range(first, first + 15):
                    assert put(mine, number, number - 1 if number > first else None)
                    assert mine.get("mine", named(number))
                    mine.sweep(threading.Event())
                assert mine.delete("mine", named(first))
                assert mine.items("mine", named(number)) == conversation(*range(first, first + 15))
            except BaseException as exc:
                faults.append(exc)

        threads = [
            threading.Thread(target=work, args=(mine, first))
            for mine, first in [(store, 100), (other, 200), (store, 300), (other, 400)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


class TestSQLite(StoredContract):
    dialect = "sqlite"

    def test_nothing_is_stored_for_a_while_once_the_database_was_away(
        self, store, clock, tmp_path, caplog
    ):
        store.ticks = ticks = Clock()
        path = tmp_path / "gateway.db"
        put(store, 1)
        path.rename(path.with_suffix(".away"))
        assert not put(store, 2)
        with pytest.raises(errors.DependencyUnavailable):
            store.history("mine", named(1))
        path.with_suffix(".away").rename(path)

        assert not put(store, 3)
        assert caplog.messages.count("a response was not stored, because the database is away") == 1
        clock.now += stored.REST  # a date that was put right is no time that has passed
        assert not put(store, 3)
        ticks.now += stored.REST
        assert put(store, 4)
        assert held(store) == {1, 4}


class TestPostgreSQL(StoredContract):
    dialect = "postgresql"

    def test_turn_that_is_stored_while_its_past_is_deleted_keeps_it(self, store, other):
        put(store, 1)
        before, row = store.history("mine", named(1)), store.row("mine", response(2), [said(2)])
        deleting = threading.Thread(target=other.delete, args=("mine", named(1)))

        def insert(connection):
            stored.insert(connection, row, named(1), before)
            deleting.start()
            wait_for(lambda: connection.scalar(HELD_UP))  # our lock holds the deletion up

        store.database.write(insert)
        deleting.join()
        assert store.get("mine", named(1)) is None
        assert store.items("mine", named(2)) == conversation(1, 2)

    def test_sweep_passes_over_what_a_turn_is_just_stored_behind(self, store, other, clock):
        put(store, 1)
        before, row = store.history("mine", named(1)), store.row("mine", response(2), [said(2)])
        row["expires_at"] += HOUR

        def insert(connection):
            stored.insert(connection, row, named(1), before)
            clock.now += HOUR
            other.sweep(threading.Event())

        store.database.write(insert)
        other.sweep(threading.Event())
        assert held(store) == {1, 2}
        assert store.items("mine", named(2)) == conversation(1, 2)
