"""Binding to addresses: where a process that is about to end may still listen, and in a reload."""

import contextlib
import errno
import os
import socket
import stat
import time

from gunicorn import sock, util

PATIENCE = 1  # seconds that an address in use has to become free


class Sockets:
    """What gunicorn's master uses of its module sock, with a reload that keeps what stays open.

    gunicorn itself closes every listener and binds anew. Its old workers still listen then, so that
    an address that stays would be in use.
    """

    close_sockets = staticmethod(sock.close_sockets)

    def __init__(self):
        self.moved = None

    def create_sockets(self, conf, log, fds=None):
        """Return the listeners of a move; otherwise open them as gunicorn does."""
        moved, self.moved = self.moved, None
        return sock.create_sockets(conf, log, fds) if moved is None else moved

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
                undo.callback(sock.close_sockets, moved[-1:], unlink=old is None)
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
            patiently(found, address)
            found.listen(backlog)
        except OSError as exc:
            exc.filename = bind
            raise
        finally:
            os.umask(before)
        return found.detach()


def patiently(found, address):
    """Bind a socket. Raises OSError, for an address in use not before it has been for a while."""
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if found.family == socket.AF_UNIX:
                forsake(address)
            return found.bind(address)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def forsake(path):
    """Remove the file of a Unix socket that nobody listens at any more."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX) as asked:
            try:
                asked.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
