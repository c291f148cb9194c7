"""Whether an upstream is worth trying for a model now. Pure: every method is told the time.

closed     calls go through; 3 failures in a row, or half of at least 10 in 30 s, open it
open       for 30 s, or for as long as a 429 asked for
half-open  one probe goes through and decides

What was sent before it opened says nothing about the upstream since, and changes nothing, also
when it has closed again; but a 429 counts whenever it comes.
"""

import collections
import math

IN_A_ROW = 3
WINDOW = 30.0  # seconds that an outcome counts for
LEAST = 10  # outcomes in the window before their share means anything
SHARE = 0.5
OPEN_FOR = 30.0

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker:
    """The recent outcomes of one upstream and model.

    Times are monotonic seconds; `sent` is when the call began whose outcome is noted.
    """

    def __init__(self):
        self.outcomes = collections.deque()  # (time, ok), oldest first
        self.failures = 0  # how many of them failed
        self.streak = 0  # failures since the last success
        self.opened = None  # when it opened last
        self.until = None  # when it stops being open; None while closed
        self.limited = -math.inf  # until when a 429 keeps calls away
        self.probe = None  # when the probe that is out was sent
        self.openings = 0  # since somebody has counted them

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

    def limited_for(self, now):
        """Return the seconds that a 429 still asks to wait, 0 if none does."""
        return max(self.limited - now, 0.0)

    def begin(self, now):
        """Note that a call is sent; return what names it if it is the probe, else None."""
        if self.state(now) != HALF_OPEN or not self.allows(now):
            return None
        self.probe = now
        return now

    def succeed(self, now, sent=math.inf):
        """Note an answer, whatever it says about the request."""
        if self._stale(sent):
            return
        if self.until is not None:
            self.outcomes.clear()  # what came before the recovery does not count against it
            self.failures = 0
        self._note(now, True)
        self.streak, self.until, self.limited, self.probe = 0, None, -math.inf, None

    def fail(self, now, sent=math.inf):
        """Note a failure of the upstream's."""
        if self._stale(sent):
            return
        reopened = self.until is not None
        self._note(now, False)
        self.streak += 1
        many = len(self.outcomes) >= LEAST and self.failures >= SHARE * len(self.outcomes)
        if reopened or self.streak >= IN_A_ROW or many:
            self._open(now, now + OPEN_FOR)

    def limit(self, now, seconds):
        """Note a 429: keep away for as long as it asks."""
        self.streak += 1
        self.limited = max(self.limited, now + seconds)
        self._open(now, self.limited)

    def give_up(self, probe):
        """Note that a call ended; a probe that told nothing, since its client left, makes way."""
        if probe is not None and self.probe == probe:
            self.probe = None

    def _stale(self, sent):
        return self.opened is not None and sent < self.opened

    def _open(self, now, until):
        self.openings += self.state(now) != OPEN
        self.opened, self.until, self.probe = now, max(until, self.until or until), None

    def _note(self, now, ok):
        outcomes = self.outcomes
        outcomes.append((now, ok))
        self.failures += not ok
        while outcomes and now - outcomes[0][0] > WINDOW:
            self.failures -= not outcomes.popleft()[1]
