"""The reading side of one recording: its events as they come, on any process."""

import itertools
import time
from functools import partial

from gateway import errors
from gateway.recordings import rows
from gateway.recordings.writer import BROKEN, ROW
from gateway.upstreams.base import PING

PATIENCE = 2.0  # seconds without a row before the owner is asked after, and between two asks
AWAY = 30.0  # seconds that a reader waits for a database that is away
LARGEST = 2**31 - 2  # ordinals that the database can be asked for


class Broken(errors.Unavailable):
    """The recording lacks a part."""

    code = "dependency_unavailable"
    message = "This answer could not be kept in full. Please try again."


def always():
    return True


def plainly(function):
    return function()


class Reader:
    """An iterable of the events behind ordinal `after`, in blocks as the client gets them.

    It holds a few rows at a time, however long the recording is and however slowly it is taken.
    Yields PING after `keepalive` seconds of nothing. `alive()` is asked when nothing comes: a false
    answer raises CallLost. `call` runs every wait, as a Watch's does. After the last block `end`
    says how the recording ended. Raises Broken, CallLost, or DependencyUnavailable.
    """

    def __init__(
        self, database, poller, id, after=-1, alive=always, keepalive=15, call=plainly,
        clock=time.monotonic,
    ):  # fmt: skip
        self.database, self.poller, self.id = database, poller, id
        self.after = min(max(after, -1), LARGEST)
        self.alive, self.keepalive, self.call, self.clock = alive, keepalive, call, clock
        self.part = None  # the next row to read
        self.live = False  # all the rows there were have been read: the next one has to come
        self.end = None
        self.seen = self.after  # ordinal of the last event that was yielded whole
        self.asked = clock()  # when a row came, or the owner was asked after
        self.away = None  # since when the database is

    def head(self, patience=float("inf")):
        """Return the head of the answer, or None where none has come within `patience` seconds."""
        self.part = rows.HEAD
        deadline = self.clock() + patience
        while (left := deadline - self.clock()) > 0:
            for row in self.fetch(min(left, PATIENCE))[:1]:
                self.take(row)
                self.live = False
                return row.data
        return None

    def __iter__(self):
        spoke = self.clock()
        while self.end is None:
            for row in self.fetch(min(PATIENCE, max(spoke + self.keepalive - self.clock(), 0))):
                data = self.take(row)
                if data:
                    yield data
                    spoke = self.clock()
                if self.end is not None:
                    break  # what stands behind came from a writer who had not heard of it
            if self.end is None and self.clock() >= spoke + self.keepalive:
                yield PING
                spoke = self.clock()
        if self.end == BROKEN:
            raise Broken()

    def fetch(self, seconds):
        """Return the next rows, or [] if none has come within `seconds`."""
        try:
            found = self.rows(seconds)
            if found:
                self.asked = self.clock()
            else:
                self.ask()
        except errors.DependencyUnavailable as error:
            self.bear(error, seconds)
            return []
        self.away = None
        return found

    def rows(self, seconds):
        if self.part is None:
            self.part = self.database.read(partial(rows.start, id=self.id, after=self.after))
        if not self.live:
            found = self.database.read(partial(rows.page, id=self.id, part=self.part))
            if found:
                return found
            self.live = True
        row = self.poller.wait((self.id, self.part), seconds, self.call)
        if row is None:
            return []
        self.live = len(row.data) < ROW // 2  # after a full one there may be more already
        return [row]

    def ask(self):
        """Find out whether there is still somebody who writes. Raises CallLost."""
        if self.clock() < self.asked + PATIENCE:
            return
        self.asked = self.clock()
        if self.alive():
            return
        # It may have written its last rows, and let go, since we looked.
        if not self.database.read(partial(rows.page, id=self.id, part=self.part)):
            raise errors.CallLost()
        self.live = False

    def bear(self, error, seconds):
        """Wait a moment for a database that is away, but not for ever."""
        self.away = self.away or self.clock()
        if self.clock() >= self.away + AWAY:
            raise error
        self.call(partial(time.sleep, min(seconds, 0.5)))

    def take(self, row):
        """Return what the client gets of a row. Raises Broken where a row is missing."""
        if row.part != self.part:
            raise Broken()
        self.part, self.end = row.part + 1, row.end
        data = behind(row, self.after)
        if row.count:
            self.seen = max(self.seen, row.seq + row.count - 1)
        return data


def behind(row, after):
    """Return the data of a row without the events up to ordinal `after`."""
    known = after + 1 - row.seq
    if known <= 0 or not row.data:
        return row.data
    if known >= max(row.count, 1):
        return b""
    events = row.data.split(b"\n\n")
    return b"\n\n".join(itertools.islice(events, known, None))
