"""What rows of usage, their sums and their retention promise over every database."""

import random
import threading
import time

import pytest
import sqlalchemy as sa

from gateway import prices, tokens, usage
from gateway.database import Database
from gateway.keys import KeyStore
from gateway.tables import usage as table
from gateway.tables import usage_totals as totals
from gateway.usage import sweep
from gateway.usage.recorder import Recorder
from gateway.usage.report import SPENT, SUMS
from gateway.usage.spool import Spool
from gateway.usage.sweep import Sweep
from gateway.usage.writing import COLUMNS, COUNTS, HOUR, LARGEST
from tests.test_usage import made

DAY = 86400
START = 1_700_000_000.0  # in mid-hour
KEYS = [f"key_{'0' * 11}{number}" for number in range(3)]


def some(count, seed=1, days=3):
    """Return random rows over some days; some counts are unknown."""
    rand = random.Random(seed)
    return [
        made(
            f"{seed}_{number}",
            created_at=START + rand.uniform(0, days * DAY),
            key=rand.choice(KEYS),
            model=rand.choice(["a", "b", "é", None]),
            **{name: rand.choice([None, 0, rand.randrange(2**40)]) for name in COUNTS},
        )
        for number in range(count)
    ]


def counted(rows, by, since):
    """Return what a report should say, summed up the plain way."""
    found = {}
    for row in rows:
        if row["created_at"] >= since:
            group = int(row["created_at"] // DAY * DAY) if by == "day" else row[by] or ""
            sums = found.setdefault(group, dict.fromkeys(SUMS))
            sums["requests"] = (sums["requests"] or 0) + 1
            for name in COUNTS:
                if row[name] is not None:
                    sums[name] = (sums[name] or 0) + row[name]
    return found


def summed(database, by, since):
    rows = usage.report(database, by, since)
    return {row[by]: {name: row[name] for name in SUMS} for row in rows}


def ids(database):
    return sorted(database.read(lambda c: c.scalars(sa.select(table.c.request_id)).all()))


class UsageContract:
    """Tests of a subclass that names its `dialect`."""

    def put(self, database, *rows):
        database.write(lambda connection: usage.insert(connection, list(rows)))

    def test_row_comes_back_as_it_was_put(self, database):
        rows = some(120)
        self.put(database, *rows)
        columns = [table.c[name] for name in COLUMNS]
        query = sa.select(*columns).order_by(table.c.id)
        found = database.read(lambda c: [row._asdict() for row in c.execute(query)])
        assert found == rows

    def test_request_has_one_row_and_the_first_counts(self, database):
        first, second, third = some(3)
        self.put(database, first, second, {**first, "cost": 7})
        self.put(database, {**second, "cost": 8}, third)
        self.put(database, first, second, third)
        assert ids(database) == [f"req_1_{number}" for number in range(3)]
        for by in ("key", "model", "day"):
            assert summed(database, by, START) == counted([first, second, third], by, START)

    @pytest.mark.parametrize("by", ["key", "model", "day"])
    def test_report_is_the_sum_of_the_rows_for_any_window(self, database, by):
        rows, rand = some(700), random.Random(7)
        for first in range(0, len(rows), 90):
            self.put(database, *rows[first : first + 90])
        times = [START, 0, START + 5 * DAY, *(rand.uniform(START, START + 3 * DAY) for _ in "1234")]
        hour = (START + DAY) // HOUR * HOUR
        times += [hour, hour - 0.001, hour + 0.001, rows[5]["created_at"]]
        for since in times:
            assert summed(database, by, since) == counted(rows, by, since)

    def test_row_on_the_edge_of_an_hour_is_counted_once(self, database):
        hour = START // HOUR * HOUR
        rows = [made(n, created_at=at) for n, at in enumerate((hour, hour + 1, hour + HOUR))]
        self.put(database, *rows)
        for since in (hour - 1, hour, hour + 0.5, hour + HOUR - 1, hour + HOUR, hour + HOUR + 1):
            assert summed(database, "model", since) == counted(rows, "model", since)

    def test_sum_of_what_nobody_knows_is_null_and_not_0(self, database):
        self.put(database, made(1, created_at=START), made(2, created_at=START + 5 * HOUR))
        (row,) = usage.report(database, "model", START)
        assert row == {"model": "", "requests": 2, **dict.fromkeys(COUNTS)}
        self.put(database, made(3, created_at=START, cost=0), made(4, created_at=START, cost=5))
        assert usage.report(database, "model", START)[0]["cost"] == 5

    def test_no_number_of_nonsense_calls_makes_a_sum_overflow(self, database):
        hour, key = START // HOUR * HOUR, KEYS[0]
        most = {"key": key, "model": "a", "cost": prices.LARGEST, "input_tokens": tokens.LARGEST}
        rows = [made(number, created_at=hour + 1, **most) for number in range(10_000)]
        for first in range(0, len(rows), 500):
            self.put(database, *rows[first : first + 500])
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
            assert usage.spent(database, key, since) >= 3 * LARGEST

        Sweep(database, 1, clock=lambda: hour + 9 * DAY).sweep()
        assert usage.spent(database, key, 0) == LARGEST

    def test_spent_is_what_a_key_s_rows_cost(self, database):
        rows = some(400)
        self.put(database, *rows)
        for since in (0, START, START + DAY, (START + DAY) // DAY * DAY, START + 9 * DAY):
            for key in KEYS:
                costs = [
                    row["cost"] or 0
                    for row in rows
                    if row["key"] == key and row["created_at"] >= since
                ]
                assert usage.spent(database, key, since) == sum(costs)
        assert usage.spent(database, "key_of_nobody", 0) == 0

    def test_report_names_keys_that_are_there(self, database):
        key, _ = KeyStore(database).create("[mine]")
        self.put(
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
        faults = []

        def work(first):
            other = Database(database.url)
            try:
                for batch in batches[first:] + batches[:first]:  # each comes from everyone
                    Recorder(other).write(batch)
            except BaseException as exc:
                faults.append(exc)
            other.close()

        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 8, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
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

    def test_sweep_deletes_what_is_too_old_and_nothing_else(self, database, monkeypatch):
        monkeypatch.setattr(sweep, "PAUSE", 0)
        rows = some(1200, days=10)
        for first in range(0, len(rows), 400):
            self.put(database, *rows[first : first + 400])
        now = START + 10 * DAY
        spent = {key: usage.spent(database, key, 0) for key in KEYS}

        Sweep(database, 4, clock=lambda: now).sweep()

        cut = (now - 4 * DAY) // HOUR * HOUR
        left = [row for row in rows if row["created_at"] >= cut]
        assert 0 < len(left) < 700
        assert ids(database) == sorted(row["request_id"] for row in left)
        for by in ("key", "model", "day"):
            assert summed(database, by, 0) == counted(left, by, 0)
            assert summed(database, by, cut + 77) == counted(left, by, cut + 77)
        # A budget for ever goes on counting what was swept.
        assert {key: usage.spent(database, key, 0) for key in KEYS} == spent
        Sweep(database, 1, clock=lambda: now).sweep()
        assert {key: usage.spent(database, key, 0) for key in KEYS} == spent
        query = sa.select(sa.func.count()).where(totals.c.hour == 0)
        assert database.read(lambda c: c.scalar(query)) == len(KEYS)

    def test_sweeps_at_once_count_nothing_twice(self, database, monkeypatch):
        monkeypatch.setattr(sweep, "PAUSE", 0)
        rows = some(600, days=10)
        self.put(database, *rows)
        faults = []

        def work():
            other = Database(database.url)
            try:
                Sweep(other, 1, clock=lambda: START + 30 * DAY).sweep()
            except BaseException as exc:
                faults.append(exc)
            other.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (faults, ids(database)) == ([], [])
        for key in KEYS:
            costs = sum(row["cost"] or 0 for row in rows if row["key"] == key)
            assert usage.spent(database, key, 0) == costs

    def test_sweep_goes_by_the_index_of_times(self, database):
        plan = self.plan(database, sweep.OLD_ROWS, until=START)
        assert "usage_created_at" in plan

    def test_one_key_s_spending_goes_by_the_index_of_sums(self, database):
        now = time.time() // DAY * DAY
        plan = self.plan(database, SPENT, since=now, first=now, key="k")
        assert "usage_totals_pkey" in plan or "PRIMARY KEY" in plan

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
        self.put(database, rows[0])
        assert len(ids(database)) == 60


def migrate(connection, revision):
    from alembic import command, config

    settings = config.Config(attributes={"connection": connection})
    settings.set_main_option("script_location", "gateway:migrations")
    (command.upgrade if revision == "head" else command.downgrade)(settings, revision)


class TestSQLite(UsageContract):
    dialect = "sqlite"

    def plan(self, database, query, **values):
        text = query.compile(dialect=sa.dialects.sqlite.dialect(), compile_kwargs={})
        parameters = text.construct_params(values)
        order = [parameters[name] for name in text.positiontup]
        statement = f"EXPLAIN QUERY PLAN {text}"
        return str(database.read(lambda c: c.exec_driver_sql(statement, tuple(order)).all()))


class TestPostgreSQL(UsageContract):
    dialect = "postgresql"

    def plan(self, database, query, **values):
        def explain(connection):
            # Over so few rows a scan would be cheaper.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            text = query.compile(dialect=connection.dialect)
            return connection.exec_driver_sql(
                f"EXPLAIN {text}", text.construct_params(values)
            ).all()

        return str(database.read(explain))
