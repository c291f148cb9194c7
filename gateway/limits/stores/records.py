"""The LMDB file behind a local store: opened late, opened again after a fork, replaced when broken.

It lies in a folder named after this boot of the machine. LMDB is told not to sync, so a power cut
may leave pages behind that it would fall over; after a reboot nothing in them is of use anyway.
Where the boot's name cannot be read, the file is kept only while somebody living holds it.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import threading
import time

import lmdb

from gateway.limits.stores import Away
from gateway.limits.stores.holder import FORMING, Holder, clean

log = logging.getLogger("gateway")

# 10,000 keys with four records each need a fifth of it. It is allocated in full: LMDB writes
# through the map, and a page that a full disk has no room for would kill the process.
MAP = 32 << 20
LOCKS = 8192  # bytes of LMDB's own file of locks
FORMAT = 1  # of the records; another one lives in another folder
BOOT = "/proc/sys/kernel/random/boot_id"
STALE = 24 * 3600  # seconds after which what another boot has left is removed
PAUSE = 5  # seconds before a file that could not be opened is tried again
DAMAGE = (
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
)

_forks = 0  # how often there was one on the way from the first process to this
_open = {}  # LMDB wants a file opened once a process: path -> (environment, its file, users)


class Records:
    """One file of records, and this object's own holder beside it.

    A transaction must not switch greenlets: no logging, no lock and no socket inside.
    """

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.pid = self.path = self.env = self.holder = self.file = None
        self.forks = _forks
        self.opened = 0  # how often; another number means that the records may be other ones
        self.closed_until = 0.0
        self.opening = threading.Lock()

    def begin(self):
        """Return a write transaction; raise Away or lmdb.Error.

        Reading takes one too: it costs no more, and a reader that was stopped would keep LMDB from
        using pages again.
        """
        if self.forks != _forks or self.env is None:  # os.getpid() costs as much as a transaction
            with self.opening:
                if self.pid != os.getpid():
                    self.open()
        return self.env.begin(write=True)

    def open(self):
        """Open the file in its own folder, or else in one under the machine's temporary folder."""
        now = time.monotonic()
        if now < self.closed_until:
            raise Away("the file of limits cannot be opened")
        self.close()
        for folder in (self.folder, _spare(self.folder)):
            try:
                self._open_in(folder)
            except (OSError, lmdb.Error) as exc:
                log.warning("limits cannot be kept in %s: %s", folder, exc)
            else:
                return
        self.closed_until = now + PAUSE
        raise Away("the file of limits cannot be opened")

    def close(self):
        """Let go of the file and of what this object holds in it; the next use opens it again."""
        if self.pid == os.getpid():
            self.holder.leave()
            _release(self.path)
        self.pid = self.path = self.env = self.holder = self.file = None

    def heal(self):
        """Let go of a file that is no longer the one in the folder."""
        if self.pid == os.getpid() and _identity(self.path) != self.file:
            self.close()

    def broken(self):
        """Give up a file that LMDB cannot read any more, unless another process has replaced it."""
        if self.pid != os.getpid():
            return
        with contextlib.suppress(OSError), _alone(os.path.dirname(self.path)):
            # While ours is still open, no other file can have its number.
            if _identity(self.path) == self.file:
                _remove(self.path)
        path = self.path
        self.close()
        log.warning("the file of limits in %s is damaged: a new one is begun", path)

    def _open_in(self, folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _check_owner(folder)
        boot = _boot()
        path = os.path.join(folder, f"{FORMAT}-{boot or 'boot'}")
        holders = os.path.join(path, "holders")
        with _alone(folder):
            # Of folders made at once only the last one gets the mode.
            os.makedirs(path, mode=0o700, exist_ok=True)
            os.makedirs(holders, mode=0o700, exist_ok=True)
            _remove_stale(folder, path)
            clean(holders)
            if boot is None and not _held(holders):
                _remove(path)  # It may be another boot's, for all that anybody knows.
            env = _acquire(path)
            try:
                holder = Holder(holders)
            except BaseException:
                _release(path)
                raise
        self.pid, self.path, self.env, self.holder = os.getpid(), path, env, holder
        self.file = _identity(path)
        self.opened, self.forks = self.opened + 1, _forks


def _acquire(path):
    env, file, users = _open.get(path, (None, None, 0))
    if env is not None and file != _identity(path):
        env.close()  # Its other users find that out when they use it, and come here too.
        env = None
    if env is None:
        env = _environment(path)
    _open[path] = env, _identity(path), users + 1
    return env


def _release(path):
    env, file, users = _open.pop(path)
    if users > 1:
        _open[path] = env, file, users - 1
    else:
        env.close()


def _environment(path):
    try:
        return _mapped(path)
    except DAMAGE as exc:
        log.warning("the file of limits in %s is damaged (%s): a new one is begun", path, exc)
        _remove(path)
        return _mapped(path)


def _mapped(path):
    _allocate(os.path.join(path, "lock.mdb"), LOCKS)  # LMDB writes through a map of it at once
    env = lmdb.open(path, map_size=MAP, mode=0o600, sync=False, metasync=False, writemap=True)
    try:
        _allocate(os.path.join(path, "data.mdb"), MAP)
    except BaseException:
        env.close()
        raise
    return env


def _allocate(name, size):
    if not hasattr(os, "posix_fallocate"):
        return
    file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)


def _identity(path):
    try:
        found = os.stat(os.path.join(path, "data.mdb"))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path):
    for name in ("data.mdb", "lock.mdb"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(path, name))


def _remove_stale(folder, path):
    """Remove what earlier boots have left, unless another machine that sees it still writes."""
    for name in os.listdir(folder):
        other = os.path.join(folder, name)
        if other != path and os.path.isdir(other):
            with contextlib.suppress(OSError):
                if time.time() - os.stat(os.path.join(other, "data.mdb")).st_mtime > STALE:
                    shutil.rmtree(other)


@contextlib.contextmanager
def _alone(folder):
    """Open and replace files one process at a time."""
    file = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # gevent closes only at its loop's next turn
        os.close(file)


def _boot():
    """Return the name of this boot, or None where /proc does not tell it."""
    try:
        with open(BOOT) as file:
            return file.read().strip() or None
    except OSError:
        return None


def _held(holders):
    return any(not name.endswith(FORMING) for name in os.listdir(holders))


def _spare(folder):
    named = hashlib.sha256(folder.encode()).hexdigest()[:12]
    return os.path.join(tempfile.gettempdir(), f"gateway-limits-{os.geteuid()}-{named}")


def _check_owner(folder):
    """Refuse a folder that another user may have put there, as anyone can in a temporary folder."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not this user's own folder")


def _forget():
    """Close what a fork has inherited, since LMDB's environments are for one process each."""
    global _forks
    _forks += 1
    for env, *_ in _open.values():
        env.close()
    _open.clear()


os.register_at_fork(after_in_child=_forget)
