"""Rows of usage on disk while the database is away: JSON lines in a file that a process locks.

The lock ends with its process, however that ends, and what is still in the file then goes to
whichever process takes it next. Rows may be given to the database twice: it takes each once.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import threading
import time

import orjson

from gateway.aside import aside
from gateway.metrics import tally
from gateway.usage.writing import COLUMNS

log = logging.getLogger("gateway")

BATCH = 500  # rows given to the database at once
LONGEST = 1024 * 1024  # bytes read at once; a row is below a hundredth of that
LOOK = 10  # seconds between two looks for files whose owners have died
NAME = "usage-{}-{}.jsonl"


class NoSpool:
    """Keeps nothing, so that all rows stay in memory."""

    waiting = 0

    def put(self, rows):
        return False

    def replay(self, write):
        pass

    def close(self):
        pass


NO_SPOOL = NoSpool()


class Spool:
    """The file of this process, made when it is needed, and those that dead processes have left."""

    def __init__(self, folder, clock=time.monotonic):
        self.folder, self.clock = folder, clock
        self.own, self.left = None, None
        self.lock = threading.Lock()  # of greenlets: nothing native waits for it
        self.looked = None
        self.passed = set()  # paths that could not be read, and are tried again at the next look
        self.failing = False

    @property
    def waiting(self):
        """Return how many rows are on disk, of this process and the dead one it stands in for."""
        return sum(file.waiting for file in (self.own, self.left) if file is not None)

    def put(self, rows):
        """Append rows, and tell whether they are on disk."""
        lines = [line for row in rows if (line := written(row))]
        with self.lock:
            error = self.append(b"".join(lines), len(lines))
        if error is not None and not self.failing:
            log.error("usage cannot be kept on disk and stays in memory: %s", error.strerror)
        self.failing = error is not None
        self.tell()
        return not self.failing

    def append(self, data, count):
        """Return the OSError that appending met, or None."""
        if self.own is None:
            self.own, error = aside(tried, make, self.folder)
            if error is not None:
                return error
        return aside(tried, self.own.append, data, count)[1]

    def replay(self, write):
        """Give all rows to `write`, in batches; what that raises leaves them where they are."""
        if self.own is not None and self.own.left:
            self.empty(self.own, write)
        while file := self.adopt():
            emptied = self.empty(file, write)
            self.left = None
            if emptied:
                aside(tried, file.remove)
                log.warning("usage that a dead process had left on disk is in the database now")
            else:
                self.passed.add(file.path)
                aside(tried, file.close)

    def empty(self, file, write):
        """Give a file's rows to `write`; tell whether all could be read."""
        while True:
            with self.lock:  # not while rows are appended: what is empty is cut off
                rows, error = aside(tried, file.read)
            if error is not None:
                log.error("usage on disk cannot be read: %s", error.strerror)
            if not rows:
                break
            write(rows)
            with self.lock:
                file.taken()
            self.tell()
        if file.bad:
            log.warning("spooled usage: %d lines are no rows, cut off by a kill", file.bad)
            file.bad = 0
        return error is None

    def adopt(self):
        """Take over the file of a dead process; return it, or None if there is none to be seen."""
        if self.left is None and (self.looked is None or self.clock() - self.looked >= LOOK):
            own = {self.own.path} if self.own is not None else set()
            self.left, _ = aside(tried, abandoned, self.folder, own | self.passed)
            if self.left is None:
                self.looked = self.clock()
                self.passed.clear()
        self.tell()
        return self.left

    def tell(self):
        tally.usage_spooled = self.waiting

    def close(self):
        """Let go of the files; those with rows are for whoever starts next."""
        with self.lock:
            for file in filter(None, (self.own, self.left)):
                aside(tried, file.close if file.left else file.remove)
            self.own = self.left = None


class File:
    """A locked file; rows are appended at `size` and read from `at` on."""

    def __init__(self, path, descriptor):
        self.path, self.descriptor = path, descriptor
        self.at = self.next = 0
        self.size = os.fstat(descriptor).st_size
        self.waiting = self.batch = 0  # rows that were not taken yet, and of these the ones read
        self.bad = 0  # lines that are no rows

    @property
    def left(self):
        """Tell whether something is still to be read."""
        return self.at < self.size

    def append(self, data, count):
        """Write lines and wait until they are on disk. After an OSError they count as not there."""
        written = 0
        while written < len(data):
            written += os.pwrite(self.descriptor, data[written:], self.size + written)
        os.fsync(self.descriptor)
        self.size += len(data)
        self.waiting += count

    def read(self):
        """Return the next rows; none of them counts as taken before `taken()`."""
        while self.left:
            data = os.pread(self.descriptor, min(LONGEST, self.size - self.at), self.at)
            end = cut(data)
            lines = data[:end].splitlines()
            rows = [row for line in lines if (row := read(line)) is not None]
            self.bad += len(lines) - len(rows)
            self.next, self.batch = self.at + end, len(lines)
            if rows:
                return rows
            self.taken()
        if self.size:
            os.ftruncate(self.descriptor, 0)
        self.at = self.next = self.size = self.waiting = 0
        return []

    def taken(self):
        self.at = self.next
        self.waiting = max(self.waiting - self.batch, 0)

    def remove(self):
        try:
            os.unlink(self.path)
        finally:
            self.close()

    def close(self):
        os.close(self.descriptor)


def cut(data):
    """Return where a batch of whole lines ends; a last line that is torn counts as a whole one."""
    end = -1
    for _ in range(BATCH):
        found = data.find(b"\n", end + 1)
        if found < 0:
            return end + 1 or len(data)
        end = found
    return end + 1


def written(row):
    """Return the line of a row, or None for one that no database would take either."""
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as exc:
        log.error("a row of usage cannot be written", exc_info=exc)
        tally.usage_dropped += 1
        return None


def read(line):
    """Return the row in a line, with the columns of this version; None for what is none."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    return {name: found.get(name) for name in COLUMNS}


def make(folder):
    """Return a new file of this process."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    while True:
        path = os.path.join(folder, NAME.format(os.getpid(), secrets.token_hex(4)))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Somebody may have taken it for a dead one's already: then the next name is luckier.
        if locked(descriptor):
            sync(folder)
            return File(path, descriptor)
        os.close(descriptor)


def abandoned(folder, others):
    """Return a file whose process has died, locked, or None; `others` are paths of no interest."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    for name in sorted(names):
        path = os.path.join(folder, name)
        if path in others or not name.startswith("usage-") or not name.endswith(".jsonl"):
            continue
        with contextlib.suppress(OSError):
            if (file := taken_over(path)) is not None:
                return file
    return None


def taken_over(path):
    """Return a file locked, or None while its process lives."""
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDWR)
        stack.callback(os.close, descriptor)
        if not locked(descriptor):
            return None
        file = File(path, descriptor)
        file.waiting = lines(descriptor)
        stack.pop_all()
        return file


def locked(descriptor):
    """Lock a file and tell whether that was possible, and the file is still in its folder."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def lines(descriptor):
    """Count the lines of a file."""
    found = at = 0
    while data := os.pread(descriptor, LONGEST, at):
        found, at = found + data.count(b"\n"), at + len(data)
    return found


def sync(folder):
    """See that the folder's own entry of a new file is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tried(function, *args):
    """Return (result, None) or (None, OSError): what leaves a native thread is printed."""
    try:
        return function(*args), None
    except OSError as exc:
        return None, exc
