"""What rows of usage and their sums promise over every database."""

import random
import time
from functools import partial

import pytest
import sqlalchemy as sa

from gateway import prices, tokens, usage
from gateway.keys import KeyStore
from gateway.tables import usage as table
from gateway.tables import usage_totals as totals
from gateway.usage.recorder import Recorder
from gateway.usage.report import SPENT
from gateway.usage.spool import Spool
from gateway.usage.sweep import Sweep
from gateway.usage.writing import COLUMNS, COUNTS, HOUR, LARGEST
from tests.contracts.summing import DAY, KEYS, START, at_once, counted, ids, plan, put, some, summed
from tests.test_usage import made


class UsageContract:
    """Tests of a subclass that names its `dialect`."""

    def test_row_comes_back_as_it_was_put(self, database):
        rows = some(120)
        put(database, *rows)
        columns = [table.c[name] for name in COLUMNS]
        query = sa.select(*columns).order_by(table.c.id)
        found = database.read(lambda c: [row._asdict() for row in c.execute(query)])
        assert found == rows

    def test_request_has_one_row_and_the_first_counts(self, database):
        first, second, third = some(3)
        put(database, first, second, {**first, "cost": 7})
        put(database, {**second, "cost": 8}, third)
        put(database, first, second, third)
        assert ids(database) == [f"req_1_{number}" for number in range(3)]
        for by in ("key", "model", "day"):
            assert summed(database, by, START) == counted([first, second, third], by, START)

    @pytest.mark.parametrize("by", ["key", "model", "day"])
    def test_report_is_the_sum_of_the_rows_for_any_window(self, database, by):
        rows, rand = some(700), random.Random(7)
        for first in range(0, len(rows), 90):
            put(database, *rows[first : first + 90])
        times = [START, 0, START + 5 * DAY, *(rand.uniform(START, START + 3 * DAY) for _ in "1234")]
        hour = (START + DAY) // HOUR * HOUR
        times += [hour, hour - 0.001, hour + 0.001, rows[5]["created_at"]]
        for since in times:
            assert summed(database, by, since) == counted(rows, by, since)

    def test_row_on_the_edge_of_an_hour_is_counted_once(self, database):
        hour = START // HOUR * HOUR
        rows = [made(n, created_at=at) for n, at in enumerate((hour, hour + 1, hour + HOUR))]
        put(database, *rows)
        for since in (hour - 1, hour, hour + 0.5, hour + HOUR - 1, hour + HOUR, hour + HOUR + 1):
            assert summed(database, "model", since) == counted(rows, "model", since)

    def test_sum_of_what_nobody_knows_is_null_and_not_0(self, database):
        put(database, made(1, created_at=START), made(2, created_at=START + 5 * HOUR))
        (row,) = usage.report(database, "model", START)
        assert row == {"model": "", "requests": 2, **dict.fromkeys(COUNTS)}
        put(database, made(3, created_at=START, cost=0), made(4, created_at=START, cost=5))
        assert usage.report(database, "model", START)[0]["cost"] == 5

    def test_no_number_of_nonsense_calls_makes_a_sum_overflow(self, database):
        hour, key = START // HOUR * HOUR, KEYS[0]
        most = {"key": key, "model": "a", "cost": prices.LARGEST, "input_tokens": tokens.LARGEST}
        rows = [made(number, created_at=hour + 1, **most) for number in range(10_000)]
        for first in range(0, len(rows), 500):
            put(database, *rows[first : first + 500])
        sums = sa.select(totals.c.cost, totals.c.input_tokens, totals.c.requests)
        one = (LARGEST, 10_000 * tokens.LARGEST, 10_000)
        assert database.read(lambda c: set(c.execute(sums).all())) == {one}

        hours = [
            {"kind": kind, "name": name, "hour": hour + n * HOUR, "requests": 1, "cost": LARGEST}
            for kind, name in (("key", key), ("model", "a"))
            for n in (1, 2, 3)
        ]
        database.write(lambda c: c.execute(totals.insert(), hours) and None)
        for by in ("key", "model", "day"):
            assert sum(row["cost"] for row in usage.report(database, by, hour)) == 4 * LARGEST
        for since in (hour + 0.5, 0):
            assert usage.spent(database, [key], since)[key] >= 3 * LARGEST

        Sweep(database, 1, clock=lambda: hour + 40 * DAY).sweep()
        assert usage.spent(database, [key], 0) == {key: LARGEST}

    def test_spent_is_what_each_key_s_rows_cost(self, database):
        rows = some(400)
        put(database, *rows)
        for since in (0, START, START + DAY, (START + DAY) // DAY * DAY, START + 9 * DAY):
            found = usage.spent(database, [*KEYS[1:], "key_of_nobody"], since)
            assert found.pop("key_of_nobody") == 0
            for key in KEYS[1:]:
                costs = [
                    row["cost"] or 0
                    for row in rows
                    if row["key"] == key and row["created_at"] >= since
                ]
                assert found.pop(key) == sum(costs)
            assert found == {}

    def test_report_names_keys_that_are_there(self, database):
        key, _ = KeyStore(database).create("[mine]")
        put(
            database,
            made(1, created_at=START, key=key.id, cost=1),
            made(2, created_at=START, key="key_gone", cost=9),
            made(3, created_at=START),
        )
        found = usage.report(database, "key", START)
        assert [(row["key"], row["name"]) for row in found] == [
            ("key_gone", None), (key.id, "[mine]"), ("", None),
        ]  # fmt: skip

    def test_sums_are_exact_however_many_write_at_once(self, database):
        batches = [some(40, seed) for seed in range(8)]

        def work(other, first):
            for batch in batches[first:] + batches[:first]:  # each comes from everyone
                Recorder(other).write(batch)

        assert at_once(database, *(partial(work, first=first) for first in range(0, 8, 2))) == []
        rows = sum(batches, [])
        assert len(ids(database)) == len(rows)
        assert summed(database, "key", START) == counted(rows, "key", START)

    def test_refused_rows_leave_no_trace_in_the_sums(self, database):
        recorder = Recorder(database)
        rows = [made(number, created_at=START, cost=1) for number in range(5)]
        rows[1]["status"] = None
        rows[3]["model"] = "\ud800"
        for row in rows:
            recorder.add(row)
        recorder.flush()
        assert ids(database) == ["req_0", "req_2", "req_4"]
        assert summed(database, "key", START)[""]["cost"] == 3

    def test_rows_that_were_on_disk_are_as_they_were(self, database, tmp_path):
        rows, spool = some(700), Spool(tmp_path / "spool")
        assert spool.put(rows)
        spool.replay(Recorder(database).write)
        spool.close()
        columns = [table.c[name] for name in COLUMNS]
        query = sa.select(*columns).order_by(table.c.id)
        assert database.read(lambda c: [row._asdict() for row in c.execute(query)]) == rows
        assert summed(database, "key", START) == counted(rows, "key", START)

    def test_keys_spending_goes_by_the_index_of_sums(self, database):
        now = time.time() // DAY * DAY
        found = plan(database, SPENT, since=now, first=now, keys=["a", "b"])
        assert "usage_totals_pkey" in found or "PRIMARY KEY" in found

    def test_migration_keeps_the_first_of_rows_that_were_written_twice(self, database):
        rows = some(60)
        older = [name for name in COLUMNS if name != "cost"]
        twice = rows + [{**row, "status": 599} for row in rows[:20]]

        def go_back(connection):
            migrate(connection, "0004")
            names = ", ".join(f'"{name}"' for name in older)
            places = ", ".join(f":{name}" for name in older)
            statement = sa.text(f'INSERT INTO "usage" ({names}) VALUES ({places})')
            connection.execute(statement, twice)

        database.write(go_back)
        database.write(lambda connection: migrate(connection, "head"))
        assert ids(database) == sorted(row["request_id"] for row in rows)
        query = sa.select(sa.func.max(table.c.status))
        assert database.read(lambda c: c.scalar(query)) == 200
        rows = [{**row, "cost": None} for row in rows]
        for by in ("key", "model", "day"):
            assert summed(database, by, START + 999) == counted(rows, by, START + 999)
        put(database, rows[0])
        assert len(ids(database)) == 60


def migrate(connection, revision):
    from alembic import command, config

    settings = config.Config(attributes={"connection": connection})
    settings.set_main_option("script_location", "gateway:migrations")
    (command.upgrade if revision == "head" else command.downgrade)(settings, revision)


class TestSQLite(UsageContract):
    dialect = "sqlite"


class TestPostgreSQL(UsageContract):
    dialect = "postgresql"
