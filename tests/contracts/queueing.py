"""Jobs to queue, time that passes for their rows, and what is expected of them."""

import json
import threading

import sqlalchemy as sa

from gateway.config.shape import Jobs as Settings
from gateway.database import Database
from gateway.jobs.store import Jobs
from gateway.jobs.sweep import Sweep
from gateway.tables import jobs as table
from gateway.tables import usage

HOUR = 3600
TIMES = ("created_at", "started_at", "place", "not_before", "lease_until", "expires_at")
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def settings(**more):
    return Settings(**{"per_key": 5, "retention_hours": 1, **more})


def add(jobs, number=1, key="mine", **more):
    asked = {"model": "m", "messages": [{"role": "user", "content": str(number)}]}
    return jobs.add(key, "chat", {**asked, **more}, f"req_{number:032x}")


def fill(jobs, count, keys=1):
    """Queue many jobs of a few keys at once, without a look at any cap; return their ids."""
    query = sa.select(table).where(table.c.id == add(jobs, key="key0").id)
    row = jobs.database.read(lambda c: dict(c.execute(query).one()._mapping))
    rows = [
        {**row, "id": f"job_{n:032x}", "key": f"key{n % keys}", "place": row["place"] + n}
        for n in range(1, count)
    ]
    jobs.database.write(lambda c: c.execute(table.insert(), rows) and None)
    return [row["id"], *(each["id"] for each in rows)]


def number_of(claimed):
    return int(claimed.payload["messages"][0]["content"])


def drained(jobs, worker="w"):
    """Claim all that is queued, and return the numbers."""
    found = []
    while (claimed := jobs.claim(worker)) is not None:
        found.append(number_of(claimed))
    return found


def later(jobs, seconds, *ids):
    """Let time pass for rows, whoever's clock it is that counts."""
    changes = {name: table.c[name] - seconds for name in TIMES}
    change = table.update().values(changes)
    change = change.where(table.c.id.in_(ids)) if ids else change
    jobs.database.write(lambda c: c.execute(change) and None)


def column(jobs, id, *names):
    query = sa.select(*[table.c[name] for name in names]).where(table.c.id == id)
    return jobs.database.read(lambda c: tuple(c.execute(query).one()))


def used(jobs):
    """Return (request id, status, code, source) of every row of usage."""
    names = ("request_id", "status", "code", "usage_source")
    query = sa.select(*[usage.c[name] for name in names]).order_by(usage.c.request_id)
    return jobs.database.read(lambda c: [tuple(row) for row in c.execute(query)])


def usage_row(claimed):
    return {
        **dict.fromkeys(str(column.name) for column in usage.columns if column.name != "id"),
        "created_at": 1.0,
        "request_id": claimed.request_id,
        "status": 200,
        "end": "ok",
        "usage_source": "upstream",
        "total_ms": 5,
    }


def complete(jobs, claimed, **more):
    given = {"result_status": 200, "result": b'{"a":1}', "usage": USAGE, **more}
    return jobs.finish(claimed, "completed", usage_row=usage_row(claimed), **given)


def sweep(jobs, also=()):
    Sweep(jobs, also).sweep(threading.Event())


def code(row):
    return row.error and json.loads(row.error)["code"]


def another(jobs):
    """Return the store of another process; its database is to be closed."""
    return Jobs(Database(jobs.database.url), settings())
