"""Waits for what others write to the database: one query for all who wait in a process, and none
while nobody does.
"""

import logging
import threading
from functools import partial

from gateway import errors
from gateway.idling import whenever

log = logging.getLogger("gateway")


class Polling:
    """Holds who waits for what.

    `find(some)` returns {each: what came} of those that have come; it is asked every `interval`
    seconds for all that is waited for, at most `at_once` at a time. `fault` is what is logged when
    it fails.
    """

    def __init__(self, find, interval, at_once, fault):
        self.find, self.interval, self.at_once, self.fault = find, interval, at_once, fault
        self.waiters = {}  # what is waited for: waiters
        self.wake = threading.Event()

    def wait(self, wanted, seconds, call):
        """Return what has come, or None after `seconds`.

        `call(function)` runs the wait, and may raise what ends it.
        """
        waiter = Waiter()
        self.waiters.setdefault(wanted, []).append(waiter)
        self.wake.set()
        try:
            call(partial(waiter.over.wait, seconds))
            return waiter.found
        finally:
            self.leave(wanted, waiter)

    def leave(self, wanted, waiter):
        left = [each for each in self.waiters.pop(wanted, ()) if each is not waiter]
        if left:
            self.waiters[wanted] = left

    def free(self, wanted, found=None):
        """Let all go who wait for this."""
        for waiter in self.waiters.pop(wanted, ()):
            waiter.found = found
            waiter.over.set()

    def run(self, stop):
        """Look until `stop` is set."""
        whenever(lambda: self.waiters, self.look_safely, self.interval, self.wake, stop)

    def look_safely(self):
        try:
            self.look()
        except errors.DependencyUnavailable:
            pass  # The database has logged it; who waits gives up by itself.
        except Exception as exc:
            log.error(self.fault, exc_info=exc)

    def look(self):
        """Hand out what has come."""
        wanted = list(self.waiters)
        for first in range(0, len(wanted), self.at_once):
            for each, found in self.find(wanted[first : first + self.at_once]).items():
                self.free(each, found)


class Waiter:
    """One that waits, and what it gets."""

    def __init__(self):
        self.over, self.found = threading.Event(), None
