"""Memory, descriptors and CPU of a process tree over time, and the lines through them."""

import re
import threading
import time

from bench.processes import PROC, Vanished, cpu, tree

MASTER, WEB, JOB = "master", "web worker", "job worker"
LEAST = 45  # seconds that a line has to be fitted over to mean anything
STRETCH = 15  # seconds


def look(pid):
    """Return {"pss", "anon", "fds", "cpu"} of a process: bytes, bytes, a count, seconds.

    PSS counts a page that others share in parts, so that it changes as these come and go; `anon`
    is all the memory of a process that is no file's, and its own affair.
    """
    rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    found = {
        name: int(re.search(rf"^{key}:\s+(\d+) kB", rollup, re.MULTILINE)[1]) * 1024
        for name, key in (("pss", "Pss"), ("anon", "Anonymous"))
    }
    found["fds"] = len(list((PROC / str(pid) / "fd").iterdir()))
    return {**found, "cpu": cpu(pid)}


class Samples:
    """`found` has (when, {pid: what look() says}); `roles` says what each process was."""

    def __init__(self, site, every):
        self.site, self.every = site, every
        self.found, self.roles = [], {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while True:
            self.take()
            if self.over.wait(self.every):
                return

    def take(self):
        self.found.append((time.monotonic(), {pid: found for pid, found in self.each()}))

    def each(self):
        for pid, role in list(self.processes()):
            try:
                found = look(pid)
            except (OSError, TypeError, Vanished):  # it has just ended
                continue
            self.roles[pid] = role
            yield pid, found

    def processes(self):
        master, worker = self.site.web.pid, self.site.worker.process
        for pid in tree(master):
            yield pid, MASTER if pid == master else WEB
        for pid in tree(worker.pid) if worker else []:
            yield pid, JOB

    def cpu(self, until):
        """Return the seconds of CPU that all processes have used up to a moment."""
        last, first = {}, {}
        for when, found in self.found:
            for pid, one in found.items() if when <= until else []:
                first.setdefault(pid, one["cpu"] if found is self.found[0][1] else 0.0)
                last[pid] = one["cpu"]
        return sum(last[pid] - first[pid] for pid in last)

    def life(self, pid, until):
        """Return [(when, sample)] of a process up to a moment."""
        return [(when, found[pid]) for when, found in self.found if pid in found and when <= until]

    def lines(self, until):
        """Return a dict for each process: its role, times, and slopes over its second half.

        Slopes are bytes and descriptors a minute, None where the half is too short; `alive` tells
        who was there at the end.
        """
        last = [found for when, found in self.found if when <= until][-1]
        return [
            {**self.line(pid, until), "role": role, "pid": pid, "alive": pid in last}
            for pid, role in self.roles.items()
            if self.life(pid, until)
        ]

    def line(self, pid, until):
        life = self.life(pid, until)
        middle = (life[0][0] + life[-1][0]) / 2
        half = [(when, one) for when, one in life if when >= middle]
        seconds = half[-1][0] - half[0][0]
        fit = seconds >= LEAST
        return {
            "from": life[0][0],
            "until": life[-1][0],
            "fitted": seconds,
            "pss": life[-1][1]["pss"],
            "anon_slope": slope(lows([(t, one["anon"]) for t, one in half])) * 60 if fit else None,
            "pss_slope": slope([(t, one["pss"]) for t, one in half]) * 60 if fit else None,
            "fds_slope": slope([(t, one["fds"]) for t, one in half]) * 60 if fit else None,
            "fds": sorted(one["fds"] for _, one in half)[len(half) // 2],
            "most_fds": max(one["fds"] for _, one in half),
        }


def lows(points):
    """Return the lowest point of each STRETCH: what is held when no large body is under way."""
    found = {}
    for t, y in points:
        stretch = int((t - points[0][0]) // STRETCH)
        found[stretch] = min(found.get(stretch, (t, y)), (t, y), key=lambda point: point[1])
    return list(found.values())


def slope(points):
    """Return the slope of the straight line through points by least squares, a second."""
    count = len(points)
    mean_t, mean_y = (sum(column) / count for column in zip(*points, strict=True))
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    return sum((t - mean_t) * (y - mean_y) for t, y in points) / spread if spread else 0.0
