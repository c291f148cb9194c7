"""What recordings promise over every database."""

import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from gateway import errors, idling
from gateway.database import Database
from gateway.metrics import tally
from gateway.recordings import BROKEN, Broken, Recordings, flusher, rows, writer
from gateway.recordings import reader as reading
from gateway.tables import recordings as table
from gateway.upstreams.base import PING
from tests.contracts.keeping import HOUR, Clock


def event(number, text=b"x"):
    return b'data: {"n":%d,"text":"%b"}\n\n' % (number, text)


def stream(*numbers):
    return b"".join(event(number) for number in numbers)


@contextmanager
def running(recordings):
    """Run the loops of a process."""
    stop = threading.Event()
    threads = [threading.Thread(target=loop.run, args=(stop,)) for loop in recordings.loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)


def told(reader):
    return b"".join(reader)


def written(recordings, id="r"):
    query = sa.select(table).where(table.c.id == id).order_by(table.c.part)
    return recordings.database.read(lambda c: [row._asdict() for row in c.execute(query)])


class Away:
    """A database that can be taken away, and that can lose its answers."""

    def __init__(self, database):
        self.database, self.gone, self.forgetful = database, False, False

    def write(self, fn):
        if self.gone:
            raise errors.DependencyUnavailable()
        found = self.database.write(fn)
        if self.forgetful:
            raise errors.DependencyUnavailable()
        return found

    def read(self, fn):
        if self.gone:
            raise errors.DependencyUnavailable()
        return self.database.read(fn)


class RecordingsContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(flusher, "LOOK", 0.1)
        monkeypatch.setattr(idling, "IDLE", 0.1)

    @pytest.fixture
    def mine(self, database, clock):
        return Recordings(database, clock)

    @pytest.fixture
    def other(self, mine, clock):
        """The recordings of another process."""
        found = Database(mine.database.url)
        yield Recordings(found, clock)
        found.close()

    def test_events_are_read_by_every_process_as_they_were_added(self, mine, other):
        made = mine.writer("r")
        made.add(stream(0, 1))
        made.add(event(2, b"\x00\xff"))
        made.close()
        assert made.flush_now()

        reader = other.reader("r")
        assert told(reader) == stream(0, 1) + event(2, b"\x00\xff")
        assert (reader.end, reader.seen) == ("done", 2)
        assert told(other.reader("r")) == told(mine.reader("r"))

    def test_reader_gets_events_while_they_are_written(self, mine, other):
        with running(mine), running(other):
            made = mine.writer("r")
            blocks = iter(other.reader("r"))
            for number in range(5):
                made.add(event(number))
                assert next(blocks) == event(number)
            made.close()
            assert list(blocks) == []

    @pytest.mark.parametrize("rows_of", [[1] * 6, [6], [2, 4], [3, 3]])
    @pytest.mark.parametrize("after", range(-1, 8))
    def test_events_after_an_ordinal(self, mine, other, after, rows_of):
        made, numbers = mine.writer("r"), iter(range(6))
        for count in rows_of:
            made.add(b"".join(event(next(numbers)) for _ in range(count)))
            made.flush_now()
        made.close()
        made.flush_now()

        assert told(other.reader("r", after)) == stream(*range(max(after, -1) + 1, 6))

    def test_ordinal_that_no_database_can_count_to_is_none_to_wait_for(self, mine):
        made = mine.writer("r")
        made.add(event(0))
        made.close()
        made.flush_now()
        assert told(mine.reader("r", 10**30)) == b""

    def test_reader_of_what_is_yet_to_come_waits_for_it(self, mine, other):
        with running(mine), running(other):
            made = mine.writer("r")
            made.add(stream(0, 1))
            assert made.flush_now()
            found = []
            thread = threading.Thread(target=lambda: found.append(told(other.reader("r", 3))))
            thread.start()
            made.add(stream(2, 3, 4))
            made.add(stream(5))
            made.close()
            thread.join(10)
        assert found == [stream(4, 5)]

    @pytest.mark.parametrize("after", [-1, 0, 1, 2, 3])
    def test_event_larger_than_a_row_is_taken_apart_and_put_together(self, mine, other, after):
        large = [event(n, b"%d" % n * (n * writer.ROW)) for n in range(4)]
        made = mine.writer("r")
        made.add(large[0])
        made.add(b"".join(large[1:]))
        made.close()
        made.flush_now()

        assert all(len(row["data"]) <= writer.ROW for row in written(mine))
        assert mine.flusher.held == 0
        assert told(other.reader("r", after)) == b"".join(large[after + 1 :])

    def test_whole_body_counts_as_one(self, mine, other):
        body = bytes(range(256)) * 1000 + b"\n\n" + b"x" * 100
        made = mine.writer("r")
        made.head(b"{}")
        made.add(body, 1)
        made.close("kept")
        made.flush_now()

        reader = other.reader("r")
        assert reader.head() == b"{}"
        assert told(reader) == body
        assert (reader.end, reader.seen) == ("kept", 0)
        assert told(other.reader("r")) == body

    def test_head_is_waited_for(self, mine, other):
        with running(mine), running(other):
            assert other.reader("r").head(patience=0.2) is None
            threading.Timer(0.2, lambda: mine.writer("r").head(b"h")).start()
            assert other.reader("r").head(patience=10) == b"h"

    def test_empty_recording_ends(self, mine, other):
        made = mine.writer("r")
        made.close()
        assert made.flush_now()
        assert told(other.reader("r")) == b""

    def test_many_writers_are_written_in_few_transactions(self, mine, other, monkeypatch):
        writes = []
        real = mine.database.write
        monkeypatch.setattr(mine.database, "write", lambda fn: writes.append(1) or real(fn))
        made = [mine.writer(f"r{n}") for n in range(50)]
        for number in range(10):
            for one in made:
                one.add(event(number))
        mine.flusher.flush()
        assert len(writes) == 1
        assert all(len(written(mine, f"r{n}")) == 1 for n in range(50))

    def test_all_who_wait_share_one_query(self, mine, monkeypatch):
        looks = []
        real = mine.database.read
        monkeypatch.setattr(mine.database, "read", lambda fn: looks.append(fn) or real(fn))
        made = [mine.writer(f"r{n}") for n in range(20)]
        readers = [mine.reader(f"r{n}") for n in range(20) for _ in range(3)]
        found = []
        threads = [threading.Thread(target=lambda r=r: found.append(told(r))) for r in readers]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while len(mine.poller.waiters) < 20 or sum(map(len, mine.poller.waiters.values())) < 60:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for one in made:
            one.add(event(0))
            one.close()
        mine.flusher.flush()
        looks.clear()

        mine.poller.look()

        for thread in threads:
            thread.join(10)
        assert found == [event(0)] * 60
        assert len(looks) == 1 and not mine.poller.waiters

    def test_slow_reader_holds_a_few_rows(self, mine, other):
        made = mine.writer("r")
        for number in range(100):
            made.add(event(number, b"x" * 60_000))
        made.close()
        made.flush_now()

        reader = other.reader("r")
        blocks = iter(reader)
        next(blocks)
        assert sum(len(row.data) for row in reader.fetch(0)) <= rows.PAGE * writer.ROW
        assert len(written(mine)) == 100

    def test_nothing_is_lost_or_repeated_while_the_database_comes_and_goes(self, mine, other):
        away = Away(mine.database)
        mine.flusher.database = away
        made = mine.writer("r")
        total = 0
        for turn in range(12):
            away.gone, away.forgetful = turn % 3 == 1, turn % 3 == 2
            for _ in range(5):
                made.add(event(total))
                total += 1
            assert mine.flusher.flush_safely() == (turn % 3 == 0)
        away.gone = away.forgetful = False
        made.close()
        assert mine.flusher.flush_safely()
        assert told(other.reader("r")) == stream(*range(total))
        assert mine.flusher.held == 0 and not mine.flusher.waiting

    def test_end_waits_for_what_the_loop_is_writing(self, mine, other):
        made = mine.writer("r")
        made.add(event(0))
        made.close()
        made.writing.acquire()
        threading.Timer(0.2, made.writing.release).start()
        mine.close()
        assert told(other.reader("r")) == event(0)

    def test_end_does_not_wait_for_a_database_that_is_away(self, mine, caplog):
        mine.flusher.database = away = Away(mine.database)
        away.gone = True
        made = mine.writer("r")
        made.add(event(0))
        mine.close()
        assert "recordings are lost" in caplog.text

    def test_loop_writes_what_waited_once_the_database_is_back(self, mine, other, monkeypatch):
        monkeypatch.setattr(flusher, "REST", 0.05)
        mine.flusher.database = away = Away(mine.database)
        away.gone = True
        with running(mine):
            made = mine.writer("r")
            made.add(stream(0, 1))
            made.close()
            time.sleep(0.3)
            assert written(mine) == []
            away.gone = False
            deadline = time.monotonic() + 10
            while mine.flusher.held:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert told(other.reader("r")) == stream(0, 1)

    def test_what_memory_cannot_hold_breaks_its_recording_alone(self, mine, other):
        mine.flusher.database = away = Away(mine.database)
        mine.flusher.most = 1000
        away.gone = True
        small, large = mine.writer("small"), mine.writer("large")
        small.add(event(0))
        large.add(event(0))
        assert not mine.flusher.flush_safely()
        large.add(event(1, b"x" * 1000))
        large.add(event(2))
        small.add(event(1))
        assert (small.broken, large.broken) == (False, True)
        small.close()
        large.close()
        away.gone = False
        assert mine.flusher.flush_safely()

        assert told(other.reader("small")) == stream(0, 1)
        reader = other.reader("large")
        blocks = iter(reader)
        assert next(blocks) == event(0)
        with pytest.raises(Broken):
            next(blocks)
        assert reader.end == BROKEN and mine.flusher.held == 0

    def test_row_that_is_missing_is_said(self, mine, other):
        made = mine.writer("r")
        for number in range(3):
            made.add(event(number))
            made.flush_now()
        mine.database.write(lambda c: c.execute(table.delete().where(table.c.part == 1)))
        blocks = iter(other.reader("r"))
        assert next(blocks) == event(0)
        with pytest.raises(Broken):
            next(blocks)

    def test_guard_that_refuses_keeps_everything_unwritten(self, mine):
        made = mine.writer("r", held=True)
        made.add(event(0))
        mine.flusher.flush()
        assert written(mine) == []
        assert made.flush_now(lambda connection: False) is False
        mine.flusher.flush()
        assert written(mine) == []

        made.drop()
        made.add(event(1))
        made.close()
        mine.flusher.flush()
        assert written(mine) == [] and mine.flusher.held == 0 and not mine.flusher.waiting

    def test_guard_is_written_with_the_first_events_or_not_at_all(self, mine):
        def guard(connection):
            rows.insert(connection, [dict(found, id="guard", part=0) for found in [row]])
            return True

        row = mine.writer("x").row(0, b"g", 0)
        made = mine.writer("r", held=True)
        mine.flusher.database = away = Away(mine.database)
        made.add(event(0))
        away.gone = True
        with pytest.raises(errors.DependencyUnavailable):
            made.flush_now(guard)
        mine.flusher.flush_safely()
        away.gone = False
        mine.flusher.flush()
        assert written(mine) == written(mine, "guard") == []

        assert made.flush_now(guard)
        assert [len(written(mine)), len(written(mine, "guard"))] == [1, 1]
        made.add(event(1))
        mine.flusher.flush()
        assert len(written(mine)) == 2

    def test_guard_is_asked_before_every_transaction(self, mine):
        answers = [True, False]
        made = mine.writer("r", held=True)
        for number in range(3):
            made.add(event(number, b"x" * (writer.AT_ONCE - 100)))
        assert made.flush_now(lambda connection: answers.pop(0)) is False
        mine.flusher.flush()
        assert answers == [] and sum(row["count"] for row in written(mine)) == 1

    def test_what_belongs_to_the_end_is_written_with_it(self, mine):
        seen = []

        def also(connection):
            query = sa.select(table.c.end).where(table.c.id == "r").order_by(table.c.part)
            seen.append(connection.scalars(query).all())

        made = mine.writer("r")
        for number in range(3):
            made.add(event(number, b"x" * (writer.AT_ONCE - 100)))
        made.close("done", also)
        mine.flusher.flush()
        assert len(seen) == 1 and seen[0][-1] == "done" and set(seen[0][:-1]) == {None}
        assert not made.pending

    def test_refused_recording_does_not_keep_others_back(self, mine, other, caplog):
        bad, good = mine.writer("bad"), mine.writer("good")

        def refuse(connection):
            raise sa.exc.IntegrityError("x", {}, sqlite3.IntegrityError("no"))

        for one in (bad, good):
            one.add(event(0))
            one.close("done", refuse if one is bad else None)
        mine.flusher.flush()

        assert told(other.reader("good")) == event(0)
        assert written(mine, "bad") == []
        assert mine.flusher.held == 0 and not mine.flusher.waiting
        assert "refuses" in caplog.text

    def test_reader_whose_writer_has_died_ends(self, mine, other, monkeypatch):
        monkeypatch.setattr(reading, "PATIENCE", 0.05)
        made = mine.writer("r")
        made.add(event(0))
        made.flush_now()
        blocks = iter(other.reader("r", alive=lambda: False))
        assert next(blocks) == event(0)
        with pytest.raises(errors.CallLost):
            next(blocks)
        with pytest.raises(errors.CallLost):
            next(iter(other.reader("unknown", alive=lambda: False)))
        with pytest.raises(errors.CallLost):
            other.reader("unknown", alive=lambda: False).head()

    def test_last_rows_of_a_writer_that_let_go_are_read(self, mine, other, monkeypatch):
        monkeypatch.setattr(reading, "PATIENCE", 0.05)
        made = mine.writer("r")
        made.add(event(0))
        made.flush_now()

        def alive():
            made.add(event(1))
            made.close()
            made.flush_now()
            return False

        assert told(other.reader("r", alive=alive)) == stream(0, 1)

    def test_reader_that_hears_nothing_pings(self, mine):
        blocks = iter(mine.reader("r", keepalive=0.05))
        assert [next(blocks), next(blocks)] == [PING, PING]

    def test_reader_does_not_wait_for_a_lost_database_for_ever(self, mine, monkeypatch):
        monkeypatch.setattr(reading, "AWAY", 0.2)
        mine.database = away = Away(mine.database)
        away.gone = True
        blocks = iter(mine.reader("r", keepalive=0.05))
        assert next(blocks) == PING
        with pytest.raises(errors.DependencyUnavailable):
            for _ in range(1000):
                next(blocks)

    def test_wait_can_be_ended_from_outside(self, mine):
        def leave(function, *args):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            next(iter(mine.reader("r", call=leave)))
        assert not mine.poller.waiters

    def test_what_has_run_out_is_swept_in_batches(self, mine, clock, monkeypatch):
        monkeypatch.setattr("gateway.sweeping.PAUSE", 0)
        monkeypatch.setattr(tally, "recordings_swept", 0)
        old = [mine.writer(f"old{n}", HOUR) for n in range(3)]
        new = mine.writer("new", 3 * HOUR)
        for one in (*old, new):
            for number in range(rows.BATCH // 2):
                one.add(event(number))
                one.flush_now()
        clock.now += 2 * HOUR
        mine.loops[2].sweep(threading.Event())
        assert [len(written(mine, f"old{n}")) for n in range(3)] == [0] * 3
        assert len(written(mine, "new")) == rows.BATCH // 2
        assert tally.recordings_swept == 3 * rows.BATCH // 2

    def test_recordings_can_be_deleted_and_made_to_run_out(self, mine, clock):
        for id in ("a", "b", "c"):
            made = mine.writer(id)
            made.add(event(0))
            made.flush_now()
        mine.delete(["a", "b"])
        assert [len(written(mine, id)) for id in "abc"] == [0, 0, 1]
        mine.database.write(lambda c: mine.expire(c, "c", clock.now + 10))
        clock.now += 20
        mine.loops[2].sweep(threading.Event())
        assert written(mine, "c") == []


class TestSQLite(RecordingsContract):
    dialect = "sqlite"


class TestPostgreSQL(RecordingsContract):
    dialect = "postgresql"
