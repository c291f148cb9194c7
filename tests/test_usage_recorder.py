"""How rows of usage are written: in batches, in order, and after an outage."""

import logging

import pytest

from gateway import errors, usage
from gateway.database import Database, upgrade
from gateway.usage import BATCH, Recorder
from tests.test_usage import made, read


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/gateway.db"
    upgrade(url)
    found = Database(url)
    yield found
    found.close()


class Away:
    """A database of which a test says what it does with each write."""

    def __init__(self, *outcomes):
        self.outcomes, self.written = list(outcomes), []
        self.connection = self

    dialect = type("Dialect", (), {"paramstyle": "qmark"})

    def exec_driver_sql(self, statement, values):
        self.batch += [value for value in values if str(value).startswith("req_")]

    def write(self, fn):
        self.batch = []
        fn(self)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if callable(outcome):
            outcome = outcome(self.batch)
        if outcome is not None:
            raise outcome
        self.written.append(self.batch)


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


def test_memory_is_bounded_while_the_database_is_away(monkeypatch):
    monkeypatch.setattr(usage, "MOST", 10)
    recorder = Recorder(Away(*[errors.DependencyUnavailable()] * 20))
    for number in range(15):
        recorder.add(made(number))
        recorder.flush()
    assert [row["request_id"] for row in recorder.rows] == [f"req_{n}" for n in range(5, 15)]


def test_background_writes_every_interval_and_survives_a_fault():
    waits = []

    class Stop:
        def wait(self, seconds):
            waits.append(seconds)
            recorder.add(made(len(waits)))
            return len(waits) == 4

    database = Away(RuntimeError("a bug"), errors.DependencyUnavailable())
    recorder = Recorder(database)
    recorder.run(Stop())
    assert waits == [1.0] * 4
    assert database.written == [["req_1", "req_2", "req_3"]]
