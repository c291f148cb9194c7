"""The rows of calls with an Idempotency-Key: each function runs within one transaction."""

import math
import time

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.tables import idempotency as table

BATCH = 200  # rows deleted at once
LONGEST = 120  # seconds that no lease is given for

INSERT = {
    dialect.__name__.rpartition(".")[2]: dialect.insert(table)
    .on_conflict_do_nothing()
    .returning(table.c.recording)
    for dialect in (sqlite, postgresql)
}
NAMED = (
    (table.c.key == sa.bindparam("of_key"))
    & (table.c.endpoint == sa.bindparam("of_endpoint"))
    & (table.c.name == sa.bindparam("of_name"))
)
AS_SEEN = NAMED & (table.c.recording == sa.bindparam("of_recording"))
MINE = AS_SEEN & (table.c.owner == sa.bindparam("of_owner"))
# Several machines may share a PostgreSQL, and then its own clock decides.
MOMENT = sa.select(sa.extract("epoch", sa.func.clock_timestamp()).cast(sa.Double))
FIND = sa.select(table).where(NAMED)
# Its owner may have ended it, or renewed its lease, since it was seen.
TAKE_OVER = table.update().where(
    AS_SEEN, table.c.lease_until.is_not_distinct_from(sa.bindparam("of_lease", type_=sa.Double()))
)
KEEP = table.update().where(MINE).values(owner=None, lease_until=None)
FREE = table.delete().where(MINE)
OWNED = table.c.owner == sa.bindparam("of_owner")
# What another transaction of this process is just ending needs no lease, and no wait for it.
UNLOCKED = sa.select(table.c.recording).where(OWNED).with_for_update(skip_locked=True)
BEAT = (
    table.update()
    .where(OWNED, table.c.recording.in_(UNLOCKED.scalar_subquery()))
    .values(lease_until=sa.bindparam("until"))
    .returning(table.c.recording)
)
DISOWN = table.delete().where(
    OWNED, table.c.recording.in_(sa.bindparam("recordings", expanding=True))
)
ALIVE = sa.select(table.c.lease_until).where(AS_SEEN)
# A call that runs has its name, however long ago a clock that was put forward says it began.
ENDED = table.c.owner.is_(None) | ~table.c.lease_until.between(
    sa.bindparam("soonest", type_=sa.Double()), sa.bindparam("latest", type_=sa.Double())
)
SPENT = (
    sa.select(table.c.key, table.c.endpoint, table.c.name, table.c.recording)
    .where(table.c.expires_at <= sa.bindparam("now"), ENDED)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)
PURGE = table.delete().where(AS_SEEN)


def moment(connection, clock):
    """Return the unix seconds that all who share the database agree on."""
    return connection.scalar(MOMENT) if connection.dialect.name == "postgresql" else clock()


def tick(connection):
    """Return the seconds that leases go by, of a clock that nobody puts forward or back."""
    return (
        connection.scalar(MOMENT) if connection.dialect.name == "postgresql" else time.monotonic()
    )


def term(connection):
    """Return the soonest and the latest second at which a lease may end that lasts.

    On SQLite one that ends later than any is given is from before a restart of the machine.
    """
    now = tick(connection)
    return now, math.inf if connection.dialect.name == "postgresql" else now + LONGEST


def lasts(connection, until):
    soonest, latest = term(connection)
    return soonest <= until <= latest


def named(row):
    """Return the parameters that find a row by its name, and by the recording it was seen with."""
    return {
        "of_key": row["key"],
        "of_endpoint": row["endpoint"],
        "of_name": row["name"],
        "of_recording": row["recording"],
    }


def mine(row):
    return {**named(row), "of_owner": row["owner"]}


def begin(connection, row, lease, kept, clock):
    """Make a row one's own if nobody has it; return the row as it stands then, as a dict.

    Nobody has a row whose owner's lease has run out, nor one that has itself, its call ended.
    """
    while True:
        now = moment(connection, clock)
        row = {**row, "lease_until": tick(connection) + lease, "expires_at": now + kept}
        if connection.scalar(INSERT[connection.dialect.name], row) is not None:
            return row
        found = connection.execute(FIND, named(row)).mappings().first()
        if found is None:
            continue  # it was deleted just now
        if not free(connection, found, now):
            return dict(found)
        seen = {**named(found), "of_lease": found["lease_until"]}
        if connection.execute(TAKE_OVER, {**seen, **row}).rowcount:
            return row


def free(connection, row, now):
    if row["owner"] is None:
        return row["expires_at"] <= now
    return not lasts(connection, row["lease_until"])


def keep(connection, row):
    """Let a row's recording be replayed from now on; tell whether the row was still one's own."""
    return connection.execute(KEEP, mine(row)).rowcount == 1


def let_go(connection, row):
    """Free a row's name for another call; tell whether the row was still one's own."""
    return connection.execute(FREE, mine(row)).rowcount == 1


def alive(connection, row):
    """Tell whether a row's call still runs, as far as its lease says."""
    until = connection.scalar(ALIVE, named(row))
    return until is not None and lasts(connection, until)


def beat(connection, owner, lease):
    """Renew the lease of all that a process owns, and return their recordings' ids."""
    until = tick(connection) + lease
    return set(connection.scalars(BEAT, {"of_owner": owner, "until": until}))


def disown(connection, owner, recordings):
    """Free the names of rows that a process owns without knowing them."""
    connection.execute(DISOWN, {"of_owner": owner, "recordings": list(recordings)})


def purge(connection, clock):
    """Delete a batch of rows that have run out, and return how many."""
    soonest, latest = term(connection)
    limits = {"now": moment(connection, clock), "soonest": soonest, "latest": latest}
    spent = connection.execute(SPENT, limits).mappings().all()
    return sum(connection.execute(PURGE, named(row)).rowcount for row in spent)
