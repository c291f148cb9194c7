"""The announcement that a gateway is about to end: a file, since its masters and its commands share
no memory."""

import contextlib
import re
import time

LOOK = 0.5  # seconds for which what was seen is believed


class Flag:
    """Says that no more traffic is wanted; one per address, as machines run a standby too."""

    def __init__(self, settings, clock=time.monotonic):
        name = re.sub(r"[^0-9A-Za-z.]+", "-", settings.server.bind)
        self.path = settings.state / f"draining-{name}"
        self.clock, self.next, self.seen = clock, 0.0, False

    @property
    def up(self):
        """Tell whether it is up, as of half a second ago."""
        now = self.clock()
        if now >= self.next:
            self.seen, self.next = self.path.exists(), now + LOOK
        return self.seen

    def raise_up(self):
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)

    def take_down(self):
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
