"""Deletes names that have run out, a few rows at a time."""

from functools import partial

from gateway.idempotency import rows
from gateway.sweeping import Sweeping

EVERY = (30, 90)  # seconds between two sweeps


class Sweep(Sweeping):
    def __init__(self, database, clock):
        super().__init__(EVERY, "idempotency keys could not be swept")
        self.database, self.clock = database, clock

    def batch(self):
        """Delete some rows that have run out, and return how many."""
        return self.database.write(partial(rows.purge, clock=self.clock))
