"""Who has a call with an Idempotency-Key when its process dies or is to go."""

import threading
import time
from types import SimpleNamespace

import pytest

from gateway import errors, idempotency, sse
from gateway.idempotency import rows
from gateway.recordings import reader as reading
from tests.contracts.calling import (
    CALL,
    REFUSED,
    Answer,
    Processes,
    begun_at_once,
    change,
    joined,
    later,
    plainly,
)
from tests.contracts.test_recordings import event


class LeaseContract(Processes):
    """Tests of a subclass that names its `dialect`."""

    def test_of_many_calls_at_once_one_takes_a_dead_ones_place(self, mine, other):
        mine.begin(*CALL)
        change(mine, lease_until=1.0)
        assert sum(first for _, first in begun_at_once(mine, other)) == 1

    def test_owner_that_died_leaves_an_error_and_a_free_name(self, mine, other, monkeypatch):
        monkeypatch.setattr(reading, "PATIENCE", 0.05)
        row, _ = mine.begin(*CALL)
        with pytest.raises(errors.GatewayError) as found, later(joined, other, row):
            time.sleep(0.2)
            change(mine, lease_until=1.0)
        assert isinstance(found.value, errors.CallLost)
        assert (found.value.status, found.value.headers()["x-should-retry"]) == (503, "true")

        again, first = other.begin(*CALL[:3], "0" * 64)
        assert first and again["recording"] != row["recording"]

    @pytest.mark.parametrize("kept", [True, False])
    def test_owner_that_was_taken_for_dead_changes_nothing(self, mine, other, kept):
        old, _ = mine.begin(*CALL)
        change(mine, lease_until=1.0)
        new, _ = other.begin(*CALL)
        mine.database.write(lambda c: mine.end(c, old, kept))
        found, first = mine.begin(*CALL)
        assert (found["recording"], found["owner"], first) == (new["recording"], other.owner, False)

    def test_lease_lasts_while_the_call_runs(self, mine, other):
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        change(mine, lease_until=1.0)
        assert not other.alive(row)
        mine.beat()
        mine.beat()
        assert other.alive(row)
        answer.going.set()
        run.thread.join()
        mine.recordings.close()
        mine.beat()
        assert not mine.running and not other.alive(row)

    def test_call_that_runs_keeps_its_name_whatever_the_wall_clock_says(self, mine, other):
        row, _ = mine.begin(*CALL)
        change(mine, expires_at=1.0)
        found, first = other.begin(*CALL)
        assert (found["recording"], first, other.loops[1].batch()) == (row["recording"], False, 0)

        mine.database.write(lambda c: mine.end(c, row, True))
        assert other.loops[1].batch() == 1

    def test_name_of_a_dead_owner_is_swept_when_it_has_run_out(self, mine, other):
        mine.begin(*CALL)
        change(mine, expires_at=1.0, lease_until=1.0)
        assert other.loops[1].batch() == 1

    def test_call_that_is_just_being_started_is_known(self, mine, monkeypatch):
        class Slow(threading.Thread):
            def start(self):
                mine.beat()
                super().start()

        monkeypatch.setattr(idempotency, "threading", SimpleNamespace(Thread=Slow))
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        assert mine.running == {run} and mine.busy() == [run]
        answer.going.set()
        run.thread.join()
        assert not mine.busy()

    def test_lease_lasts_until_the_end_is_written(self, mine, monkeypatch):
        row, _ = mine.begin(*CALL)
        run = mine.start(row, Answer(error=REFUSED), lambda: None)
        run.writer.flusher.forget(run.writer)
        run.thread.join()
        if run.writer.pending:
            change(mine, lease_until=1.0)
            mine.beat()
            assert mine.running == {run}

    def test_row_that_nobody_knows_of_is_freed(self, mine, other):
        stray = (*CALL[:2], "stray", CALL[3])
        mine.begin(*stray)
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        mine.beat()
        assert not other.begin(*stray)[1]
        mine.beat()
        assert other.begin(*stray)[1]
        assert not other.begin(*CALL)[1]
        answer.going.set()
        run.thread.join()

    def test_drain_waits_for_what_runs(self, mine):
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        mine.start(row, answer, lambda: None)
        threading.Timer(0.3, answer.going.set).start()
        mine.drain(30)
        mine.recordings.close()
        assert joined(mine, row)[2:] == (event(0) + sse.DONE, "done")

    def test_what_a_drain_ends_is_said_to_be_cut_and_its_name_is_free(self, mine, other):
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), event(1), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        got = iter(run.live.taken(plainly))
        assert next(got) == event(0)
        run.watch.gone = True
        answer.going.set()
        with pytest.raises(errors.ServerDraining):
            next(got)
        run.thread.join()
        mine.recordings.close()
        assert joined(other, row)[2:] == (event(0), "cut")
        assert other.begin(*CALL)[1]


class TestSQLite(LeaseContract):
    dialect = "sqlite"


class TestPostgreSQL(LeaseContract):
    dialect = "postgresql"

    # SQLite has one writer at a time, and nothing ends between its looks.
    @pytest.mark.parametrize("ends", [True, False])
    def test_call_that_ends_or_wakes_as_it_is_taken_for_dead_is_not_made_again(
        self, mine, other, monkeypatch, ends
    ):
        row, _ = mine.begin(*CALL)
        change(mine, lease_until=1.0)
        free, looks = rows.free, []

        def late(connection, found, now):
            looks.append(free(connection, found, now))
            if looks == [True] and ends:
                mine.database.write(lambda c: mine.end(c, row, True))
            elif looks == [True]:
                change(mine, lease_until=found["expires_at"])
            return looks[-1]

        monkeypatch.setattr(rows, "free", late)
        again, first = other.begin(*CALL)
        assert (again["recording"], first) == (row["recording"], False)
        assert looks == [True, False]
