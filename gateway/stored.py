"""Responses that clients may come back to: kept in the database for their retention, no longer.

A row holds what one request added and what was answered; the turns before it are found through
`previous`. A row that has run out or was deleted is nobody's to read, and goes as soon as no
later turn builds on it.
"""

import logging
import math
import re
import time
from functools import partial
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from gateway import errors
from gateway.schemas.strict_json import pieces_outside
from gateway.sweeping import WEIGHT, Sweeping, in_batches, portion
from gateway.tables import responses as table

log = logging.getLogger("gateway")

FORM = re.compile(r"resp_[0-9a-f]{32}")  # our ids: nothing else is looked for
LARGEST = 16 * 1024 * 1024  # bytes of one response with what its request added
LONGEST = 16 * 1024 * 1024  # bytes of all the turns that a request may build on
DENSEST = 1_000_000  # commas and opening brackets in them: parsing holds every other client up
LINKS = 200  # turns that are read one by one; the next one is stored with all before it
MOST, MOST_BYTES = 100_000, 1024**3  # responses of one key: beyond these the oldest go
BATCH = 100  # rows deleted at once
EVERY = 60  # seconds between two sweeps; fewer where the retention is short
REST = 5  # seconds in which nothing is stored once the database was away


class History(NamedTuple):
    """The items of a conversation; `links` counts the rows that they were read from."""

    items: list
    links: int


class Stored(Sweeping):
    """The stored responses of all keys; `hours` is how long they are kept.

    Dates are `clock`'s, and pauses go by `ticks`, which nobody puts forward or back.
    """

    def __init__(self, database, hours, clock=time.time, ticks=time.monotonic):
        self.database, self.seconds, self.clock = database, hours * 3600, clock
        self.ticks = ticks
        every = min(EVERY, self.seconds / 4)
        super().__init__((every / 2, every * 1.5), "stored responses could not be swept")
        self.busy = set()  # keys that have stored something since the last sweep
        self.resting = -math.inf

    def put(self, key, response, added, previous=None, before=None):
        """Store a response that has ended, and tell whether that was possible.

        `added` are the items that its request brought, `previous` the id of the response that it
        builds on and `before` that one's History. Raises nothing: the answer has been paid for.
        """
        if self.ticks() < self.resting:
            return False
        try:
            row = self.row(key, response, added)
            if row["size"] > LARGEST:
                return False
            self.database.write(partial(insert, row=row, previous=previous, before=before))
        except errors.DependencyUnavailable:
            self.resting = self.ticks() + REST
            log.warning("a response was not stored, because the database is away")
            return False
        except Exception as exc:
            log.error("a response could not be stored", exc_info=exc)
            return False
        self.busy.add(key)
        return True

    def row(self, key, response, added):
        now = self.clock()
        found = {
            "input": orjson.dumps(added),
            "output": orjson.dumps(response["output"]),
            "rest": orjson.dumps({**response, "output": []}),
        }
        return {
            "id": response["id"],
            "key": key,
            "created_at": now,
            "expires_at": now + self.seconds,
            "model": response["model"],
            "status": str(response["status"])[:16],  # an upstream may say anything
            "size": sum(map(len, found.values())),
            **found,
        }

    def get(self, key, id):
        """Return a Response object, or None where the key has none of this id."""
        row = self.ask(self.database.read, one, key, id)
        return row and {**orjson.loads(row.rest), "output": orjson.loads(row.output)}

    def delete(self, key, id):
        """Delete a response, and tell whether the key had it."""
        return bool(self.ask(self.database.write, remove, key, id))

    def items(self, key, id):
        """Return the items that a response was made from, the oldest first, or None."""
        rows = self.chain(key, id)
        return rows and [*unfolded(rows[:-1]), *orjson.loads(rows[-1].input)]

    def history(self, key, id):
        """Return what the next turn builds on, as a History, or None.

        Raises InvalidValue for a conversation that has grown too long.
        """
        rows = self.chain(key, id)
        if rows is None:
            return None
        measure(rows)
        return History(unfolded(rows), len(rows))

    def chain(self, key, id):
        """Return the rows of a conversation up to a response, the oldest first, or None."""
        rows = self.ask(self.database.read, turns, key, id)
        return rows if rows and rows[0].previous is None else None

    def ask(self, run, fn, key, id):
        """Run a function for a row that can be read; None for an id that is none of ours."""
        if not FORM.fullmatch(id):
            return None
        return run(partial(fn, mine={"of_id": id, "of_key": key, "now": self.clock()}))

    def sweep(self, stop):
        """Delete what has run out and what keys have too much of, a batch at a time."""
        keys, self.busy = self.busy, set()
        for key in keys:
            in_batches(partial(self.database.write, partial(trim, key=key)), stop)
        # A batch may free the turns before it, so the end is where nothing more goes.
        in_batches(lambda: self.database.write(partial(purge, now=self.clock())), stop)


def measure(rows):
    """Raise InvalidValue for turns that are too much to be read again and again."""
    found = [data for row in rows for data in (row.input, row.output)]
    if sum(map(len, found)) > LONGEST or dense(found):
        raise errors.InvalidValue(
            "This conversation has grown too long to be continued. Start a new one with a "
            "summary of it.",
            "previous_response_id",
            "context_length_exceeded",
        )


def dense(texts):
    """Tell whether texts of JSON hold too much; what is in strings costs a second look at most."""
    marks = sum(data.count(mark) for data in texts for mark in (b",", b"[", b"{"))
    return marks > DENSEST and sum(pieces_outside(data, DENSEST) for data in texts) > DENSEST


def unfolded(rows):
    return [item for row in rows for item in orjson.loads(row.input) + orjson.loads(row.output)]


# Statements are built once: building one costs more than running it.
LATER = table.alias("later")
CHILDLESS = ~sa.exists().where(LATER.c.previous == table.c.id)
LIVE = table.c.expires_at > sa.bindparam("now")
MINE = (table.c.id == sa.bindparam("of_id")) & (table.c.key == sa.bindparam("of_key")) & LIVE
ONE = sa.select(table.c.rest, table.c.output).where(MINE)
# Its lock keeps other transactions from deleting the row before the one that builds on it is there.
PARENT = sa.select(table.c.id).where(MINE).with_for_update(read=True, key_share=True)
INSERT = table.insert()
REMOVE = table.delete().where(MINE, CHILDLESS)
HIDE = table.update().where(MINE).values(expires_at=0)
# A statement that waits for a lock still sees what was there before it: no turn that was stored
# meanwhile. So rows are locked first, and what builds on them is looked for by the next statement.
HOLD = sa.select(table.c.id).where(MINE).with_for_update()
SPENT = (
    sa.select(table.c.id, table.c.size)
    .where(table.c.expires_at <= sa.bindparam("now"), CHILDLESS)
    .limit(BATCH)
    .with_for_update(skip_locked=True, of=table)
)
PURGE = table.delete().where(table.c.id.in_(sa.bindparam("ids", expanding=True)), CHILDLESS)


def _turns():
    chain = sa.select(table.c.id, table.c.previous, sa.literal(0).label("back")).where(MINE)
    chain = chain.cte("chain", recursive=True)
    before = sa.select(table.c.id, table.c.previous, chain.c.back + 1)
    chain = chain.union_all(before.join(chain, table.c.id == chain.c.previous))
    query = sa.select(table.c.previous, table.c.input, table.c.output)
    return query.join(chain, chain.c.id == table.c.id).order_by(chain.c.back.desc())


TURNS = _turns()


def one(connection, mine):
    return connection.execute(ONE, mine).first()


def turns(connection, mine):
    """Return the rows of a chain from its first to its last."""
    return connection.execute(TURNS, mine).all()


def remove(connection, mine):
    """Delete a row, or hide it while later turns build on it."""
    connection.execute(HOLD, mine)
    return connection.execute(REMOVE, mine).rowcount or connection.execute(HIDE, mine).rowcount


def insert(connection, row, previous, before):
    """Insert a row behind the one it builds on, or with all before it where that won't last."""
    if before is not None:
        mine = {"of_id": previous, "of_key": row["key"], "now": row["created_at"]}
        if before.links >= LINKS or connection.scalar(PARENT, mine) is None:
            previous = None
            found = orjson.dumps(before.items + orjson.loads(row["input"]))
            row = {**row, "input": found, "size": row["size"] - len(row["input"]) + len(found)}
    connection.execute(INSERT, {**row, "previous": previous})


def purge(connection, now):
    """Delete a batch of rows that have run out and that nothing builds on; return how many."""
    found = connection.execute(SPENT, {"now": now}).all()
    return connection.execute(PURGE, {"ids": portion(found, WEIGHT)}).rowcount if found else 0


def trim(connection, key):
    """Let a batch of a key's oldest rows run out if it has too many; return how many."""
    mine = table.c.key == key
    sums = sa.select(sa.func.count(), sa.func.sum(table.c.size)).where(mine)
    count, total = connection.execute(sums).one()
    if count <= MOST and (total or 0) <= MOST_BYTES:
        return 0
    newest = {"order_by": table.c.created_at.desc()}
    ranked = sa.select(
        table.c.created_at,
        sa.func.row_number().over(**newest).label("place"),
        sa.func.sum(table.c.size).over(**newest).label("total"),
    )
    ranked = ranked.where(mine).subquery()
    over = (ranked.c.place > MOST) | (ranked.c.total > MOST_BYTES)
    oldest = sa.select(sa.func.max(ranked.c.created_at)).where(over).scalar_subquery()
    query = sa.select(table.c.id).where(mine, table.c.created_at <= oldest, table.c.expires_at > 0)
    spent = table.update().where(table.c.id.in_(query.limit(BATCH))).values(expires_at=0)
    return connection.execute(spent).rowcount
