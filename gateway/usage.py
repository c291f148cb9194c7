"""What every exchange has used: one row each, written in batches off the hot path."""

import collections
import itertools
import logging
import threading
import time
from functools import partial

import sqlalchemy as sa

from gateway import errors
from gateway.tables import usage as table
from gateway.tokens import Usage

log = logging.getLogger("gateway")

AT_ONCE = 100  # rows in one statement: SQLite takes 32,766 values, older ones fewer
BATCH = 500  # rows in one transaction
MOST = 100_000  # rows kept in memory while the database is away

# What a database says of a row that it will never take, whenever it is asked.
REFUSALS = (sa.exc.DataError, sa.exc.IntegrityError, ValueError, OverflowError)

UPSTREAM, ESTIMATED, ABSENT = "upstream", "estimated", "absent"


def estimate(call):
    """Return the Usage of a stream that ended before its upstream had counted, or None.

    A chunk is taken for a token, and four bytes of the request for one of its input.
    """
    relay = call.relay
    if relay is None or not relay.events:
        return None
    return Usage(input=call.sent // 4, output=relay.events)


def row(line, found, source, status, now):
    """Return the row of an exchange; unknown counts are null, never 0."""
    counts = found or (None,) * 4
    return {
        "created_at": time.time(),
        "request_id": line.request_id,
        "key": line.key,
        "endpoint": line.endpoint,
        "model": line.model,
        "upstream": line.upstream,
        "attempts": line.attempts,
        "status": status,
        "code": line.code,
        "end": line.end,
        "input_tokens": counts[0],
        "cached_tokens": counts[1],
        "output_tokens": counts[2],
        "reasoning_tokens": counts[3],
        "usage_source": source,
        "ttft_ms": milliseconds(line.ttft),
        "total_ms": milliseconds(now - line.started),
    }


def milliseconds(seconds):
    return None if seconds is None else round(seconds * 1000)


class Recorder:
    """Takes rows at once and writes them a moment later."""

    def __init__(self, database):
        self.database = database
        self.rows = collections.deque(maxlen=MOST)
        self.writing = threading.Lock()

    def add(self, row):
        self.rows.append(row)

    def flush(self):
        """Write what has been taken; rows stay when the database is away."""
        with self.writing:
            size = BATCH
            while self.rows:
                batch = [self.rows.popleft() for _ in range(min(size, len(self.rows)))]
                try:
                    self.database.write(partial(insert, rows=batch))
                except errors.DependencyUnavailable:
                    self.rows.extendleft(reversed(batch))
                    return
                except REFUSALS as exc:
                    size = 1  # the row that is refused must not keep the others back
                    self.refused(batch, exc)
                except BaseException:
                    self.rows.extendleft(reversed(batch))
                    raise

    def refused(self, batch, exc):
        """Put rows back that are to be tried one by one; drop a lone one, which is the culprit."""
        if len(batch) > 1:
            self.rows.extendleft(reversed(batch))
        else:
            log.error("the database refuses a row of usage", exc_info=exc)

    def run(self, stop, interval=1.0):
        """Flush every `interval` seconds until `stop` is set; what is left then is the owner's."""
        while not stop.wait(interval):
            self.flush_safely()

    def flush_safely(self):
        try:
            self.flush()
        except Exception as exc:
            log.error("usage could not be written", exc_info=exc)


def insert(connection, rows):
    """Insert rows that have the same columns."""
    if connection.dialect.paramstyle != "qmark":
        connection.execute(table.insert(), rows)
        return
    for first in range(0, len(rows), AT_ONCE):
        insert_at_once(connection, rows[first : first + AT_ONCE])


def insert_at_once(connection, rows):
    """Insert rows by one statement of SQLite's, with bare values.

    It lets go of the interpreter once a statement, and what serves requests meanwhile has to give
    it back: a statement a row would cost a request more than its row does.
    """
    columns = ", ".join(f'"{name}"' for name in rows[0])
    places = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
    values = tuple(itertools.chain.from_iterable(row.values() for row in rows))
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({columns}) VALUES {places}", values)
