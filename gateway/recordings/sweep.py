"""Deletes recordings that have run out, a few rows at a time."""

from functools import partial

from gateway.metrics import tally
from gateway.recordings import rows
from gateway.sweeping import Sweeping

EVERY = (30, 90)  # seconds between two sweeps


class Sweep(Sweeping):
    def __init__(self, database, clock):
        super().__init__(EVERY, "recordings could not be swept")
        self.database, self.clock = database, clock

    def batch(self):
        """Delete some rows that have run out, and return how many."""
        count = self.database.write(partial(rows.purge, now=self.clock()))
        tally.recordings_swept += count
        return count
