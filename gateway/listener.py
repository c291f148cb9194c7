"""The side of a worker that new connections come in by: taken, waited on, counted."""

import contextlib
import fcntl
import os
import resource
import select
import time

from gevent.server import StreamServer

from gateway import watch

AT_ONCE = 16  # connections that all workers take in a turn of their loops


class Listener(StreamServer):
    """Takes some new connections a turn of the loop, so that of many each worker gets its part.

    One alone would make a turn for each, which costs a fifth more; many would make the first of a
    thousand wait for the last.
    """

    def __init__(self, sock, workers, **options):
        super().__init__(sock, **options)
        self.max_accept = max(AT_ONCE // workers, 2)

    def close(self):
        """Take who has connected already, then stop listening: nobody is reset."""
        if not self.closed:
            with contextlib.suppress(OSError):
                self.take_pending()
        super().close()

    def take_pending(self):
        while not self.full():
            found = self.do_read()
            if found is None:
                return
            self.do_handle(*found)

    @property
    def busy(self):
        return self.pool.free_count() < self.pool.size


class Named:
    """A listener's own address, which is still asked for once the listener is closed."""

    def __init__(self, sock):
        self.name = sock.getsockname()

    def getsockname(self):
        return self.name


class Waiting(watch.limit):
    """Bounds the wait for a request, and is in `idle` meanwhile."""

    __slots__ = ("idle",)

    def __init__(self, idle, seconds):
        super().__init__(seconds, None)
        self.idle = idle

    def __enter__(self):
        super().__enter__()
        self.idle.add(self)

    def __exit__(self, kind, exc, traceback):
        self.end()
        self.idle.discard(self)
        return kind is watch.Late  # no request has come, which the caller sees

    def ring(self, now):
        """End the wait, unless there is something to read, which ends it as well."""
        if not readable(self.greenlet.client):
            super().ring(now)

    def hurry(self, seconds):
        """Wait for no more than some seconds from now on."""
        self.wake = min(self.wake, time.monotonic() + seconds)

    def drain(self, error):
        self.hurry(0)


def readable(sock):
    found = watch.poll()
    found.register(sock.fileno(), select.POLLIN)
    return bool(found.poll(0))


def make_room(descriptors):
    """Have the kernel's table of open files as large as it will be.

    It grows by doubling, and once there are threads each time holds up all of them for a while.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError):
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, min(descriptors, soft - 1)))
