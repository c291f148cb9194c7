"""What the retention of usage promises over every database."""

import pytest
import sqlalchemy as sa

from gateway import periods, sweeping, usage
from gateway.tables import usage_totals as totals
from gateway.usage import sweep
from gateway.usage.sweep import Sweep
from gateway.usage.writing import HOUR
from tests.contracts.summing import DAY, KEYS, START, at_once, counted, ids, plan, put, some, summed


class RetentionContract:
    """Tests of a subclass that names its `dialect`."""

    def test_sweep_deletes_what_is_too_old_and_nothing_else(self, database, monkeypatch):
        monkeypatch.setattr(sweeping, "PAUSE", 0)
        rows = some(1200, days=10)
        for first in range(0, len(rows), 400):
            put(database, *rows[first : first + 400])
        now = START + 10 * DAY
        spent = usage.spent(database, KEYS, 0)

        Sweep(database, 4, clock=lambda: now).sweep()

        cut = (now - 4 * DAY) // HOUR * HOUR
        left = [row for row in rows if row["created_at"] >= cut]
        assert 0 < len(left) < 700
        assert ids(database) == sorted(row["request_id"] for row in left)
        for by in ("model", "day"):
            assert summed(database, by, 0) == counted(left, by, 0)
            assert summed(database, by, cut + 77) == counted(left, by, cut + 77)
        # A budget for ever goes on counting what was swept.
        assert usage.spent(database, KEYS, 0) == spent
        Sweep(database, 1, clock=lambda: now + 30 * DAY).sweep()
        assert usage.spent(database, KEYS, 0) == spent
        query = sa.select(sa.func.count()).where(totals.c.hour == 0)
        assert database.read(lambda c: c.scalar(query)) == len(KEYS)

    @pytest.mark.parametrize("period", periods.PERIODS)
    def test_budget_knows_what_was_spent_in_its_period_though_the_rows_are_gone(
        self, database, monkeypatch, period
    ):
        monkeypatch.setattr(sweeping, "PAUSE", 0)
        now = START + 20 * DAY  # the fourth of a month, a Monday
        rows = some(400, days=20)
        put(database, *rows)
        since = periods.start(period, now)
        before = usage.spent(database, KEYS, since)
        Sweep(database, 1, clock=lambda: now).sweep()
        assert max(before.values()) > 0 and usage.spent(database, KEYS, since) == before

    def test_sweeps_at_once_count_nothing_twice(self, database, monkeypatch):
        monkeypatch.setattr(sweeping, "PAUSE", 0)
        rows = some(600, days=10)
        put(database, *rows)

        def work(other):
            Sweep(other, 1, clock=lambda: START + 30 * DAY).sweep()

        assert at_once(database, work, work, work) == []
        assert ids(database) == []
        for key in KEYS:
            costs = sum(row["cost"] or 0 for row in rows if row["key"] == key)
            assert usage.spent(database, [key], 0) == {key: costs}

    def test_sweep_goes_by_the_index_of_times(self, database):
        found = plan(database, sweep.OLD_ROWS, until=START)
        assert "usage_created_at" in found


class TestSQLite(RetentionContract):
    dialect = "sqlite"


class TestPostgreSQL(RetentionContract):
    dialect = "postgresql"
