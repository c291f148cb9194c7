import logging
import threading

import pytest

from gateway import errors
from gateway.database import Database, upgrade
from gateway.jobs import sweep as module
from gateway.jobs.store import Jobs
from gateway.jobs.sweep import Sweep
from tests.contracts.queueing import HOUR, add, complete, later, settings


@pytest.fixture
def jobs(tmp_path):
    url = f"sqlite:///{tmp_path}/gateway.db"
    upgrade(url)
    database = Database(url)
    yield Jobs(database, settings())
    database.close()


@pytest.mark.parametrize("fault", [errors.DependencyUnavailable(), ValueError("x")])
def test_sweep_outlives_a_fault(jobs, monkeypatch, fault, caplog):
    monkeypatch.setattr(module, "EVERY", (0.001, 0.002))
    swept, stop, counts = [], threading.Event(), iter([fault, fault, None])
    sweep = Sweep(jobs)

    def once(stop):
        swept.append(1)
        if found := next(counts):
            raise found
        stop.set()

    monkeypatch.setattr(sweep, "sweep", once)
    with caplog.at_level(logging.CRITICAL):
        sweep.run(stop)
    assert len(swept) == 3


def test_what_belongs_to_a_job_goes_with_it_or_not_at_all(jobs):
    add(jobs)
    id = complete(jobs, jobs.claim("w")) and jobs.newest(1)[0].id
    later(jobs, HOUR + 1)

    def fail(connection, ids):
        connection.exec_driver_sql("delete from jobs")
        raise ValueError(ids)

    with pytest.raises(ValueError, match=id):
        Sweep(jobs, [fail]).sweep(threading.Event())
    assert [row.id for row in jobs.newest(1)] == [id]
    Sweep(jobs).sweep(threading.Event())
    assert jobs.newest(1) == []


def test_ended_jobs_are_counted_now_and_then_and_open_ones_each_time(jobs, monkeypatch):
    asked, read = [], jobs.read
    clock = iter(range(0, 1000, 25))
    now = [0]
    monkeypatch.setattr(jobs, "read", lambda fn, query: asked.append(query) or read(fn, query))
    sweep = Sweep(jobs, clock=lambda: now[0])
    for now[0] in (next(clock) for _ in range(5)):
        sweep.count()
    sql = module.sql
    assert asked == [sql.COUNTS, sql.OPEN_COUNTS, sql.OPEN_COUNTS, sql.COUNTS, sql.OPEN_COUNTS]


def test_batch_that_is_too_much_for_the_database_is_tried_again_as_a_smaller_one(jobs, monkeypatch):
    weights, faults = [], [errors.DependencyUnavailable()] * 2

    def purge(connection, also, weight, values):
        weights.append(weight)
        if faults:
            raise faults.pop()
        return 0, False

    monkeypatch.setattr(module.rows, "purge", purge)
    sweep = Sweep(jobs)
    for _ in range(2):
        with pytest.raises(errors.DependencyUnavailable):
            sweep.purge()
    for _ in range(4):
        sweep.purge()
    most = module.WEIGHT
    assert weights == [most, most // 2, most // 4, most // 2, most, most]


def test_stop_ends_a_long_sweep(jobs, monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(module.sql, "BATCH", 0)  # there always seems to be more
    stop.set()
    Sweep(jobs).sweep(stop)
