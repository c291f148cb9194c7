"""The master's workers, of which those that are about to end hold no place.

gunicorn counts a worker until it is gone, and one that lets a long stream end is there for many
minutes: nobody would stand in for it, nor for one that dies meanwhile. A worker says that it is
about to end by the mode of the file by which its master sees that it lives, since they share
nothing else.
"""

import os
import stat

ENDING = 0o400  # the file's mode, which is 0600 before


class Workers(dict):
    """gunicorn's workers by process id; its length is how many of them are to stay."""

    def __len__(self):
        return sum(not ending(worker) for worker in self.values())

    def __bool__(self):
        return super().__len__() > 0

    def replace(self, age):
        """Have all of them count no more: those that are started now are older than `age`.

        They stay below the new ones in age, since the youngest are kept, but above `age`: a reload
        waits for those below it, and the master heeds no signal meanwhile.
        """
        for worker in self.values():
            worker.ending, worker.age = True, age + 0.5


def ending(worker):
    """Tell in the master whether a worker is about to end; that makes it the first to be ended."""
    if not getattr(worker, "ending", False):
        if os.fstat(worker.tmp.fileno()).st_mode & stat.S_IWUSR:
            return False
        worker.ending, worker.age = True, 0
    return True


def tell(worker):
    """Tell the master that this worker takes no more calls."""
    os.fchmod(worker.tmp.fileno(), ENDING)
