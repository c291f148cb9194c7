"""How many calls a worker takes at once, and how much of their bodies; the rest is refused."""

import time

from gateway import errors

PATIENCE = 0.5  # seconds that a call waits for a place
LOOK = 0.02  # seconds between two looks for one
ROOM = 128 * 1024 * 1024  # bytes of large bodies; each takes several times its size in memory


class Gate:
    """Lets `limit` calls in; every `enter()` that returned needs one `leave()`.

    A call that is inside may `hold()` up to `room` bytes together with all others, and says with
    its `leave()` how many these were.
    """

    def __init__(self, limit, patience=PATIENCE, room=ROOM):
        self.limit, self.patience, self.room = limit, patience, room
        self.inside = self.held = 0

    def enter(self):
        """Take a place. Raises ServerOverloaded when none comes free in time."""
        if self.inside >= self.limit:
            self.wait()
        self.inside += 1

    def wait(self):
        deadline = time.monotonic() + self.patience
        while self.inside >= self.limit:
            if time.monotonic() >= deadline:
                raise errors.ServerOverloaded()
            time.sleep(LOOK)

    def hold(self, size, left=0):
        """Hold some bytes of a body, of which `left` more are announced.

        Raises ServerOverloaded at once where all that has no room: what this body has taken so far
        is then free for the others, so that some are taken to their end.
        """
        if self.held + size + left > self.room:
            raise errors.ServerOverloaded()
        self.held += size

    def leave(self, size=0):
        self.inside -= 1
        self.held -= size
