"""What was used: by key, by model or by day (UTC), and what a key has spent."""

import itertools
import math
from functools import partial

import sqlalchemy as sa

from gateway.tables import keys
from gateway.tables import usage as rows
from gateway.tables import usage_totals as totals
from gateway.usage.writing import COUNTS, HOUR

DAY = 24 * HOUR
PART = 2**31  # what sums are taken apart by
SUMS = ("requests", *COUNTS)
BY = ("key", "model", "day")
SINCE, FIRST = sa.bindparam("since"), sa.bindparam("first")
# The rows of the hour that the window cuts; all other hours are there as sums. One statement reads
# both, so that what is committed meanwhile is in both or in neither.
CUT = (rows.c.created_at >= SINCE) & (rows.c.created_at < FIRST)


def summed(column):
    """Return the sum of a column, in parts that `joined` takes: SQLite's own would overflow."""
    return sa.func.sum(column // PART), sa.func.sum(column % PART)


def joined(high, low):
    return None if high is None else int(high) * PART + int(low)


def query(kind, hours, cut):
    """Return the query that groups sums of a kind by `hours`, and the rows beside them by `cut`."""
    whole = sa.select(hours.label("found"), *(totals.c[name] for name in SUMS))
    counted = (rows.c[name] for name in COUNTS)
    part = sa.select(cut.label("found"), sa.literal_column("1").label("requests"), *counted)
    both = sa.union_all(
        whole.where((totals.c.kind == kind) & (totals.c.hour >= FIRST)), part.where(CUT)
    ).subquery()
    sums = itertools.chain.from_iterable(summed(both.c[name]) for name in SUMS)
    return sa.select(both.c.found, *sums).group_by(both.c.found)


QUERIES = {
    "key": query("key", totals.c.name, sa.func.coalesce(rows.c.key, "")),
    "model": query("model", totals.c.name, sa.func.coalesce(rows.c.model, "")),
    "day": query(
        "model", totals.c.hour - totals.c.hour % DAY, sa.bindparam("day", type_=sa.BigInteger)
    ),
}
NAMES = sa.select(keys.c.id, keys.c.name)
KEYS = sa.bindparam("keys", expanding=True)
SPENT = sa.union_all(
    sa.select(totals.c.name.label("key"), *summed(totals.c.cost))
    .where((totals.c.kind == "key") & totals.c.name.in_(KEYS) & (totals.c.hour >= FIRST))
    .group_by(totals.c.name),
    sa.select(rows.c.key, *summed(rows.c.cost))
    .where(CUT & rows.c.key.in_(KEYS))
    .group_by(rows.c.key),
)


def window(since):
    """Return the bounds of a window that begins at a unix second."""
    first = math.ceil(since / HOUR) * HOUR
    return {"since": float(since), "first": first}


def spent(database, keys, since):
    """Return {key: nano-USD} of what keys have spent since a unix second; 0 is since ever.

    `keys` are public ids, a few hundred at most. Quick where the window begins with an hour, as
    budgets' periods do.
    """
    asked = {**window(since), "keys": keys}
    found = dict.fromkeys(keys, 0)
    for key, *parts in database.read(lambda c: c.execute(SPENT, asked).all()):
        found[key] += joined(*parts) or 0
    return found


def report(database, by, since):
    """Return what was used since a unix second, as dicts: by "key", "model" or "day".

    Each has requests, the counts of tokens, and the cost in nano-USD; null where nobody knew any. A
    `key` comes with its `name`, null where there is no such key; a `day` is the unix second at
    which it began. Days are in their order, else what cost most comes first.
    """
    # The hour 0 holds what lies before the oldest row, of keys alone.
    since = max(since, HOUR)
    bounds = window(since)
    if by == "day":
        bounds["day"] = math.floor(since / DAY) * DAY
    found = database.read(partial(read, by=by, bounds=bounds))
    if by == "day":
        return sorted(found, key=lambda row: row["day"])
    return sorted(found, key=lambda row: (-(row["cost"] or 0), -row["requests"], row[by]))


def read(connection, by, bounds):
    names = {}
    if by == "key":
        names = {f"key_{row.id}": row.name for row in connection.execute(NAMES)}
    found = []
    for group, *sums in connection.execute(QUERIES[by], bounds):
        title = {"key": group, "name": names.get(group)} if by == "key" else {by: group}
        counts = (joined(*parts) for parts in zip(sums[::2], sums[1::2], strict=True))
        found.append({**title, **dict(zip(SUMS, counts, strict=True))})
    return found
