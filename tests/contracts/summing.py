"""Rows of usage, and what is expected of their sums."""

import random
import threading

import sqlalchemy as sa

from gateway import usage
from gateway.database import Database
from gateway.tables import usage as table
from gateway.usage.report import SUMS
from gateway.usage.writing import COUNTS
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
    """Return the same from a report."""
    rows = usage.report(database, by, since)
    return {row[by]: {name: row[name] for name in SUMS} for row in rows}


def ids(database):
    return sorted(database.read(lambda c: c.scalars(sa.select(table.c.request_id)).all()))


def put(database, *rows):
    database.write(lambda connection: usage.insert(connection, list(rows)))


def plan(database, query, **values):
    """Return how a database would run a query, in its own words."""

    def explain(connection):
        text = query.compile(dialect=connection.dialect).construct_expanded_state(values)
        if connection.dialect.name == "sqlite":
            order = text.positional_parameters
            return connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text.statement}", order).all()
        # Over so few rows a scan would be cheaper.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return connection.exec_driver_sql(f"EXPLAIN {text.statement}", text.parameters).all()

    return str(database.read(explain))


def at_once(database, *works):
    """Call functions beside each other, each with a Database of its own; return what they raise."""
    faults = []

    def run(work):
        other = Database(database.url)
        try:
            work(other)
        except BaseException as exc:
            faults.append(exc)
        other.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults
