"""A store whose faults let calls through: limits must never be why a gateway answers nothing."""

import logging
import math
import time

log = logging.getLogger("gateway")

QUIET = 60  # seconds between two lines about it


class Lenient:
    """Asks a store, and answers None in place of what that raises; logs it once a minute."""

    def __init__(self, store, clock=time.monotonic):
        self.store, self.clock = store, clock
        self.logged = -math.inf

    @property
    def epoch(self):
        return self.store.epoch

    def look(self, *asked):
        return self.each([("look", *asked)])[0]

    def each(self, asks):
        """Ask several things, (method's name, its arguments…), up to the first that is refused.

        A store that can do them at once is asked once.
        """
        together = getattr(self.store, "each", None)
        if together is None:
            return self.one_by_one(asks)
        try:
            return together(asks)
        except Exception as exc:
            self.say(exc)
            return [None] * len(asks)

    def one_by_one(self, asks):
        found = []
        for method, *args in asks:
            try:
                found.append(getattr(self.store, method)(*args))
            except Exception as exc:
                self.say(exc)
                found.append(None)
            if found[-1] is not None and not found[-1][0]:
                break
        return found

    def say(self, exc):
        now = self.clock()
        if now - self.logged >= QUIET:
            self.logged = now
            log.error("limits are not kept: their store fails", exc_info=exc)
