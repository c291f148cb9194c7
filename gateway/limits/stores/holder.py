"""Who holds a place on an account, and whether that process still lives.

A holder is a file with a name of its own, locked by flock for as long as its process lives: the
kernel frees the lock at kill -9, whatever else happens. flock is right here because it belongs to
the open file and not to the process, as fcntl's locks do: several holders in one process do not
share it, and closing another descriptor of the same file, which testing it does, lets go of
nothing. What a fork inherits of it is closed in the child at once, or the child would keep its
parent's places. A name is never used twice, so that nobody lives on as somebody else.
"""

import contextlib
import fcntl
import os
import secrets
import time
import weakref

FORMING = ".new"  # ends the name of a file that is not locked yet
ABANDONED = 3600  # seconds after which such a file is nobody's

_held = weakref.WeakSet()


class Holder:
    """One living holder of the folder; `id` is 8 bytes. Raises OSError."""

    def __init__(self, folder):
        self.id = secrets.token_bytes(8)
        self.path = path(folder, self.id)
        self.file = os.open(self.path + FORMING, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        # From here on whoever sees the file finds it locked.
        os.rename(self.path + FORMING, self.path)
        _held.add(self)

    def leave(self):
        """Let go: what is held counts as a dead process's from now on."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.drop()

    def drop(self):
        file, self.file = self.file, None
        if file is not None:
            os.close(file)


def path(folder, id):
    return os.path.join(folder, id.hex())


def alive(folder, id):
    """Tell whether the holder's process lives; what a dead one has left behind is removed."""
    found = path(folder, id)
    try:
        file = os.open(found, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # Nobody can tell, for want of descriptors for instance.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        with contextlib.suppress(OSError):
            os.unlink(found)
        return False
    finally:
        os.close(file)


def clean(folder):
    """Remove what dead holders have left. Raises OSError."""
    for name in os.listdir(folder):
        with contextlib.suppress(OSError, ValueError):
            if not name.endswith(FORMING):
                alive(folder, bytes.fromhex(name))
            elif time.time() - os.stat(os.path.join(folder, name)).st_mtime > ABANDONED:
                os.unlink(os.path.join(folder, name))


def _forget():
    for holder in list(_held):
        holder.drop()
    _held.clear()


os.register_at_fork(after_in_child=_forget)
