"""Puts right what lost workers have left, and deletes jobs that have run out."""

import contextlib
import time
from functools import partial

import orjson

from gateway import errors, metrics
from gateway.jobs import rows
from gateway.jobs import statements as sql
from gateway.sweeping import WEIGHT, Sweeping, in_batches

EVERY = (5, 10)  # seconds between two sweeps
COUNT = 60  # seconds between two counts of the jobs that have ended, which may be many
TRIES = 3  # attempts, each of them lost with its worker before an answer had begun
SAID = {
    kind: orjson.dumps(error().body()["error"])
    for kind, error in (
        ("cancelled", errors.JobCancelled),
        ("lost", errors.WorkerLost),
        ("expired", errors.JobExpired),
    )
}
KINDS = (*sql.MEND, "deleted")


class Sweep(Sweeping):
    """Sweeps `jobs`; any number of processes may do so at once.

    `also` are called with a connection and the ids of jobs that go, in the same transaction.
    """

    def __init__(self, jobs, also=(), clock=time.monotonic):
        super().__init__(EVERY, "jobs could not be swept")
        self.jobs, self.also, self.clock = jobs, list(also), clock
        self.counted, self.weight = -COUNT, WEIGHT

    def run(self, stop):
        """Sweep now and then; counts begin at 0, or nobody could see the first one grow."""
        with contextlib.suppress(OSError):  # no room for them: what is swept is still to be swept
            for kind in KINDS:
                metrics.jobs_swept.labels(kind)
        super().run(stop)

    def sweep(self, stop):
        """Mend, delete and count, a batch at a time."""
        in_batches(self.mend, stop)
        in_batches(self.purge, stop)
        self.count()
        self.age()

    def mend(self):
        """Mend a batch of each kind; tell whether there may be more."""
        longest = self.jobs.longest
        ended = {"of_kept": self.jobs.kept, "of_tries": TRIES, "of_longest": longest}
        done = self.jobs.write(partial(rows.mend, told=self.jobs.told, said=SAID), **ended)
        for kind, number in done.items():
            swept(kind, number)
        return sql.BATCH in done.values()

    def purge(self):
        """Delete a batch of jobs that have run out; tell whether there may be more."""
        try:
            purge = partial(rows.purge, also=self.also, weight=self.weight)
            number, more = self.jobs.write(purge)
        except errors.DependencyUnavailable:  # It may have been too much for the time it has.
            self.weight = max(self.weight // 2, 1)
            raise
        self.weight = min(self.weight * 2, WEIGHT)
        swept("deleted", number)
        return more

    def count(self):
        """Set the gauge: what is open each time, what has ended now and then."""
        all_of_them = self.clock() - self.counted >= COUNT
        query = sql.COUNTS if all_of_them else sql.OPEN_COUNTS
        found = dict.fromkeys(sql.STATUSES if all_of_them else sql.OPEN_STATUSES, 0)
        found.update(self.jobs.read(rows.every, query))
        for status, number in found.items():
            metrics.jobs.labels(status).set(number)
        if all_of_them:
            self.counted = self.clock()

    def age(self):
        """Set the gauge of how long the oldest queued job waits."""
        (seconds,) = self.jobs.read(rows.first, sql.OLDEST)
        metrics.jobs_oldest.set(max(seconds or 0, 0))


def swept(kind, number):
    if number:
        metrics.jobs_swept.labels(kind).inc(number)
