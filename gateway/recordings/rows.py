"""The statements over the rows of recordings, each run within a transaction.

They are built once, because building one costs more than running it.
"""

import functools
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.tables import jobs
from gateway.tables import recordings as table

HEAD = -1  # the part that holds the head of an answer
PAGE = 4  # rows read at once: what a reader holds in memory
BATCH = 200  # rows deleted at once


class Row(NamedTuple):
    """`data` is whole events, or a piece of one; `count` events end in it, the first is `seq`."""

    part: int
    seq: int
    count: int
    end: str | None
    data: bytes


COLUMNS = (table.c.part, table.c.seq, table.c.count, table.c.end, table.c.data)
# A write whose outcome nobody has heard is made again, and must not add its rows twice.
INSERT = {
    "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(table).on_conflict_do_nothing(),
}
OF_ID = table.c.id == sa.bindparam("of_id")
FROM = (
    sa.select(*COLUMNS)
    .where(OF_ID, table.c.part >= sa.bindparam("from_part"))
    .order_by(table.c.part)
    .limit(PAGE)
)
LAST = sa.select(sa.func.max(table.c.part)).where(OF_ID)
# A piece of a large event counts nothing, but belongs to the event that ends behind it.
SPAN = sa.case((table.c.count > 0, table.c.count), else_=1)
WANTED = table.c.seq + SPAN > sa.bindparam("wanted", type_=sa.BigInteger)
# What stands behind the end was written by somebody who had not heard of it.
FIRST = sa.select(sa.func.min(table.c.part)).where(
    OF_ID, table.c.part > HEAD, WANTED | table.c.end.is_not(None)
)
REMOVE = table.delete().where(table.c.id.in_(sa.bindparam("ids", expanding=True)))
STRAY = OF_ID & ~sa.exists().where(jobs.c.id == table.c.id)
FORGET = table.delete().where(STRAY)
EXPIRE = table.update().where(OF_ID).values(expires_at=sa.bindparam("at"))
SPENT = (
    sa.select(table.c.id, table.c.part)
    .where(table.c.expires_at <= sa.bindparam("now"))
    .order_by(table.c.expires_at)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)
PURGE = table.delete().where(OF_ID, table.c.part.in_(sa.bindparam("parts", expanding=True)))


def insert(connection, found):
    """Add rows, as dicts; those that are there already stay as they are."""
    if found:
        connection.execute(INSERT[connection.dialect.name], found)


def page(connection, id, part):
    """Return the first few rows from a part on."""
    found = connection.execute(FROM, {"of_id": id, "from_part": part})
    return [Row(*row) for row in found]


def start(connection, id, after):
    """Return the part in which to begin for the events behind ordinal `after`.

    It may lie too early, since rows are added meanwhile, but never too late.
    """
    last = connection.scalar(LAST, {"of_id": id})
    first = connection.scalar(FIRST, {"of_id": id, "wanted": after + 1})
    return max(last or 0, 0) if first is None else first


@functools.lru_cache(maxsize=16)
def _places(count):
    places = [
        (table.c.id == sa.bindparam(f"id{n}")) & (table.c.part == sa.bindparam(f"part{n}"))
        for n in range(count)
    ]
    return sa.select(table.c.id, *COLUMNS).where(sa.or_(*places))


def at(connection, places):
    """Return {(id, part): Row} of those rows that are there."""
    size = 1 << (len(places) - 1).bit_length()  # so that few statements serve any number
    values = {}
    for number in range(size):
        id, part = places[min(number, len(places) - 1)]
        values[f"id{number}"], values[f"part{number}"] = id, part
    found = connection.execute(_places(size), values)
    return {(row[0], row[1]): Row(*row[1:]) for row in found}


def remove(connection, ids):
    """Delete whole recordings."""
    connection.execute(REMOVE, {"ids": list(ids)})


def forget(connection, id):
    """Delete what came too late for the recording of a job that has been deleted."""
    connection.execute(FORGET, {"of_id": id})


def expire(connection, id, at):
    connection.execute(EXPIRE, {"of_id": id, "at": at})


def purge(connection, now):
    """Delete a batch of rows that have run out, and return how many."""
    spent = {}
    for id, part in connection.execute(SPENT, {"now": now}):
        spent.setdefault(id, []).append(part)
    return sum(
        connection.execute(PURGE, {"of_id": id, "parts": parts}).rowcount
        for id, parts in spent.items()
    )
