"""How many calls a worker takes at once; the rest waits a moment and is then refused."""

import threading

from gateway import errors

PATIENCE = 0.5  # seconds that a call waits for a place


class Gate:
    """Lets `limit` calls in; every `enter()` that returned needs one `leave()`."""

    def __init__(self, limit, patience=PATIENCE):
        self.patience = patience
        self.places = threading.BoundedSemaphore(limit)

    def enter(self):
        """Take a place. Raises ServerOverloaded when none comes free in time."""
        if not self.places.acquire(blocking=False) and not self.places.acquire(
            timeout=self.patience
        ):
            raise errors.ServerOverloaded()

    def leave(self):
        self.places.release()
