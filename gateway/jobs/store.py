"""Jobs as rows: added, taken, held, ended. Each change compares and sets, so that none is lost.

Whoever takes a job holds it by a lease that it has to renew. What it writes about the job counts
only while the job is still its own: one that was given to another, or that has ended, is not
changed any more.
"""

import math
import re
import secrets
import time
from functools import partial
from typing import NamedTuple

import orjson

from gateway import engines, errors
from gateway.jobs import rows
from gateway.jobs import statements as sql
from gateway.jobs.background import NoBackground

FORM = re.compile(r"(?:job|resp)_[0-9a-f]{32}")  # our ids: nothing else is looked for
LEASE = 30  # seconds that a job is a worker's without a sign of life
LONGEST = 120  # seconds that no lease is given for
RENEW = 10  # seconds between two of these
MOST = 10_000  # jobs of all keys that are queued and running
NEAR = 500  # places below that which are given away one by one
BUSY = 5  # seconds after which to ask again where there is no room
CANCELLED = orjson.dumps(errors.JobCancelled().body()["error"])


def nothing(*given):
    pass


class Claimed(NamedTuple):
    """A job that a worker has taken; `claim` tells this time from every earlier one."""

    id: str
    claim: int
    attempt: int
    worker: str
    key: str
    endpoint: str
    model: str
    payload: dict
    request_id: str
    background: bool
    created_at: float


class Jobs:
    """The jobs of all keys; `settings` is the table [jobs].

    `told.ended(connection, rows)` hears, within the transaction, of jobs that end otherwise than by
    their worker.

    Every method that asks the database raises DependencyUnavailable while it is away.
    """

    def __init__(self, database, settings, clock=time.time, told=None):
        self.database, self.clock = database, clock
        self.told = told or NoBackground()
        self.per_key, self.kept = settings.per_key, settings.retention_hours * 3600
        self.peeks = engines.is_sqlite(database.url)
        self.longest = LONGEST if self.peeks else math.inf

    def add(self, key, endpoint, payload, request_id, background=False, id=None, also=nothing):
        """Queue a job and return its row; it is on disk then. Raises JobQueueFull.

        `also(connection, row)` runs in the same transaction.
        """
        metadata = payload.get("metadata")
        added = self.write(
            partial(rows.add, per_key=self.per_key, most=MOST, near=NEAR, also=also),
            id=id or f"job_{secrets.token_hex(16)}",
            key=key,
            endpoint=endpoint,
            model=payload["model"],
            request_id=request_id,
            background=background,
            metadata=orjson.dumps(metadata) if isinstance(metadata, dict) else None,
            payload=orjson.dumps(payload),
        )
        if isinstance(added, str):
            raise errors.JobQueueFull(added, retry_after=BUSY)
        return added

    def claim(self, worker):
        """Take the job that is next in the queue and return it as Claimed, or None."""
        # Where there is one writer at a time, who only looks must not be one.
        if self.peeks and not self.read(rows.first, sql.WAITING)[0]:
            return None
        row = self.write(rows.first, sql.CLAIM, of_worker=worker, of_lease=LEASE)
        if row is None:
            return None
        found = {**row._mapping, "payload": orjson.loads(row.payload), "worker": worker}
        return Claimed(claim=found.pop("claims"), attempt=found.pop("attempts"), **found)

    def answered(self, claimed):
        """Note that an answer has begun: from then on the call is never made again.

        False says that the job is no longer the worker's, which has to stop then.
        """
        return self.write(rows.count, sql.ANSWERED, **held(claimed)) == 1

    def release(self, claimed, wait=0, spent=False):
        """Give back a job whose answer has not begun; tell whether it was still ours to give.

        It is queued again, to `wait` some seconds with those behind it of its key, and has used up
        an attempt only where that was `spent`. One that is to be cancelled is cancelled by this.
        """
        more = {"of_key": claimed.key, "of_wait": wait, "of_unspent": 0 if spent else 1}
        release = partial(rows.release, told=self.told)
        return self.write(release, **held(claimed), **more, **self.ending(CANCELLED))

    def beat(self, worker, ids):
        """Renew leases; return the ids that are still the worker's, and those to be cancelled.

        Nothing is written while none is due, so that cancels may be looked for often.
        """
        if not ids:
            return set(), set()
        mine = {"of_worker": worker, "of_ids": list(ids)}
        found = self.read(rows.every, sql.LEASES, of_due=LEASE - RENEW, **mine)
        if any(row.due for row in found):
            found = self.write(rows.every, sql.BEAT, of_lease=LEASE, **mine)
        return {row.id for row in found}, {row.id for row in found if row.cancel}

    def finish(
        self,
        claimed,
        status,
        result_status=None,
        result=None,
        error=None,
        usage=None,
        usage_row=None,
        also=nothing,
    ):
        """End a job for good, with the row of its usage; tell whether it was still ours.

        `result` is JSON as bytes, `error` what an OpenAI error object holds, `usage` the answer's
        own words about it, `usage_row` a row as the Recorder takes it. `also(connection)` runs in
        the same transaction, if it was still ours.
        """
        said = None if error is None else orjson.dumps(error)
        return self.write(
            partial(rows.finish, query=sql.FINISH[status], usage_row=usage_row, also=also),
            **held(claimed),
            **self.ending(said or (CANCELLED if status == "cancelled" else None)),
            of_result_status=result_status,
            of_result=result,
            of_usage=None if usage is None else orjson.dumps(usage),
        )

    def cancel(self, key, id):
        """Cancel a job and return its row, or None where the key has none of this id.

        A queued one is cancelled at once, a running one is flagged for its worker; one that has
        ended stays as it is.
        """
        if not FORM.fullmatch(id):
            return None
        cancel = partial(rows.cancel, told=self.told)
        return self.write(cancel, of_id=id, of_key=key, **self.ending(CANCELLED))

    def discard(self, key, id, also=()):
        """Delete a job, whatever its status, and tell whether the key had it.

        `also` are called with a connection and its id in a list, in the same transaction. A worker
        that runs it finds that it is no longer its own.
        """
        return self.write(partial(rows.discard, also=also), of_id=id, of_key=key)

    def get(self, key, id):
        """Return a job's row with its result, or None where the key has none of this id."""
        if not FORM.fullmatch(id):
            return None
        return self.read(rows.first, sql.ONE, of_id=id, of_key=key)

    def asked(self, key, id):
        """Return a job's payload; None if there is no such job or its payload is gone."""
        if not FORM.fullmatch(id):
            return None
        row = self.read(rows.first, sql.ASKED, of_id=id, of_key=key)
        return orjson.loads(row.payload) if row and row.payload else None

    def page(self, key, most, after=None, order="desc"):
        """Return rows of a key's jobs, those after one of them, and whether there are more.

        Their results are left out. None if the key has no job `after`.
        """
        if after is not None and not FORM.fullmatch(after):
            return None
        return self.read(partial(rows.page, order=order, most=most, after=after), of_key=key)

    def newest(self, most, key=None, status=None):
        """Return rows of the newest jobs of one key or all, without their results."""
        query = sql.NEWEST[key is not None, status is not None]
        return self.read(rows.every, query, of_most=most, of_key=key, of_status=status)

    def owner(self, id):
        """Return the id of the key whose job it is, or None."""
        row = self.read(rows.first, sql.OWNER, of_id=id) if FORM.fullmatch(id) else None
        return row and row.key

    def statuses(self, ids):
        """Return the status of each of these jobs that there is."""
        found = self.read(rows.every, sql.STATUS, of_ids=list(ids))
        return {row.id: row.status for row in found}

    def ending(self, error):
        """Return the parameters of a statement that ends jobs."""
        return {"of_error": error, "of_kept": self.kept}

    def read(self, fn, *args, **values):
        values["now"], values["tick"] = self.clock(), time.monotonic()
        return self.database.read(lambda connection: fn(connection, *args, values=values))

    def write(self, fn, *args, **values):
        values["now"], values["tick"] = self.clock(), time.monotonic()
        return self.database.write(lambda connection: fn(connection, *args, values=values))


def held(claimed):
    """Return the parameters by which a row is known to be still the claimed one."""
    return {"of_id": claimed.id, "of_worker": claimed.worker, "of_claims": claimed.claim}
