"""The announcement that a gateway is about to end: a file, since its masters and its commands share
no memory."""

import contextlib
import fcntl
import os
import re
import time

LOOK = 0.5  # seconds for which what was seen is believed
TRIES, PAUSE = 20, 0.01  # of a master that meets a command which is just asking for it


def place(settings, what):
    """Return the path of a file that says something of the gateway at this address."""
    name = re.sub(r"[^0-9A-Za-z.]+", "-", settings.server.bind)
    return settings.state / f"{what}-{name}"


def folder(path):
    """Make the folder of a file, for this account alone; it may have been made already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


class Flag:
    """Says that no more traffic is wanted; one per address, as machines run a standby too."""

    def __init__(self, settings, clock=time.monotonic):
        self.path = place(settings, "draining")
        self.clock, self.next, self.seen = clock, 0.0, False

    @property
    def up(self):
        """Tell whether it is up, as of half a second ago."""
        now = self.clock()
        if now >= self.next:
            self.seen, self.next = self.path.exists(), now + LOOK
        return self.seen

    def raise_up(self):
        folder(self.path)
        self.path.touch(mode=0o600)

    def take_down(self):
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


class Master:
    """Says whether a master runs, by a file that it locks: however it ends, the lock ends with it.

    The lock is a process's own and no worker inherits it, not even one that outlives its master.
    """

    def __init__(self, settings):
        self.path = place(settings, "running")

    def stay(self):
        """Lock the file for as long as this process lives; tell whether it is locked."""
        # A gateway without a place for it serves all the same.
        with contextlib.suppress(OSError):
            folder(self.path)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            for _ in range(TRIES):
                if locked(file):
                    return True
                time.sleep(PAUSE)
            os.close(file)
        return False

    @property
    def runs(self):
        """Tell whether one runs; not for the master itself, whose lock it would end."""
        try:
            file = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not locked(file)
        finally:
            os.close(file)


def locked(file):
    """Lock a file for this process unless another one has; tell whether that was possible."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
