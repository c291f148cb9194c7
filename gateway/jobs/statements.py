"""What is asked of the table of jobs; statements are built once, because that costs more than
running them.

Parameters are named apart from columns. `now` is the clock's time, `tick` that of a clock that
nobody puts forward or back, which leases go by. PostgreSQL passes over both: several machines may
share it, and then its own clock decides.
"""

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from gateway.tables import jobs as table

QUEUED, RUNNING = "queued", "in_progress"
ENDED = ("completed", "failed", "cancelled", "incomplete", "expired")
OPEN_STATUSES = (QUEUED, RUNNING)
STATUSES = (*OPEN_STATUSES, *ENDED)
BATCH = 100  # rows that a sweep changes or deletes at once
SPACING = 1.0  # seconds by which a job queues behind the one before it of the same key
STALE = 30.0  # seconds that a key may stand before newer jobs while it only waits for its limits


class Now(FunctionElement):
    """The time in unix seconds."""

    type, name, inherit_cache = sa.Double(), "now", True


class Tick(FunctionElement):
    """The seconds that leases go by, the same for all processes that share the database."""

    type, name, inherit_cache = sa.Double(), "tick", True


@compiles(Now)
@compiles(Tick)
def ours(element, compiler, **how):
    return compiler.process(sa.bindparam(element.name, type_=sa.Double()), **how)


@compiles(Now, "postgresql")
@compiles(Tick, "postgresql")
def theirs(element, compiler, **how):
    return "extract(epoch from statement_timestamp())::float8"


row, now, tick = table.c, Now(), Tick()


def given(name, type_=None):
    return sa.bindparam(f"of_{name}", type_=type_)


def among(name):
    return sa.bindparam(f"of_{name}", expanding=True)


# What is shown of a job but its result, which may be large.
SHOWN = (
    row.id, row.endpoint, row.model, row.status, row.created_at, row.started_at, row.completed_at,
    row.cancelled_at, row.expires_at, row.request_id, row.metadata, row.attempts, row.usage,
    row.result_status, row.error, row.background, row.key,
)  # fmt: skip

OPEN = row.status.in_(OPEN_STATUSES)
LIVE = row.expires_at.is_(None) | (row.expires_at > now)
MINE = (row.id == given("id")) & (row.key == given("key")) & LIVE
HELD = (
    (row.id == given("id"))
    & (row.worker == given("worker"))
    & (row.claims == given("claims"))
    & (row.status == RUNNING)
)
FREE = {"worker": None, "lease_until": None}
# The prompt is not needed any more, but a background response repeats what it was asked.
SPENT = sa.case((row.background, row.payload), else_=None)

# Adding: what a key has open and where its last one queues, all that is open, and the row.
LOCK = sa.text("select pg_advisory_xact_lock(1785684595, hashtext(:name))")  # a number of ours
OF_KEY = sa.select(sa.func.count(), sa.func.max(sa.case((row.status == QUEUED, row.place)))).where(
    row.key == given("key"), OPEN
)
OF_ALL = sa.select(sa.func.count()).where(OPEN)
ADD = (
    table.insert()
    .values(
        created_at=now,
        place=sa.case((now > given("place", sa.Double), now), else_=given("place", sa.Double)),
        status=QUEUED,
        not_before=0,
        attempts=0,
        claims=0,
        answered=False,
        cancel=False,
    )
    .returning(*SHOWN)
)

# Taking: the first in the queue that may run now and that nobody else is just taking. Where one
# waits for its key's limits, those behind it of that key would be tried for nothing, all of them.
ahead = table.alias("ahead")
HELD_UP = sa.exists().where(
    ahead.c.key == row.key,
    ahead.c.status == QUEUED,
    ahead.c.place < row.place,
    ahead.c.not_before > now,
)
READY = (row.status == QUEUED) & (row.not_before <= now) & ~HELD_UP
WAITING = sa.select(sa.exists().where(READY))
FIRST = sa.select(row.id).where(READY).order_by(row.place).limit(1)
CLAIM = (
    table.update()
    .where(row.id == FIRST.with_for_update(skip_locked=True, of=table).scalar_subquery())
    .values(
        status=RUNNING,
        worker=given("worker"),
        lease_until=tick + given("lease", sa.Double),
        attempts=row.attempts + 1,
        claims=row.claims + 1,
        started_at=now,
    )
    .returning(
        row.id, row.claims, row.attempts, row.key, row.endpoint, row.model, row.payload,
        row.request_id, row.background, row.created_at,
    )
)  # fmt: skip

# Holding.
ANSWERED = table.update().where(HELD).values(answered=True)
OURS = (row.worker == given("worker")) & (row.status == RUNNING) & row.id.in_(among("ids"))
LEASES = sa.select(
    row.id, row.cancel, (row.lease_until < tick + given("due", sa.Double)).label("due")
).where(OURS)
BEAT = (
    table.update()
    .where(OURS)
    .values(lease_until=tick + given("lease", sa.Double))
    .returning(row.id, row.cancel)
)


def end(status, where):
    """Return the statement that ends jobs; it gives what usage is counted by."""
    moment = row.cancelled_at if status == "cancelled" else row.completed_at
    return (
        table.update()
        .where(where)
        .values(
            status=status,
            expires_at=now + given("kept", sa.Double),
            error=given("error", sa.LargeBinary),
            payload=SPENT,
            **{moment.name: now},
            **FREE,
        )
        .returning(*SHOWN)
    )


FINISH = {
    status: end(status, HELD).values(
        result_status=given("result_status", sa.Integer),
        result=given("result", sa.LargeBinary),
        usage=given("usage", sa.LargeBinary),
    )
    for status in ENDED
}


def yield_to_cancel(asked, **otherwise):
    """Return what a job becomes that is cancelled where `asked`, and else as is said."""

    def either(value, column, otherwise):
        return sa.case((asked, value), else_=otherwise.get(column.name, column))

    return {
        "status": either("cancelled", row.status, otherwise),
        "cancelled_at": either(now, row.cancelled_at, otherwise),
        "expires_at": either(now + given("kept", sa.Double), row.expires_at, otherwise),
        "error": either(given("error", sa.LargeBinary), row.error, otherwise),
        "payload": either(SPENT, row.payload, otherwise),
    }


WAIT = given("wait", sa.Double)
# Whoever gives a job back that is to be cancelled has cancelled it.
RELEASE = (
    table.update()
    .where(HELD, ~row.answered)
    .values(
        **yield_to_cancel(row.cancel, status=QUEUED),
        attempts=row.attempts - given("unspent", sa.Integer),
        not_before=sa.case((WAIT > 0, now + WAIT), else_=0),
        started_at=None,
        **FREE,
    )
    .returning(*SHOWN, (row.place < now - STALE).label("stale"))
)
# A key at its limits goes behind who has come meanwhile, with all that it has queued, or each of
# its tries would come before a newer job of another key. Now and then: that writes many rows.
ORDERED = (
    sa.select(
        row.id, sa.func.row_number().over(order_by=(row.created_at, row.place)).label("number")
    )
    .where(row.key == given("key"), row.status == QUEUED)
    .subquery()
)
BEHIND = (
    table.update()
    .where(row.id == ORDERED.c.id)
    .values(place=now + SPACING * (ORDERED.c.number - 1))
)
# One that ends has given its slot back, which the key's first job that waits may take at once.
WAITS = sa.select(row.id).where(row.key == given("key"), row.status == QUEUED, row.not_before > now)
WAKE = (
    table.update()
    .where(
        row.id
        == WAITS.order_by(row.place).limit(1).with_for_update(skip_locked=True).scalar_subquery()
    )
    .values(not_before=0)
)
# One statement, so that nobody takes or ends the job between a look and the change.
CANCEL = (
    table.update()
    .where(MINE, OPEN)
    .values(**yield_to_cancel(row.status == QUEUED), cancel=True)
    .returning(*SHOWN)
)

# Reading.
ONE = sa.select(*SHOWN, row.result).where(MINE)
ASKED = sa.select(row.payload).where(MINE)
OWNER = sa.select(row.key).where(row.id == given("id"))
STATUS = sa.select(row.id, row.status).where(row.id.in_(among("ids")))
MARK = sa.select(row.created_at, row.id).where(MINE)
AGE = sa.tuple_(row.created_at, row.id)
CURSOR = sa.tuple_(given("created_at", sa.Double), given("id"))


def page(order, after):
    """Return the query of a page: newest or oldest first, from the start or after a row."""
    turned = sa.asc if order == "asc" else sa.desc
    beyond = AGE > CURSOR if order == "asc" else AGE < CURSOR
    query = sa.select(*SHOWN).where(row.key == given("key"), LIVE)
    query = query.where(beyond) if after else query
    return query.order_by(turned(row.created_at), turned(row.id)).limit(given("most"))


def newest(*where):
    query = sa.select(*SHOWN).where(*where).order_by(row.created_at.desc(), row.id.desc())
    return query.limit(given("most"))


NEWEST = {
    (of_key, of_status): newest(
        *[row.key == given("key")] * of_key, *[row.status == given("status")] * of_status
    )
    for of_key in (False, True)
    for of_status in (False, True)
}
PAGES = {(order, after): page(order, after) for order in ("asc", "desc") for after in (True, False)}

# Sweeping. Rows that another sweep is just changing are passed over.
# A lease that ends later than any is given for is from before a restart of the machine.
OVER = (row.lease_until < tick) | (row.lease_until > tick + given("longest", sa.Double))
LOST = (row.status == RUNNING) & OVER
TRIED = row.answered | (row.attempts >= given("tries", sa.Integer))


def due(where):
    return sa.select(row.id).where(where).limit(BATCH).with_for_update(skip_locked=True)


THESE = row.id.in_(among("ids"))
# What became of a job: which ones, and the statement that changes them.
MEND = {
    "cancelled": (due(LOST & row.cancel), end("cancelled", THESE)),
    "lost": (due(LOST & TRIED & ~row.cancel), end("failed", THESE)),
    "requeued": (
        due(LOST & ~TRIED & ~row.cancel),
        table.update()
        .where(THESE)
        .values(status=QUEUED, started_at=None, **FREE)
        .returning(row.id),
    ),
    "expired": (
        due((row.status == QUEUED) & (row.created_at < now - given("kept", sa.Double))),
        end("expired", THESE),
    ),
}
BYTES = sum(sa.func.coalesce(sa.func.length(large), 0) for large in (row.payload, row.result))
OLD = due(row.expires_at <= now).add_columns(BYTES)
DELETE = table.delete().where(THESE)
DISCARD = table.delete().where(MINE).returning(*SHOWN)
COUNTS = sa.select(row.status, sa.func.count()).group_by(row.status)
OPEN_COUNTS = COUNTS.where(OPEN)
OLDEST = sa.select(now - sa.func.min(row.created_at)).where(row.status == QUEUED)
