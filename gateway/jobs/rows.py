"""What is done with the rows of jobs within one transaction."""

from types import SimpleNamespace

from gateway import errors, usage
from gateway.jobs import statements as sql
from gateway.sweeping import portion
from gateway.tables import usage as usage_table

LONGEST = 2**31 - 1  # milliseconds that a row of usage can hold
NOTHING = {str(column.name): None for column in usage_table.columns if column.name != "id"}
ERRORS = {"cancelled": errors.JobCancelled, "failed": errors.WorkerLost}


def first(connection, query, values):
    return connection.execute(query, values).first()


def every(connection, query, values):
    return connection.execute(query, values).all()


def count(connection, query, values):
    return connection.execute(query, values).rowcount


def add(connection, per_key, most, near, also, values):
    """Insert a row and return it, or the sentence that says why there is no room for it."""
    key = {"of_key": values["key"]}
    lock(connection, values["key"])
    mine, last = connection.execute(sql.OF_KEY, key).one()
    if mine >= per_key:
        return f"This API key has {mine} jobs queued and running, as many as it may have."
    if connection.scalar(sql.OF_ALL) >= most - near:
        lock(connection, "")  # The last places are given away one by one.
        if connection.scalar(sql.OF_ALL) >= most:
            return "The queue is full."
    values = {**values, "of_place": 0 if last is None else last + sql.SPACING}
    row = connection.execute(sql.ADD, values).one()
    also(connection, row)
    return row


def lock(connection, name):
    """Keep others out who add for the same name, until this transaction has ended."""
    if connection.dialect.name == "postgresql":  # SQLite has a single writer anyway.
        connection.execute(sql.LOCK, {"name": name})


def release(connection, told, values):
    if values["of_wait"]:  # before any row, so that nobody who holds it waits for us
        lock(connection, values["of_key"])
    row = connection.execute(sql.RELEASE, values).first()
    if row is None:
        return False
    if row.status == "cancelled":
        account(connection, told, [row])
    elif values["of_wait"] and row.stale:
        connection.execute(sql.BEHIND, values)
    return True


def finish(connection, query, usage_row, also, values):
    """End a job that is still its worker's, and write its usage down; tell whether it was."""
    row = connection.execute(query, values).first()
    if row is None:
        return False
    connection.execute(sql.WAKE, {**values, "of_key": row.key})
    also(connection)
    if usage_row is not None:
        usage.insert(connection, [usage_row])
    return True


def cancel(connection, told, values):
    row = connection.execute(sql.CANCEL, values).first()
    if row is None:
        return connection.execute(sql.ONE, values).first()
    if row.status == "cancelled":
        account(connection, told, [row])
    return row


def discard(connection, also, values):
    """Delete a job with what others keep of it; tell whether there was one.

    Of one that still runs nobody will know what it has used.
    """
    row = connection.execute(sql.DISCARD, values).first()
    if row is None:
        return False
    for clean in also:
        clean(connection, [row.id])
    if row.status in sql.OPEN_STATUSES:
        ended = {**row._mapping, "status": "cancelled", "cancelled_at": values["now"]}
        count_unknown(connection, [SimpleNamespace(**ended)])
    return True


def page(connection, order, most, after, values):
    if after is not None:
        place = connection.execute(sql.MARK, {**values, "of_id": after}).first()
        if place is None:
            return None
        values = {**values, "of_id": place.id, "of_created_at": place.created_at}
    query = sql.PAGES[order, after is not None]
    rows = connection.execute(query, {**values, "of_most": most + 1}).all()
    return rows[:most], len(rows) > most


def account(connection, told, jobs):
    """Write down what is known of jobs that ended without their worker."""
    told.ended(connection, jobs)
    count_unknown(connection, jobs)  # the last: others that add to the same sums wait for it


def count_unknown(connection, jobs):
    """Write the usage of jobs that nobody has counted.

    One that never ran has used nothing, and gets no row.
    """
    rows = [unknown(job) for job in jobs if job.attempts]
    if rows:
        usage.insert(connection, rows)


def unknown(job):
    """Return the row of a job that nobody has counted."""
    error = ERRORS.get(job.status, errors.JobExpired)
    ended = job.cancelled_at or job.completed_at
    return {
        **NOTHING,
        "created_at": ended,
        "request_id": job.request_id,
        "key": job.key,
        "endpoint": job.endpoint,
        "model": job.model,
        "status": error.status,
        "code": error.code,
        "end": "cancelled" if job.status == "cancelled" else "error",
        "usage_source": usage.ABSENT,
        "total_ms": min(round((ended - job.created_at) * 1000), LONGEST),
    }


def mend(connection, told, said, values):
    """Put right a batch of each kind, `said` being their errors; return how many there were."""
    done, ended = {}, []
    for kind, (query, change) in sql.MEND.items():
        ids = connection.scalars(query, values).all()
        these = {**values, "of_ids": ids, "of_error": said.get(kind)}
        rows = every(connection, change, these) if ids else []
        ended += rows if kind != "requeued" else []
        done[kind] = len(rows)
    account(connection, told, ended)
    return done


def purge(connection, also, weight, values):
    """Delete a batch of what has run out, with what others keep of it.

    Returns how many, which weigh `weight` bytes at most, and whether there may be more.
    """
    found = connection.execute(sql.OLD, values).all()
    ids = portion(found, weight)
    if ids:
        for clean in also:
            clean(connection, ids)
        connection.execute(sql.DELETE, {"of_ids": ids})
    return len(ids), len(ids) < len(found) or len(found) == sql.BATCH
