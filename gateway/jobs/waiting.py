"""Waits for jobs to end."""

from gateway.jobs.statements import OPEN_STATUSES
from gateway.polling import Polling

INTERVAL = 0.15  # seconds between two looks
AT_ONCE = 500  # jobs looked for by one query


class Waiting(Polling):
    """Holds who waits for which job, by its id.

    They are let go when it has ended, or when this process is to go.
    """

    def __init__(self, jobs):
        super().__init__(self.ended, INTERVAL, AT_ONCE, "jobs could not be waited for")
        self.jobs, self.closed = jobs, False

    def ended(self, ids):
        """Return {id: True} of the jobs that have ended, or are gone."""
        found = self.jobs.statuses(ids)
        return {id: True for id in ids if found.get(id) not in OPEN_STATUSES}

    def wait(self, id, seconds, call):
        if not self.closed:
            super().wait(id, seconds, call)

    def close(self):
        """Let everybody go, and let nobody wait any more."""
        self.closed = True
        for id in list(self.waiters):
            self.free(id)

    def run(self, stop):
        super().run(stop)
        self.close()
