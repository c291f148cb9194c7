"""Recordings: what a client is sent, kept while somebody may ask for it again.

A recording is written by one process and read by any. Its events are numbered from 0, and rows are
only ever added to it. It serves streams that can be taken up again, and calls that are sent twice.
"""

import logging
import time
from functools import partial

from gateway.recordings import rows
from gateway.recordings.flusher import Flusher
from gateway.recordings.poller import Poller
from gateway.recordings.reader import Broken, Reader
from gateway.recordings.sweep import Sweep
from gateway.recordings.writer import BROKEN, DONE, Writer

__all__ = ["BROKEN", "DONE", "Broken", "Reader", "Recordings", "Writer"]

log = logging.getLogger("gateway")

DAY = 24 * 3600


class Recordings:
    """The recordings of all processes, as one of them sees them; `loops` run in the background."""

    def __init__(self, database, clock=time.time):
        self.database, self.clock = database, clock
        self.flusher, self.poller = Flusher(database), Poller(database)
        self.loops = (self.flusher, self.poller, Sweep(database, clock))

    def writer(self, id, seconds=DAY, held=False, after=0):
        """Begin a recording that is kept for `seconds`; a `held` one waits for `flush_now`.

        `after` is how many events its first part holds, where that is there already.
        """
        return Writer(self.flusher, id, self.clock() + seconds, held, after)

    def reader(self, id, after=-1, **how):
        """Return a Reader of the events behind ordinal `after`."""
        return Reader(self.database, self.poller, id, after, **how)

    def remove(self, connection, ids):
        """Delete whole recordings within a transaction, such as that which sweeps their owners."""
        rows.remove(connection, ids)

    def expire(self, connection, id, at):
        """Let a recording run out at another time (unix seconds), within a transaction."""
        rows.expire(connection, id, at)

    def delete(self, ids):
        """Delete whole recordings."""
        self.database.write(partial(rows.remove, ids=ids))

    def forget(self, id):
        """Delete what came too late for the recording of a job that has been deleted."""
        self.database.write(partial(rows.forget, id=id))

    def close(self, patience=5.0):
        """Write what is still to be written, as far as that is possible within `patience`."""
        deadline = time.monotonic() + patience
        while self.flusher.waiting and self.flusher.flush_safely():
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)  # the loop may be writing some of it right now
        if self.flusher.waiting:
            log.error("recordings are lost that wait to be written: %d", len(self.flusher.waiting))
