"""Writes the recordings of a process: all of them in one transaction, ten times a second."""

import logging
import threading
from functools import partial

import sqlalchemy as sa

from gateway import errors
from gateway.recordings.writer import store

log = logging.getLogger("gateway")

INTERVAL = 0.1  # seconds that events are gathered, unless a row is full before
REST = 0.5  # seconds before a database that is away is asked again
LOOK = 1.0  # seconds between two looks at `stop` while there is nothing to do
MOST = 64 * 1024 * 1024  # bytes that wait in memory
AT_ONCE = 4 * 1024 * 1024  # bytes in one transaction

# What a database says of rows that it will never take, whenever it is asked.
REFUSALS = (sa.exc.DataError, sa.exc.IntegrityError, ValueError, OverflowError)


class Flusher:
    """Holds the writers that have something to write; `most` bounds the bytes they keep."""

    def __init__(self, database, most=MOST):
        self.database, self.most = database, most
        self.held = 0  # bytes in memory
        self.waiting = {}  # writers by their order
        self.wake, self.full = threading.Event(), threading.Event()

    def take(self, size):
        """Make room for some bytes, and tell whether there was any."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def give_back(self, size):
        self.held -= size

    def note(self, writer, full=False):
        """Take notice of a writer that has something to write."""
        if full:
            self.full.set()
        if writer.held:
            return
        self.waiting[writer] = None
        self.wake.set()

    def forget(self, writer):
        self.waiting.pop(writer, None)

    def run(self, stop):
        """Write until `stop` is set; what is left then is the owner's."""
        while not stop.is_set():
            if not self.wake.wait(LOOK):
                continue
            self.full.wait(INTERVAL)
            self.wake.clear()
            self.full.clear()
            if not self.flush_safely():
                stop.wait(REST)
            if self.waiting:
                self.wake.set()

    def flush_safely(self):
        """Write, and tell whether that was possible."""
        try:
            self.flush()
            return True
        except errors.DependencyUnavailable:
            pass  # The database has logged it.
        except Exception as exc:
            log.error("recordings could not be written", exc_info=exc)
        return False

    def flush(self):
        """Write all there is. Raises DependencyUnavailable; nothing is lost by that."""
        while batch := self.batch():
            try:
                self.write(batch)
            finally:
                for writer in batch:
                    writer.writing.release()

    def batch(self):
        """Return {writer: work} for one transaction, its writers locked."""
        found, size = {}, 0
        for writer in list(self.waiting):
            if size >= AT_ONCE:
                break
            if not writer.writing.acquire(blocking=False):
                continue  # somebody else is writing it right now
            work = writer.work()
            if not (work[0] or work[1]):
                writer.written(work)
                writer.writing.release()
                continue
            found[writer] = work
            size += sum(len(row["data"]) for row in work[0])
        return found

    def write(self, batch):
        try:
            self.database.write(partial(together, works=list(batch.values())))
        except REFUSALS as exc:
            if len(batch) == 1:
                self.refused(*batch, exc)
                return
            for writer, work in batch.items():
                self.write({writer: work})  # the one that is refused must not keep others back
        else:
            for writer, work in batch.items():
                writer.written(work)

    def refused(self, writer, exc):
        """Give up a recording that can never be written."""
        log.error("the database refuses a recording", exc_info=exc)
        writer.also, writer.sealed = None, True
        writer.break_off()
        writer.written((writer.rows, None))


def together(connection, works):
    for work in works:
        store(connection, work)
