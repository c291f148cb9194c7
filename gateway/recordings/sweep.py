"""Deletes recordings that have run out, a few rows at a time."""

import logging
import random
from functools import partial

from gateway import errors
from gateway.metrics import tally
from gateway.recordings import rows

log = logging.getLogger("gateway")

EVERY, PAUSE = 60, 0.05  # seconds between two sweeps, and for other writers between two batches


class Sweep:
    def __init__(self, database, clock):
        self.database, self.clock = database, clock

    def run(self, stop):
        """Sweep every minute or so until `stop` is set."""
        while not stop.wait(EVERY * random.uniform(0.5, 1.5)):
            try:
                self.sweep(stop)
            except errors.DependencyUnavailable:
                pass  # The database has logged it.
            except Exception as exc:
                log.error("recordings could not be swept", exc_info=exc)

    def sweep(self, stop):
        """Delete what has run out."""
        while count := self.database.write(partial(rows.purge, now=self.clock())):
            tally.recordings_swept += count
            if stop.wait(PAUSE):
                return
