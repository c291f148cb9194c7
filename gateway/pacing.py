"""How much is done in one turn of the event loop of what comes in; nothing else happens meanwhile.

Beginning a request takes a third of a millisecond. Of a thousand that come at once only a few begin
in each turn: the answers to those before them, and the streams of other clients, then wait for
milliseconds and not for all of the thousand. Reading one may take seconds, where it is in a million
chunks: it goes on for a moment in each turn.
"""

import collections
import contextlib
from time import monotonic

from gevent import get_hub, getcurrent

AT_ONCE = 16  # requests that begin in a turn
MOMENT = 0.002  # seconds of a turn that readers have


class Line:
    """Greenlets that wait until `let()` switches to them, in a later turn, in their order."""

    def __init__(self):
        self.loop = get_hub().loop
        self.timer = self.loop.timer(0)
        self.line = collections.deque()

    def wait(self):
        greenlet = getcurrent()
        self.line.append(greenlet)
        if not self.timer.active:
            self.timer.start(self.let)
        try:
            get_hub().switch()
        except BaseException:  # a greenlet that is ended while it is in line
            with contextlib.suppress(ValueError):
                self.line.remove(greenlet)
            raise

    def close(self):
        self.timer.close()


class Pace(Line):
    """Lets AT_ONCE callers of `step()` go on in each turn; the others wait in line."""

    def __init__(self):
        super().__init__()
        self.turn, self.left = None, AT_ONCE  # the loop's time in the turn, and who may go on in it

    def step(self):
        """Go on at once, or when it is the calling greenlet's turn."""
        turn = self.loop.now()
        if turn != self.turn:
            self.turn, self.left = turn, AT_ONCE
        if self.left and not self.line:
            self.left -= 1
        else:
            self.wait()

    def let(self):
        """Let the first in line go on, and come again in the next turn where there are more."""
        try:
            for _ in range(min(AT_ONCE, len(self.line))):
                self.line.popleft().switch()
        finally:  # one that fails must not keep those behind it
            if self.line:
                self.timer.start(self.let)


class Share(Line):
    """Lets all callers of `step()` together go on for a MOMENT of each turn.

    Each may do what it does between two steps as often as there is time for it, then it is the next
    one's turn.
    """

    until = 0

    def step(self):
        """Go on at once, or when it is the calling greenlet's turn."""
        if not self.timer.active:  # the first one since the loop has looked at everything else
            self.until = monotonic() + MOMENT
            self.timer.start(self.let)
        elif monotonic() >= self.until:
            self.wait()

    def let(self):
        """Let those in line go on for a moment, and come again in the next turn."""
        if self.line:
            self.timer.start(self.let)
            self.until = monotonic() + MOMENT
            while self.line and monotonic() < self.until:
                self.line.popleft().switch()
