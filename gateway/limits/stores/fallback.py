"""A shared store with a way out: while it is away, this machine goes on with its own counts."""

import logging
import threading
import time

from gateway.limits.stores import Away
from gateway.metrics import tally

log = logging.getLogger("gateway")

PAUSE = 5.0  # seconds without it before the shared store is asked again
PATIENCE = 2.0  # seconds more before a client's call does what the loop should have done
TICK = 1.0
BEAT = 3.0  # seconds between two heartbeats


class Fallback:
    """Asks `shared`, and `local` while that is away.

    One call at a time then tries whether it is back: the loop's, so that no client waits for it.
    """

    def __init__(self, shared, local, clock=time.monotonic):
        self.shared, self.local, self.clock = shared, local, clock
        self.alone = False
        self.changes = 0
        self.due = 0.0  # when to try again
        self.beaten = clock()
        self.trying, self.changing = threading.Lock(), threading.Lock()

    @property
    def epoch(self):
        return self.changes, self.shared.epoch, self.local.epoch

    def hit(self, *asked):
        return self.ask("hit", asked)

    def look(self, *asked):
        return self.ask("look", asked)

    def add(self, name, seconds, amount, window=None):
        if window is None or amount > 0:
            self.ask("add", (name, seconds, amount))
        elif window.store is not self.shared:
            self.local.add(name, seconds, amount, window)
        elif not self.alone:
            self.try_shared("add", (name, seconds, amount, window))

    def take(self, *asked):
        return self.ask("take", asked)

    def settle(self, name, taken, used=0):
        """Settle where it was taken; what Redis then misses, the next seed makes good."""
        if taken and taken.store is not self.shared:
            self.local.settle(name, taken)
            taken = None
        if self.alone:
            self.shared.let_go(taken and taken.hold)
        elif self.try_shared("settle", (name, taken, used))[0]:
            return
        if used > 0:
            self.local.settle(name, None, used)

    def seed(self, *asked):
        return self.ask("seed", asked)

    def run(self, stop):
        """Keep both stores, and look for the shared one while it is away, until `stop` is set."""
        while not stop.wait(TICK):
            try:
                self.tend()
            except Exception:
                log.exception("the stores of limits could not be kept")

    def tend(self):
        now = self.clock()
        self.local.tend()
        if self.alone:
            if now >= self.due:
                self.probe()
        elif now - self.beaten >= BEAT:
            self.beaten = now
            self.try_shared("beat", ())

    def close(self):
        self.shared.close()
        self.local.close()

    def ask(self, method, asked):
        if not self.alone or self.overdue():
            answered, found = self.try_shared(method, asked)
            if answered:
                return found
        return getattr(self.local, method)(*asked)

    def try_shared(self, method, asked):
        """Return (True, the answer), or (False, None) where the shared store is away."""
        try:
            return True, getattr(self.shared, method)(*asked)
        except Away as exc:
            self.leave(exc)
            return False, None

    def overdue(self):
        """Look for the shared store in a client's call if the loop does not; tell if it is back."""
        return self.clock() >= self.due + PATIENCE and self.probe()

    def probe(self):
        """Tell whether the shared store is back; one call at a time finds out."""
        if not self.trying.acquire(blocking=False):
            return False
        try:
            self.shared.beat()
        except Away:
            self.due = self.clock() + PAUSE
            return False
        finally:
            self.trying.release()
        self.turn(False, "limits: Redis answers again, and is asked from now on")
        return True

    def leave(self, exc):
        if not self.alone:
            self.due = self.clock() + PAUSE
            self.turn(True, f"limits: Redis is away, this machine counts for itself: {exc}")

    def turn(self, alone, said):
        with self.changing:
            if self.alone == alone:
                return
            self.alone = alone
            self.changes += 1
        tally.limits_alone = int(alone)
        log.warning("%s", said)
