"""How many calls a worker takes at once; the rest waits a moment and is then refused."""

import time

from gateway import errors

PATIENCE = 0.5  # seconds that a call waits for a place
LOOK = 0.02  # seconds between two looks for one


class Gate:
    """Lets `limit` calls in; every `enter()` that returned needs one `leave()`."""

    def __init__(self, limit, patience=PATIENCE):
        self.limit, self.patience = limit, patience
        self.inside = 0

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

    def leave(self):
        self.inside -= 1
