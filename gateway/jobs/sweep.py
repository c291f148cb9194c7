"""Puts right what lost workers have left, and deletes jobs that have run out."""

import logging
import random
import time
from functools import partial

import orjson

from gateway import errors, metrics
from gateway.jobs import rows
from gateway.jobs import statements as sql

log = logging.getLogger("gateway")

EVERY = (5, 10)  # seconds between two sweeps
PAUSE = 0.05  # seconds for other writers between two batches
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


class Sweep:
    """Sweeps `jobs`; any number of processes may do so at once.

    `also` are called with a connection and the ids of jobs that go, in the same transaction.
    """

    def __init__(self, jobs, also=(), clock=time.monotonic):
        self.jobs, self.also, self.clock = jobs, list(also), clock
        self.counted = -COUNT

    def run(self, stop):
        """Sweep every few seconds until `stop` is set."""
        while not stop.wait(random.uniform(*EVERY)):
            try:
                self.sweep(stop)
            except errors.DependencyUnavailable:
                pass  # The database has logged it.
            except Exception as exc:
                log.error("jobs could not be swept", exc_info=exc)

    def sweep(self, stop):
        """Mend, delete and count, a batch at a time."""
        while self.mend() and not stop.wait(PAUSE):
            pass
        while self.purge() == sql.BATCH and not stop.wait(PAUSE):
            pass
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
        number = self.jobs.write(partial(rows.purge, also=self.also))
        swept("deleted", number)
        return number

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
