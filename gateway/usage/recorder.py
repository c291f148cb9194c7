"""Takes the rows of exchanges at once and has them written a moment later, to disk if need be."""

import collections
import logging
import threading
import time
from functools import partial

import sqlalchemy as sa

from gateway import errors
from gateway.idling import whenever
from gateway.metrics import tally
from gateway.usage.spool import NO_SPOOL
from gateway.usage.writing import insert

log = logging.getLogger("gateway")

BATCH = 500  # rows in one transaction
MOST = 100_000  # rows kept in memory while neither database nor disk takes them
EVERY = 0.5  # seconds between two writes
SLOW = 0.25  # seconds that the database may take before rows go to disk instead
BACKLOG = 20 * BATCH  # rows on disk that the end of a process leaves to the next one

# What a database says of a row that it will never take, whenever it is asked.
REFUSALS = (sa.exc.DataError, sa.exc.IntegrityError, ValueError, OverflowError)


class Recorder:
    """Rows in memory for less than a second: then they are in the database or in the spool."""

    def __init__(self, database, spool=NO_SPOOL, clock=time.monotonic):
        self.database, self.spool, self.clock = database, spool, clock
        self.rows = collections.deque()
        self.batch = []  # rows that the database is taking now
        self.writing, self.shelving = threading.Lock(), threading.Lock()
        self.began = None  # when the writing began
        self.asked = threading.Event()  # the database has been since

    def add(self, row):
        self.rows.append(row)
        if len(self.rows) > MOST:
            self.drop(1)

    def drop(self, count):
        """Drop the oldest rows, and count them."""
        for _ in range(count):
            self.rows.popleft()
        tally.usage_dropped += count

    def flush(self):
        """Write what has been taken; while the database is away it is put on disk."""
        with self.writing:
            self.began = self.clock()
            try:
                if self.spool.waiting:
                    self.shelve()
                self.spool.replay(self.write)
                self.empty()
            except errors.DependencyUnavailable:
                self.shelve()
            finally:
                self.give_back(self.batch)
                self.batch, self.began = [], None

    def empty(self):
        """Write the rows in memory to the database."""
        while self.rows:
            self.batch = [self.rows.popleft() for _ in range(min(BATCH, len(self.rows)))]
            self.write(self.batch)
            self.batch = []

    def write(self, rows):
        """Write rows; one that the database refuses is dropped and keeps no other back."""
        self.asked.set()
        try:
            self.database.write(partial(insert, rows=rows))
        except REFUSALS as exc:
            if len(rows) == 1:
                log.error("the database refuses a row of usage", exc_info=exc)
                tally.usage_dropped += 1
                return
            half = len(rows) // 2
            self.write(rows[:half])
            self.write(rows[half:])

    def shelve(self):
        """Put every row in memory on disk, those that the database has not confirmed first."""
        with self.shelving:
            rows, self.batch = [*self.batch, *self.rows], []
            self.rows.clear()
            if rows and not self.spool.put(rows):
                self.give_back(rows)

    def give_back(self, rows):
        self.rows.extendleft(reversed(rows))
        self.drop(max(len(self.rows) - MOST, 0))

    def run(self, stop):
        """Flush again and again until `stop` is set; what is left then is for `close()`."""
        threading.Thread(target=self.guard, args=(stop,), daemon=True).start()
        while not stop.wait(EVERY):
            self.flush_safely()

    def guard(self, stop):
        """Look after each write that takes long, until `stop` is set."""
        whenever(lambda: self.began is not None, self.rescue, SLOW, self.asked, stop)

    def rescue(self):
        """Put on disk what a slow database keeps in memory, where a kill would lose it."""
        began = self.began
        if began is not None and self.clock() - began >= SLOW:
            self.safely(self.shelve)

    def flush_safely(self):
        self.safely(self.flush)

    def safely(self, function):
        try:
            function()
        except Exception as exc:
            log.error("usage could not be written", exc_info=exc)

    def close(self):
        """Write what is left, on disk first: whoever ends this process may not wait."""
        self.safely(self.shelve)
        if self.spool.waiting <= BACKLOG:
            self.flush_safely()
        self.spool.close()
