"""Waits for jobs to end: one query for all who wait in a process, and none while nobody does."""

import logging
import threading

from gateway import errors
from gateway.jobs.statements import OPEN_STATUSES

log = logging.getLogger("gateway")

INTERVAL = 0.15  # seconds between two looks
IDLE = 1.0  # seconds between two looks at `stop` while nobody waits
AT_ONCE = 500  # jobs looked for by one query


class Waiting:
    """Holds who waits for which job."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.waiters = {}  # id: events
        self.wake = threading.Event()
        self.closed = False

    def wait(self, id, seconds, call):
        """Return when a job has ended, after `seconds`, or when this process is to go.

        `call(function, *args)` runs the wait, and may raise what ends it.
        """
        if self.closed:
            return
        over = threading.Event()
        self.waiters.setdefault(id, []).append(over)
        self.wake.set()
        try:
            call(over.wait, seconds)
        finally:
            self.leave(id, over)

    def leave(self, id, over):
        left = [each for each in self.waiters.pop(id, ()) if each is not over]
        if left:
            self.waiters[id] = left

    def close(self):
        """Let everybody go, and let nobody wait any more."""
        self.closed = True
        for id in list(self.waiters):
            self.free(id)

    def free(self, id):
        for over in self.waiters.get(id, ()):
            over.set()

    def run(self, stop):
        """Look until `stop` is set."""
        while not stop.is_set():
            self.wake.clear()
            if not self.waiters:
                self.wake.wait(IDLE)
                continue
            stop.wait(INTERVAL)
            self.look_safely()
        self.close()

    def look_safely(self):
        try:
            self.look()
        except errors.DependencyUnavailable:
            pass  # The database has logged it; who waits gives up by itself.
        except Exception as exc:
            log.error("jobs could not be waited for", exc_info=exc)

    def look(self):
        """Free those whose job has ended, or is gone."""
        ids = list(self.waiters)
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            found = self.jobs.statuses(some)
            for id in some:
                if found.get(id) not in OPEN_STATUSES:
                    self.free(id)
