"""The load: calls of all kinds at a steady rate, each in a thread of its own."""

import random
import threading
import time

from bench.soak.aside import SHORT
from bench.soak.client import Broken, Call
from bench.soak.kinds import KINDS

MOST = 1500  # calls under way; beyond it the gateway has stopped keeping up


class Load:
    """Makes `rate` calls a second for some seconds; `calls` holds them all."""

    def __init__(self, site, rate, seconds, seed=1):
        self.site, self.rate, self.seconds = site, rate, seconds
        self.calls, self.open, self.held_back = [], 0, 0
        self.draws = random.Random(seed)
        # One of each to begin with, so that a short run has them all.
        self.first = self.draws.sample(KINDS, len(KINDS))
        self.drawn = [kind for kind in KINDS if not (kind.long and seconds < SHORT)]

    def run(self):
        """Begin calls until the time is over; they may still be under way then."""
        began = time.monotonic()
        for number in range(int(self.rate * self.seconds)):
            pause = began + number / self.rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            if self.site.web.ended or time.monotonic() - began > self.seconds:
                break
            self.begin(number)

    def begin(self, number):
        if self.open >= MOST:
            self.held_back += 1
            return
        kind = self.first.pop() if self.first else self.draw()
        call = Call(number, kind)
        self.calls.append(call)
        self.open += 1
        threading.Thread(target=self.make, args=(call,), daemon=True).start()

    def draw(self):
        return self.draws.choices(self.drawn, [kind.share for kind in self.drawn])[0]

    def make(self, call):
        try:
            call.outcome = call.kind.run(call, self.site)
        except Broken:
            call.outcome = "broken"
        except Exception as exc:  # a mistake of the soak's own, or an answer out of all shape
            call.outcome = f"could not be read: {type(exc).__name__}: {exc}"[:200]
        finally:
            call.ended = time.monotonic()
            self.open -= 1

    def at_once(self, calls):
        """Make some calls at the same time, and return them when all have ended."""
        self.open += len(calls)
        threads = [threading.Thread(target=self.make, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return calls

    def wait(self, seconds):
        """Wait for what is under way; return how many calls have not ended by then."""
        deadline = time.monotonic() + seconds
        while self.open and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.open
