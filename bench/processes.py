"""What a tree of processes costs: CPU time and memory, told by the kernel."""

import contextlib
import ctypes
import os
import pathlib
import re
import signal
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PROC = pathlib.Path("/proc")


class Vanished(Exception):
    """A process of a system has ended while it was measured."""


def tree(pid):
    """Return the ids of a process and all its descendants."""
    found = [pid]
    for parent in found:
        found.extend(children(parent))
    return found


def children(pid):
    """Return the ids of a process's children, zombies among them."""
    found = []
    for tasks in PROC.glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            found += [int(child) for child in tasks.read_text().split()]
    return found


def workers(master):
    """Return the ids of gunicorn's workers that have come up and not ended, the newest last."""
    return sorted(filter(works, children(master)))


def works(pid):
    """Tell a worker from its master's other children: it alone catches SIGABRT.

    A command line would not do: a child has its master's until it executes another program, and
    none when it has ended.
    """
    with contextlib.suppress(OSError):
        status = (PROC / str(pid) / "status").read_text()
        caught = int(re.search(r"^SigCgt:\t(\w+)$", status, re.M)[1], 16)
        return "\nState:\tZ" not in status and bool(caught >> signal.SIGABRT - 1 & 1)
    return False


def cpu(pid):
    """Return the seconds of CPU that one process has used, ended threads included.

    It is what utime and stime of /proc/PID/stat come from, in nanoseconds instead of 10 ms ticks.
    """
    clock = ctypes.c_int()
    if error := LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise Vanished(f"process {pid}: {os.strerror(error)}")
    return time.clock_gettime(clock.value)


def pss(pid, kind="Pss"):
    """Return the bytes of memory of a tree, a shared page counted in parts.

    `Pss_Anon` leaves out files, of which a part is ours only while others have them open as well.
    """
    texts = [(PROC / str(one) / "smaps_rollup").read_text() for one in tree(pid)]
    return sum(int(re.search(rf"^{kind}:\s+(\d+) kB", text, re.M)[1]) for text in texts) * 1024


class CPU:
    """Counts the CPU that a tree uses from now on; `used()` gives the seconds so far."""

    def __init__(self, pid):
        self.pid = pid
        self.before = {one: cpu(one) for one in tree(pid)}

    def used(self):
        """Return the seconds; a process that began since counts whole. Raises Vanished."""
        after = {one: cpu(one) for one in tree(self.pid)}
        if gone := set(self.before) - set(after):
            raise Vanished(f"processes {sorted(gone)} of the tree of {self.pid} have ended")
        return sum(seconds - self.before.get(one, 0) for one, seconds in after.items())
