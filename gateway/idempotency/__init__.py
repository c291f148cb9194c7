"""Calls with an Idempotency-Key: made once, and answered as often as they are sent.

The first of equal calls owns a row, by a lease that its process renews; it runs on its own, whether
or not its client stays, and leaves a recording. All others read that.
"""

import logging
import threading
import time
import uuid
from functools import partial

from gateway import errors
from gateway.idempotency import rows
from gateway.idempotency.run import Run
from gateway.idempotency.sweep import Sweep
from gateway.recordings import outside

log = logging.getLogger("gateway")

LEASE, BEAT = 30, 10  # seconds
KEPT = 24 * 3600  # seconds that a name keeps its meaning
SPARE = 2 * 3600  # seconds that a recording outlives its name, which may be replayed to its last
FREED = 600  # seconds that those who had joined a call may still read what is not kept
MARGIN = 2.0  # seconds before the end of a drain at which what still runs is ended
LAST = 1.0  # seconds that it has for that
LOOK = 0.05


class Idempotency:
    """The calls with an Idempotency-Key, as one process sees them; `run` renews its leases."""

    def __init__(self, database, recordings, clock=time.time):
        self.database, self.recordings, self.clock = database, recordings, clock
        self.owner = uuid.uuid4().hex  # another one after each start
        self.running = set()
        self.strays = set()  # recordings of rows that are ours, and of no call that we know
        self.loops = (self, Sweep(database, clock))

    def begin(self, key, endpoint, name, fingerprint):
        """Return (row, whether the call is this process's to make).

        Raises IdempotencyKeyReused for a name that stands for another call, DependencyUnavailable.
        """
        row = {
            "key": key,
            "endpoint": endpoint,
            "name": name,
            "fingerprint": fingerprint,
            "recording": f"rec_{uuid.uuid4().hex}",
            "owner": self.owner,
        }
        work = partial(rows.begin, row=row, lease=LEASE, kept=KEPT, clock=self.clock)
        found = self.database.write(work)
        if found["fingerprint"] != fingerprint:
            raise errors.IdempotencyKeyReused(
                "This Idempotency-Key was used before with another request.", "Idempotency-Key"
            )
        return found, found["recording"] == row["recording"]

    def start(self, row, answer, ended):
        """Make a call in a thread of its own, and return its Run.

        `answer(watch)` returns a response; `ended()` is called when the call is over.
        """
        run = Run(self, row, answer, ended)
        self.running.add(run)
        run.thread = threading.Thread(target=run.run, daemon=True)
        run.thread.start()
        return run

    def reader(self, row, **how):
        """Return a Reader of a call's recording."""
        return self.recordings.reader(row["recording"], alive=partial(self.alive, row), **how)

    def alive(self, row):
        """Tell whether a call is still being made by the process that began it."""
        return self.database.read(partial(rows.alive, row=row))

    def writer(self, row):
        return self.recordings.writer(row["recording"], KEPT + SPARE)

    def end(self, connection, row, kept):
        """Let a call be replayed, or its name be used again; within a transaction."""
        if kept:
            rows.keep(connection, row)
        elif rows.let_go(connection, row):
            self.recordings.expire(connection, row["recording"], self.clock() + FREED)

    def promise(self, connection, row, head, body):
        """Let a call be replayed with this answer, within the transaction that does what it says.

        Raises CallLost, which undoes all of that, where the call is another's by now.
        """
        if not rows.keep(connection, row):
            raise errors.CallLost()
        outside.whole(connection, row["recording"], head, body, self.clock() + KEPT + SPARE)

    def run(self, stop):
        """Renew this process's leases until `stop` is set."""
        while not stop.wait(BEAT):
            try:
                self.beat()
            except errors.DependencyUnavailable:
                pass  # The database has logged it.
            except Exception as exc:
                log.error("leases of idempotency keys could not be renewed", exc_info=exc)

    def beat(self):
        """Renew the leases of all calls whose end is not yet written down."""
        self.running -= {run for run in list(self.running) if not run.open}
        if not self.running:
            return
        work = partial(rows.beat, owner=self.owner, lease=LEASE)
        owned = self.database.write(work)
        self.disown(owned - {run.row["recording"] for run in list(self.running)})

    def disown(self, strays):
        """Free what was begun without our hearing of it, as when a database's answer got lost.

        A call that is just beginning looks the same, hence the second look.
        """
        lasting, self.strays = strays & self.strays, strays
        if lasting:
            self.database.write(partial(rows.disown, owner=self.owner, recordings=lasting))

    def drain(self, seconds=0):
        """Wait for all calls, with or without their clients; end those left `MARGIN` before."""
        deadline = time.monotonic() + max(seconds - MARGIN, 0)
        self.wait(deadline)
        self.stop()
        self.wait(time.monotonic() + LAST)

    def stop(self):
        """End all calls as far as they have come."""
        for run in self.busy():
            run.stop()

    def wait(self, deadline):
        while self.busy() and time.monotonic() < deadline:
            time.sleep(LOOK)

    def busy(self):
        return [run for run in list(self.running) if not run.over]
