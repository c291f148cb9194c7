"""How rows of usage are written: in batches, in order, and after an outage."""

import logging
import threading

import pytest

from gateway import errors
from gateway.database import Database, upgrade
from gateway.metrics import tally
from gateway.usage import recorder as module
from gateway.usage.recorder import BATCH, Recorder
from gateway.usage.spool import Spool
from tests.test_usage import made, read


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/gateway.db"
    upgrade(url)
    found = Database(url)
    yield found
    found.close()


class Away:
    """A database of which a test says what it does with each write: fail, or a function to call."""

    def __init__(self, *outcomes):
        self.outcomes, self.written = list(outcomes), []

    def write(self, fn):
        batch = [row["request_id"] for row in fn.keywords["rows"]]
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if callable(outcome):
            outcome = outcome(batch)
        if outcome is not None:
            raise outcome
        self.written.append(batch)


AWAY = errors.DependencyUnavailable()


@pytest.fixture
def spool(tmp_path):
    found = Spool(tmp_path / "state" / "spool")
    yield found
    found.close()


def filled(database, *names, spool=module.NO_SPOOL):
    recorder = Recorder(database, spool)
    for name in names:
        recorder.add(made(name))
    return recorder


def kept(recorder):
    return [row["request_id"] for row in recorder.rows]


def test_rows_are_written_in_batches_and_in_order(database):
    recorder = Recorder(database)
    for number in range(2 * BATCH + 7):
        recorder.add(made(number))
    sizes = []
    write = database.write
    database.write = lambda fn: (sizes.append(1), write(fn))
    recorder.flush()
    assert len(sizes) == 3 and not recorder.rows
    assert [r["request_id"] for r in read(database)] == [f"req_{n}" for n in range(2 * BATCH + 7)]


def test_nothing_to_write_writes_nothing():
    database = Away()
    Recorder(database).flush()
    assert database.written == []


def test_rows_wait_for_a_database_that_is_away(tmp_path, database):
    recorder, path = Recorder(database), tmp_path / "gateway.db"
    path.rename(tmp_path / "elsewhere")
    recorder.add(made(1))
    recorder.flush()
    recorder.add(made(2))
    recorder.flush_safely()
    assert len(recorder.rows) == 2

    (tmp_path / "elsewhere").rename(path)
    recorder.flush()
    assert [row["request_id"] for row in read(database)] == ["req_1", "req_2"]


def test_outage_between_two_batches_keeps_the_rest_in_order():
    database = Away(None, errors.DependencyUnavailable())
    recorder = Recorder(database)
    for number in range(BATCH + 3):
        recorder.add(made(number))
    recorder.flush()
    assert [row["request_id"] for row in recorder.rows] == [f"req_{BATCH + n}" for n in range(3)]
    recorder.add(made("last"))
    recorder.flush()
    assert database.written[1] == ["req_500", "req_501", "req_502", "req_last"]


def test_row_that_the_database_refuses_does_not_keep_the_others_back(database, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    recorder = Recorder(database)
    for number, row in enumerate([{}, {"status": None}, {}, {"model": "\ud800"}, {}]):
        recorder.add(made(number, **row))
    recorder.flush()
    assert [row["request_id"] for row in read(database)] == ["req_0", "req_2", "req_4"]
    assert [r.message for r in caplog.records] == ["the database refuses a row of usage"] * 2


def test_mistake_that_is_no_row_s_loses_none(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    database = Away(RuntimeError("a bug"), KeyboardInterrupt())
    recorder = Recorder(database)
    for number in range(3):
        recorder.add(made(number))
    recorder.flush_safely()
    assert [r.message for r in caplog.records] == ["usage could not be written"]
    with pytest.raises(KeyboardInterrupt):
        recorder.flush_safely()
    recorder.flush()
    assert database.written == [["req_0", "req_1", "req_2"]]


def test_rows_are_taken_while_others_are_written():
    recorder = Recorder(None)
    recorder.database = Away(lambda batch: recorder.add(made("late")))
    recorder.add(made("early"))
    recorder.flush()
    assert recorder.database.written == [["req_early"], ["req_late"]]


def test_memory_is_bounded_while_neither_database_nor_disk_takes_rows(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    monkeypatch.setattr(tally, "usage_dropped", 0)
    recorder = Recorder(Away(*[AWAY] * 20))
    for number in range(15):
        recorder.add(made(number))
        recorder.flush()
    assert kept(recorder) == [f"req_{n}" for n in range(5, 15)]
    assert tally.usage_dropped == 5


def test_rows_that_come_while_others_fail_push_out_the_oldest(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)

    def busy(batch):
        for number in range(3, 6):
            recorder.add(made(number))
        return AWAY

    recorder = filled(Away(busy), 0, 1, 2)
    recorder.flush()
    assert kept(recorder) == ["req_3", "req_4", "req_5"]


def test_background_writes_every_interval_and_survives_a_fault():
    waits = []

    class Stop:
        def is_set(self):
            return True  # the guard has nothing to do here

        def wait(self, seconds):
            waits.append(seconds)
            recorder.add(made(len(waits)))
            return len(waits) == 4

    database = Away(RuntimeError("a bug"), errors.DependencyUnavailable())
    recorder = Recorder(database)
    recorder.run(Stop())
    assert waits == [module.EVERY] * 4
    assert database.written == [["req_1", "req_2", "req_3"]]


def test_rows_are_on_disk_and_not_in_memory_while_the_database_is_away(spool):
    database = Away(AWAY)
    recorder = filled(database, 1, 2, spool=spool)
    recorder.flush()
    assert (kept(recorder), spool.waiting, database.written) == ([], 2, [])

    recorder.add(made(3))
    recorder.flush()
    assert sorted(sum(database.written, [])) == ["req_1", "req_2", "req_3"]
    assert spool.waiting == tally.usage_spooled == 0


def test_rows_go_to_disk_before_a_database_that_was_away_is_asked_again(spool):
    seen = []
    database = Away(AWAY, lambda batch: seen.append(spool.waiting) or AWAY)
    recorder = filled(database, 1, spool=spool)
    recorder.flush()
    recorder.add(made(2))
    recorder.flush()
    assert (seen, spool.waiting, kept(recorder)) == ([2], 2, [])


def test_refused_row_on_disk_is_dropped_and_keeps_no_other_back(database, spool):
    recorder = filled(Away(AWAY), 1, 2, 3, spool=spool)
    recorder.rows[1]["status"] = None
    recorder.flush()
    recorder.database = database
    recorder.flush()
    assert [row["request_id"] for row in read(database)] == ["req_1", "req_3"]
    assert spool.waiting == 0


def test_rows_stay_in_memory_where_the_disk_takes_none(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    recorder = filled(Away(*[AWAY] * 3), 1, 2, spool=Spool(tmp_path / "file" / "spool"))
    for _ in range(3):
        recorder.flush()
    assert kept(recorder) == ["req_1", "req_2"]
    said = [m for m in caplog.messages if m.startswith("usage cannot be kept on disk")]
    assert len(said) == 1
    recorder.flush()
    assert recorder.database.written == [["req_1", "req_2"]]


def test_slow_write_and_what_came_meanwhile_are_on_disk_already(database, spool):
    now = [0.0]

    def slow(batch):
        recorder.add(made(2))
        recorder.rescue()
        assert spool.waiting == 0  # it has just begun
        now[0] += module.SLOW
        recorder.rescue()
        assert spool.waiting == 2
        recorder.database = database
        return AWAY

    recorder = Recorder(Away(slow), spool, clock=lambda: now[0])
    recorder.add(made(1))
    recorder.flush()
    assert spool.waiting == 2
    recorder.flush()
    assert sorted(row["request_id"] for row in read(database)) == ["req_1", "req_2"]


def test_guard_sees_every_write_that_takes_long(spool, monkeypatch):
    monkeypatch.setattr(module, "SLOW", 0.05)
    stop, shelved = threading.Event(), []

    def slow(batch):
        for _ in range(100):
            if spool.waiting:
                shelved.append(spool.waiting)
                return
            stop.wait(0.05)

    recorder = Recorder(Away(None, slow, None, slow), spool)
    guard = threading.Thread(target=recorder.guard, args=(stop,))
    guard.start()
    for number in range(4):
        recorder.add(made(number))
        recorder.flush()
    stop.set()
    guard.join(5)
    assert shelved == [1, 1] and not guard.is_alive()


def test_batch_that_was_committed_all_the_same_is_not_written_twice(database, spool):
    class Lying:
        def write(self, fn):
            database.write(fn)
            raise AWAY

    recorder = filled(Lying(), 1, 2, spool=spool)
    recorder.flush()
    assert spool.waiting == 2
    recorder.database = database
    recorder.flush()
    assert [row["request_id"] for row in read(database)] == ["req_1", "req_2"]


def test_end_of_a_process_leaves_on_disk_what_cannot_be_written(database, tmp_path):
    folder = tmp_path / "spool"
    filled(Away(*[AWAY] * 9), 1, 2, spool=Spool(folder)).close()

    successor = Recorder(database, Spool(folder))
    successor.flush()
    assert [row["request_id"] for row in read(database)] == ["req_1", "req_2"]
    successor.close()
    assert list(folder.iterdir()) == []


def test_end_of_a_process_writes_what_is_left(database, spool):
    filled(database, 1, spool=spool).close()
    assert len(read(database)) == 1
