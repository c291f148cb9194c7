"""Sweeps rows in the background: now and then, and a batch at a time."""

import logging
import random

from gateway import errors

log = logging.getLogger("gateway")

PAUSE = 0.05  # seconds for other writers between two batches
WEIGHT = 64 * 1024**2  # bytes of rows deleted at once


class Sweeping:
    """The loop of a sweep. A subclass has a `batch()`, which tells whether there may be more to do,
    or a `sweep(stop)` of its own.

    `every` is (least, most) seconds between two sweeps; where in between is left to chance, so that
    processes do not all sweep at once. `fault` is what is logged when one fails.
    """

    def __init__(self, every, fault):
        self.every, self.fault = every, fault

    def run(self, stop):
        """Sweep now and then until `stop` is set."""
        while not stop.wait(random.uniform(*self.every)):
            try:
                self.sweep(stop)
            except errors.DependencyUnavailable:
                pass  # The database has logged it.
            except Exception as exc:
                log.error(self.fault, exc_info=exc)

    def sweep(self, stop):
        """Do all that there is to do, or what can be done before `stop` is set."""
        in_batches(self.batch, stop)


def in_batches(batch, stop):
    """Call `batch()` for as long as it tells that there may be more, or until `stop` is set."""
    while batch() and not stop.wait(PAUSE):
        pass


def portion(rows, weight):
    """Return the ids of the first of some (id, bytes) that weigh no more than that; at least one.

    PostgreSQL ends a statement that takes too long, and a batch that is always too heavy for its
    time would never go.
    """
    ids, total = [], 0
    for id, size in rows:
        total += size
        if ids and total > weight:
            break
        ids.append(id)
    return ids
