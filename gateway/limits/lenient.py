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

    def hit(self, *asked):
        return self.safely(self.store.hit, asked)

    def look(self, *asked):
        return self.safely(self.store.look, asked)

    def add(self, *asked):
        return self.safely(self.store.add, asked)

    def take(self, *asked):
        return self.safely(self.store.take, asked)

    def settle(self, *asked):
        return self.safely(self.store.settle, asked)

    def seed(self, *asked):
        return self.safely(self.store.seed, asked)

    def each(self, asks):
        """Ask several things, (method's name, its arguments…), up to the first that is refused.

        A store that can do them at once is asked once.
        """
        together = getattr(self.store, "each", None)
        if together is not None:
            return self.safely(together, (asks,)) or [None] * len(asks)
        found = []
        for method, *args in asks:
            found.append(self.safely(getattr(self.store, method), args))
            if found[-1] is not None and not found[-1][0]:
                break
        return found

    def safely(self, method, asked):
        try:
            return method(*asked)
        except Exception as exc:
            now = self.clock()
            if now - self.logged >= QUIET:
                self.logged = now
                log.error("limits are not kept: their store fails", exc_info=exc)
            return None
