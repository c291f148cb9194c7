"""Binding to addresses: where a process that is about to end may still listen, and in a reload."""

import contextlib
import errno
import os
import socket
import stat
import sys
import time

from gunicorn import sock, util

PATIENCE = 1  # seconds that an address in use has to become free


class Sockets:
    """What gunicorn's master uses of its module sock, with a reload that keeps what stays open.

    gunicorn itself closes every listener and binds anew. Its old workers still listen then, so that
    an address that stays would be in use.
    """

    def __init__(self):
        self.moved = None
        self.files = {}  # which file each Unix socket of ours was bound as, by its path

    def create_sockets(self, conf, log, fds=None):
        """Return the listeners of a move; otherwise open them as gunicorn does.

        Ends with a sentence where a Unix socket has a listener: gunicorn would replace its file.
        """
        moved, self.moved = self.moved, None
        if moved is not None:
            return moved
        if not fds and all(isinstance(address, (str, tuple)) for address in conf.address):
            self.check(conf.address)
        listeners = sock.create_sockets(conf, log, fds)
        self.note(listeners)
        return listeners

    def check(self, addresses):
        """End with a sentence if somebody else listens at a Unix socket, before any is touched."""
        for path in addresses:
            # An abstract one has no file; at our own the workers from before a reload listen.
            if isinstance(path, tuple) or path.startswith("\0") or self.ours(path):
                continue
            try:
                patiently(lambda path=path: unheard(path))
            except OSError as exc:
                sys.exit(f"The gateway cannot listen on unix:{path}: {exc.strerror}.")

    def note(self, listeners):
        """Remember the files of Unix sockets that have just been bound, or handed on."""
        for path in paths(listeners):
            self.files[path] = identity(path)

    def ours(self, path):
        """Tell whether the file at a path is still the one that we have noted.

        As long as its socket is open no other file can get its number.
        """
        found = identity(path)
        return found is not None and found == self.files.get(path)

    def close_sockets(self, listeners, unlink=True):
        """Close the listeners, and remove the files that are theirs; it never fails.

        gunicorn's own, the first thing of an end, fails for a file that is gone, and with it the
        drain. A file goes while its socket is open: a new start sees a listener until then.
        """
        for path in paths(listeners) if unlink else ():
            with contextlib.suppress(OSError):
                if self.ours(path):
                    os.unlink(path)
        for listener in listeners:
            listener.close()

    def move(self, master, binds, umask):
        """Have a master listen at these addresses from the reload on that it is in.

        Raises OSError, whose filename is the address that is not to be had; then nothing changes.
        """
        here = {plain(listener.cfg_addr): listener for listener in master.LISTENERS}
        moved = []
        with contextlib.ExitStack() as undo:
            for bind in binds:
                address = util.parse_address(bind)
                old = here.get(address)
                # gunicorn closes its own, but not what it does not know of.
                fd = os.dup(old.fileno()) if old else opened(bind, master.cfg.backlog, umask)
                moved.append(kind(address)(address, master.cfg, master.log, fd=fd))
                if old is None:
                    self.note(moved[-1:])
                undo.callback(self.close_sockets, moved[-1:], unlink=old is None)
            undo.pop_all()
        self.moved = moved

    def stay(self):
        """Close what a move has opened that gunicorn did not want: its command line decides."""
        for listener in self.moved or ():
            listener.close()
        self.moved = None


def plain(address):
    """Return an address without what a socket that was handed on adds to one of IPv6."""
    return address if isinstance(address, str) else address[:2]


def paths(listeners):
    """Return the paths of those that are Unix sockets with a file."""
    names = [listener.getsockname() for listener in listeners]
    return [name for name in names if isinstance(name, str) and name]


def identity(path):
    """Return what tells a file from any other that may come in its place; None if it is gone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def kind(address):
    if isinstance(address, str):
        return sock.UnixSocket
    return sock.TCP6Socket if util.is_ipv6(address[0]) else sock.TCPSocket


def opened(bind, backlog, umask):
    """Return the descriptor of a socket that listens. Raises OSError; its filename is `bind`."""
    address = util.parse_address(bind)
    with socket.socket(kind(address).FAMILY, socket.SOCK_STREAM) as found:
        before = os.umask(umask)
        try:
            occupy(found, address)
            found.listen(backlog)
        except OSError as exc:
            exc.filename = bind
            raise
        finally:
            os.umask(before)
        return found.detach()


def occupy(found, address):
    """Bind a socket. Raises OSError, for an address in use not before it has been for a while."""
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def attempt():
        if found.family == socket.AF_UNIX:
            forsake(address)
        found.bind(address)

    patiently(attempt)


def patiently(attempt):
    """Try until an address is free. Raises OSError if it is still in use after a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def forsake(path):
    """Remove the file of a Unix socket that nobody listens at. Raises OSError as unheard does."""
    if unheard(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def unheard(path):
    """Tell whether a file is in the way of a Unix socket, left by one that nobody listens at.

    Raises OSError if somebody does listen, if that cannot be known, and for any other file.
    """
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as asked:
                asked.setblocking(False)  # where the queue is full somebody listens, too
                asked.connect(path)
    except FileNotFoundError:
        return False
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
