"""The writing side of one recording: takes events at once, cuts them into rows, forgets none."""

import collections
import threading
from functools import partial

from gateway.recordings import rows

ROW = 64 * 1024  # bytes of one row
AT_ONCE = 1024 * 1024  # bytes of one recording's rows in one transaction, or one larger event
DONE, BROKEN = "done", "broken"  # how a recording ends; others may be given to close()


class Writer:
    """Writes the recording `id`; one greenlet adds to it, in order.

    `flusher` writes for all of a process's recordings. What a database that is away keeps from
    being written waits in memory; beyond the flusher's bound the recording is `broken`.
    """

    def __init__(self, flusher, id, expires_at, held=False, after=0):
        self.flusher, self.id, self.expires_at, self.held = flusher, id, expires_at, held
        self.blocks = collections.deque()  # (bytes, events) that are not yet rows
        self.size = 0  # bytes of them
        self.rows = []  # rows that are not yet known to be written; never changed any more
        self.part, self.seq = 1 if after else 0, after
        self.end = None  # how the recording ends, once that is known
        self.sealed = False  # the row that says so has been made
        self.also = None  # run in the transaction that writes the last row
        self.writing = threading.Lock()

    @property
    def broken(self):
        return self.end == BROKEN

    @property
    def pending(self):
        """Tell whether something is still to be written."""
        unsealed = self.end is not None and not self.sealed
        return bool(self.rows or self.blocks or unsealed or self.also)

    def head(self, data):
        """Put the head of an answer before all events; to be called before anything is added."""
        self.rows.append(self.row(rows.HEAD, data, 0))
        self.flusher.held += len(data)
        self.flusher.note(self)

    def add(self, block, count=None):
        """Take a block of whole events, or of anything else that `count` says how many it is."""
        if self.end is not None or not block:
            return
        if not self.flusher.take(len(block)):
            self.break_off()
            return
        self.blocks.append((block, block.count(b"\n\n") if count is None else count))
        self.size += len(block)
        self.flusher.note(self, full=self.size >= ROW)

    def close(self, end=DONE, also=None):
        """End the recording; `also(connection)` runs in the transaction that writes its last row.

        Of a recording that is broken only `also` counts.
        """
        self.end, self.also = self.end or end, also
        self.flusher.note(self)

    def break_off(self):
        """End it as broken, without what is not yet rows: those may have been written."""
        self.end = BROKEN
        self.flusher.give_back(self.size)
        self.blocks.clear()
        self.size = 0
        self.flusher.note(self)

    def drop(self):
        """Forget all that is not yet written, and write nothing more."""
        with self.writing:
            self.end, self.sealed, self.also = self.end or BROKEN, True, None
            self.flusher.give_back(self.size + sum(len(row["data"]) for row in self.rows))
            self.blocks.clear()
            self.rows, self.size = [], 0
            self.flusher.forget(self)

    def flush_now(self, guard=None):
        """Write all there is, and tell whether it is written.

        `guard(connection)` runs first in each transaction: where it returns something false,
        nothing is written in it. Raises DependencyUnavailable; what was added stays, to be tried
        again.
        """
        while True:
            with self.writing:
                work = self.work()
                if not self.flusher.database.write(partial(guarded, guard=guard, work=work)):
                    return False
                self.written(work)
            if not self.pending:
                self.held = False
                return True

    def work(self):
        """Return (rows, also) to be written in one transaction; `writing` is to be held."""
        if not self.rows:
            self.cut()
        done = self.sealed and not self.blocks
        return self.rows, self.also if done else None

    def written(self, work):
        """Forget what has been written."""
        found, also = work
        self.flusher.give_back(sum(len(row["data"]) for row in found))
        self.rows = []
        if also is not None:
            self.also = None
        if not self.pending:
            self.flusher.forget(self)

    def cut(self):
        """Make rows of what has been added, as much as is written at once."""
        taken, size = [], 0
        while self.blocks and (not taken or size + len(self.blocks[0][0]) <= AT_ONCE):
            taken.append(self.blocks.popleft())
            size += len(taken[-1][0])
        self.size -= size
        for data, count in cut(taken):
            self.rows.append(self.row(self.part, data, count))
            self.part += 1
            self.seq += count
        if self.end is not None and not self.sealed and not self.blocks:
            self.seal()

    def seal(self):
        """Say in the last row that it is the last."""
        if not self.rows:
            self.rows.append(self.row(self.part, b"", 0))
            self.part += 1
        self.rows[-1]["end"] = self.end
        self.sealed = True

    def row(self, part, data, count):
        return {
            "id": self.id,
            "part": part,
            "seq": self.seq,
            "count": count,
            "end": None,
            "expires_at": self.expires_at,
            "data": data,
        }


def guarded(connection, guard, work):
    """Write rows behind a guard's back, and tell whether it let them through."""
    if guard is not None and not guard(connection):
        return False
    store(connection, work)
    return True


def store(connection, work):
    found, also = work
    rows.insert(connection, found)
    if also is not None:
        also(connection)


def cut(blocks):
    """Yield (data, count): small events together, a large one in pieces of which the last counts.

    `blocks` are (bytes, events).
    """
    held, size, events = [], 0, 0
    for block, count in smaller(blocks):
        if held and size + len(block) > ROW:
            yield b"".join(held), events
            held, size, events = [], 0, 0
        if len(block) > ROW:
            yield from pieces(block, count)
        else:
            held.append(block)
            size, events = size + len(block), events + count
    if held:
        yield b"".join(held), events


def smaller(blocks):
    """Take large blocks of several events apart."""
    for block, count in blocks:
        if len(block) <= ROW or count <= 1:
            yield block, count
        else:
            for event in block.split(b"\n\n")[:-1]:
                yield event + b"\n\n", 1


def pieces(block, count):
    places = range(0, len(block), ROW)
    for place in places:
        yield block[place : place + ROW], count if place == places[-1] else 0
