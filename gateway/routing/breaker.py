"""Whether an upstream is worth trying for a model now. Pure: every method is told the time.

closed     calls go through; 3 failures in a row, or half of at least 10 in 30 s, open it
open       for 30 s, or for as long as a 429 asked for
half-open  one probe goes through and decides
"""

import collections

IN_A_ROW = 3
WINDOW = 30.0  # seconds that an outcome counts for
LEAST = 10  # outcomes in the window before their share means anything
SHARE = 0.5
OPEN_FOR = 30.0

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker:
    """The recent outcomes of one upstream and model; times are monotonic seconds."""

    def __init__(self):
        self.outcomes = collections.deque()  # (time, ok), oldest first
        self.failures = 0  # how many of them failed
        self.streak = 0  # failures since the last success
        self.until = None  # when it stops being open; None while closed
        self.limited = False  # open because of a 429
        self.probe = None  # when the probe that is out was sent

    def state(self, now):
        if self.until is None:
            return CLOSED
        return OPEN if now < self.until else HALF_OPEN

    def allows(self, now):
        """Tell whether a call may go through; changes nothing."""
        state = self.state(now)
        if state == HALF_OPEN:
            # A probe that never reported back must not keep everybody out for ever.
            return self.probe is None or now - self.probe > OPEN_FOR
        return state == CLOSED

    def begin(self, now):
        """Note that a call is sent; in the half-open state it is the probe."""
        if self.state(now) == HALF_OPEN and self.allows(now):
            self.probe = now

    def succeed(self, now):
        """Note an answer, whatever it says about the request."""
        self._note(now, True)
        self.streak, self.until, self.limited, self.probe = 0, None, False, None

    def fail(self, now):
        """Note a failure of the upstream's."""
        reopened = self.state(now) != CLOSED
        self._note(now, False)
        self.streak += 1
        self.probe = None
        many = len(self.outcomes) >= LEAST and self.failures >= SHARE * len(self.outcomes)
        if reopened or self.streak >= IN_A_ROW or many:
            self.until, self.limited = max(now + OPEN_FOR, self.until or 0), False

    def limit(self, now, seconds):
        """Note a 429: keep away for as long as it asks."""
        self.streak += 1
        self.probe = None
        self.until, self.limited = max(now + seconds, self.until or 0), True

    def give_up(self):
        """Note that a call ended without telling anything, since its client left."""
        self.probe = None

    def _note(self, now, ok):
        outcomes = self.outcomes
        outcomes.append((now, ok))
        self.failures += not ok
        while outcomes and now - outcomes[0][0] > WINDOW:
            self.failures -= not outcomes.popleft()[1]
