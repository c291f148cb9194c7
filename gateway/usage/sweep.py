"""Rows of usage go when their retention is over, and the sums of their hours with them."""

import threading
import time
from functools import partial

import sqlalchemy as sa

from gateway import periods
from gateway.sweeping import Sweeping, in_batches
from gateway.tables import usage as rows
from gateway.tables import usage_totals as totals
from gateway.usage.writing import COUNTS, HOUR, LARGEST

BATCH = 500  # rows deleted at once
EVERY = (1800, 5400)  # seconds between two sweeps

OLD_ROWS = sa.select(rows.c.id).where(rows.c.created_at < sa.bindparam("until"))
OLD_ROWS = OLD_ROWS.order_by(rows.c.created_at).limit(BATCH)
DELETE_ROWS = rows.delete().where(rows.c.id.in_(OLD_ROWS))
PLACE = (totals.c.kind, totals.c.name, totals.c.hour)
OLD = (totals.c.hour < sa.bindparam("until")) & (totals.c.hour > 0)
UNCOUNTED = (totals.c.kind != "key") | (totals.c.hour < sa.bindparam("counted"))
OLD_TOTALS = sa.select(*PLACE).where(OLD, UNCOUNTED)
OLD_TOTALS = OLD_TOTALS.order_by(totals.c.hour).limit(BATCH)
DELETE_TOTALS = totals.delete().where(sa.tuple_(*PLACE).in_(OLD_TOTALS)).returning(*totals.c)


class Sweep(Sweeping):
    """Deletes rows that are older than so many days, every hour or so."""

    def __init__(self, database, days, clock=time.time):
        super().__init__(EVERY, "usage could not be swept")
        self.database, self.days, self.clock = database, days, clock

    def sweep(self, stop=None):
        """Delete what is too old by whole hours, so that sums and rows tell the same."""
        stop, now = stop or threading.Event(), self.clock()
        until = (now - self.days * 86400) // HOUR * HOUR
        # Budgets learn from the sums of keys what was spent since their periods began.
        counted = min(until, *(periods.start(period, now) for period in ("week", "month")))
        for work in (
            partial(purge_rows, until=until),
            partial(purge_totals, until=until, counted=counted),
        ):
            in_batches(partial(self.database.write, work), stop)


def purge_rows(connection, until):
    return connection.execute(DELETE_ROWS, {"until": until}).rowcount


def purge_totals(connection, until, counted):
    """Delete sums, those of keys until `counted`, and keep what keys have spent in all."""
    gone = connection.execute(DELETE_TOTALS, {"until": until, "counted": counted}).all()
    spent = {}
    for row in gone:
        if row.kind == "key":
            sums = spent.setdefault(row.name, dict.fromkeys(("requests", *COUNTS)))
            for name in sums:
                sums[name] = added(sums[name], getattr(row, name))
    if spent:
        found = [{"kind": "key", "name": name, "hour": 0, **spent[name]} for name in sorted(spent)]
        connection.execute(upsert(connection), found)
    return len(gone)


def added(one, other):
    """Add two sums, either of which may be unknown."""
    return other if one is None else one if other is None else min(one + other, LARGEST)


def bounded(one, other):
    """Return the expression that adds two sums, as far as a sum goes."""
    return sa.case((one > LARGEST - other, LARGEST), else_=one + other)


def upsert(connection):
    """Return the statement that adds to sums."""
    kind = getattr(sa.dialects, connection.dialect.name)
    statement = kind.insert(totals)
    new = statement.excluded
    sums = {
        name: sa.func.coalesce(bounded(totals.c[name], new[name]), totals.c[name], new[name])
        for name in ("requests", *COUNTS)
    }
    return statement.on_conflict_do_update(index_elements=PLACE, set_=sums)
