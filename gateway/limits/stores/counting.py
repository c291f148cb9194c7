"""The arithmetic of a sliding window counter: pure, with the formula of the library limits.

Two counts are kept, that of the window now running and that of the one before it, which weighs
less the longer the running one has been: floor(before * left / seconds) + current.
"""

from math import floor
from typing import NamedTuple

MARGIN = 0.001  # seconds added to a wait, above the rounding of clocks


class Count(NamedTuple):
    """What a window holds now. left: seconds that the running window still has."""

    before: int
    current: int
    left: float
    seconds: float

    def weighted(self):
        return floor(self.before * self.left / self.seconds) + self.current

    def until(self, most):
        """Return the seconds until no more than `most` is counted, if nobody adds to it."""
        before, current, left, seconds = self
        if self.weighted() <= most:
            return 0.0
        if current <= most:
            return max(left - (most - current + 1) / before * seconds, 0.0) + MARGIN
        return left + seconds * (1 - (most + 1) / current) + MARGIN

    def reset(self, limit, least, taken):
        """Return what `Window.reset` says after a hit that needed `least` and counted `taken`."""
        refused = least and not taken and least <= limit
        return self.until(limit - least if refused else 0)


def share(amount, least, room):
    """Return how much of `amount` is given where there is room for that much."""
    if amount <= room:
        return max(amount, 0)
    return room if least is not None and room >= max(least, 1) else 0
