"""Leases on SQLite: a clock that jumps takes nothing from anybody, a restart frees everything."""

import pytest

from gateway.database import Database, upgrade
from gateway.idempotency import Idempotency
from gateway.jobs.store import Jobs
from gateway.jobs.sweep import Sweep
from gateway.tables import idempotency, jobs
from tests.contracts.queueing import add, column, settings

HOUR = 3600
CALL = ("key", "chat", "name", "f" * 64)


class Clock:
    now = 1.8e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/gateway.db"
    upgrade(url)
    found = Database(url)
    yield found
    found.close()


def restarted(database, table):
    """Leave the leases of a machine that had run for long before it was started anew."""
    database.write(lambda c: c.execute(table.update().values(lease_until=9e9)) and None)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_job_stays_its_worker_s_when_the_clock_jumps(database, clock, jump):
    store = Jobs(database, settings(retention_hours=24), clock)
    id = add(store).id
    claimed = store.claim("w")
    clock.now += jump
    Sweep(store).mend()

    assert column(store, id, "status", "worker") == ("in_progress", "w")
    assert store.beat("w", [id]) == ({id}, set())
    assert store.answered(claimed)


def test_job_from_before_a_restart_is_queued_again(database, clock):
    store = Jobs(database, settings(), clock)
    id = add(store).id
    store.claim("w")
    restarted(database, jobs)
    Sweep(store).mend()

    assert column(store, id, "status") == ("queued",)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_call_that_runs_stays_its_owner_s_when_the_clock_jumps(database, clock, jump):
    first, second = (Idempotency(database, None, clock) for _ in range(2))
    row, mine = first.begin(*CALL)
    assert mine
    clock.now += jump

    assert not second.begin(*CALL)[1] and second.alive(row)


def test_call_from_before_a_restart_is_made_anew(database, clock):
    first, second = (Idempotency(database, None, clock) for _ in range(2))
    row, _ = first.begin(*CALL)
    restarted(database, idempotency)

    assert not second.alive(row) and second.begin(*CALL)[1]
