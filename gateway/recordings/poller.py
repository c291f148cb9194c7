"""Looks for what all the readers of a process wait for: one query, ten times a second."""

import logging
import threading
from functools import partial

from gateway import errors
from gateway.recordings import rows

log = logging.getLogger("gateway")

INTERVAL = 0.1  # seconds between two looks
LOOK = 1.0  # seconds between two looks at `stop` while nobody waits
PLACES = 64  # rows looked for by one query


class Poller:
    """Holds who waits for which row."""

    def __init__(self, database):
        self.database = database
        self.waiting = {}  # (id, part): waiters
        self.wake = threading.Event()

    def wait(self, id, part, seconds, call):
        """Return a row once it is there, or None after `seconds`.

        `call(function, *args)` runs the wait, and may raise what ends it.
        """
        place, waiter = (id, part), Waiter()
        self.waiting.setdefault(place, []).append(waiter)
        self.wake.set()
        try:
            call(waiter.came.wait, seconds)
            return waiter.row
        finally:
            self.leave(place, waiter)

    def leave(self, place, waiter):
        found = self.waiting.get(place, [])
        if waiter in found:
            found.remove(waiter)
            if not found:
                del self.waiting[place]

    def run(self, stop):
        """Look until `stop` is set."""
        while not stop.is_set():
            self.wake.clear()
            if not self.waiting:
                self.wake.wait(LOOK)
                continue
            stop.wait(INTERVAL)
            self.look_safely()

    def look_safely(self):
        try:
            self.look()
        except errors.DependencyUnavailable:
            pass  # The database has logged it; who waits gives up by itself.
        except Exception as exc:
            log.error("recordings could not be read", exc_info=exc)

    def look(self):
        """Hand out the rows that have come."""
        places = list(self.waiting)
        for first in range(0, len(places), PLACES):
            asked = places[first : first + PLACES]
            found = self.database.read(partial(rows.at, places=asked))
            for place, row in found.items():
                for waiter in self.waiting.pop(place, ()):
                    waiter.give(row)


class Waiter:
    """One reader that waits for one row."""

    def __init__(self):
        self.came, self.row = threading.Event(), None

    def give(self, row):
        self.row = row
        self.came.set()
