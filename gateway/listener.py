"""The side of a worker that new connections come in by: taken, waited on, counted."""

import contextlib
import fcntl
import os
import resource
import select
import time

import gevent
from gevent.server import StreamServer

from gateway import watch

AT_ONCE = 16  # connections that all workers take in a turn of their loops


class Listener(StreamServer):
    """Takes some new connections a turn of the loop, so that of many each worker gets its part.

    One alone would make a turn for each, which costs a fifth more; many would make the first of a
    thousand wait for the last. No more than `most` are served at a time.
    """

    def __init__(self, sock, workers, most, **options):
        super().__init__(sock, spawn="raw", **options)
        self.max_accept = max(AT_ONCE // workers, 2)
        self.most, self.serving = most, set()

    def full(self):
        return len(self.serving) >= self.most

    def do_handle(self, sock, address):
        """Serve a connection in a greenlet; a raw one, which is a third of what a pool's costs."""
        # A listener that is closed has no handle any more.
        self.serving.add(gevent.spawn_raw(self.serve, self._handle, sock, address))

    def serve(self, handle, sock, address):
        try:
            handle(sock, address)
        finally:
            sock.close()
            if self.full() and self.started:
                self.start_accepting()
            self.serving.discard(gevent.getcurrent())

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
        return bool(self.serving)

    def kill(self, seconds):
        """End what is still served, and wait so long for that."""
        for greenlet in list(self.serving):
            gevent.kill(greenlet)
        with gevent.Timeout(seconds, False):
            while self.serving:
                gevent.sleep(seconds / 10)


class Named:
    """A listener's own address, which is still asked for once the listener is closed."""

    def __init__(self, sock):
        self.name = sock.getsockname()

    def getsockname(self):
        return self.name


class Waiting(watch.limit):
    """Bounds the wait for a request of `client`, and is in `idle` meanwhile."""

    __slots__ = ("idle", "client")

    def __init__(self, idle, seconds, client):
        super().__init__(seconds, None)
        self.idle, self.client = idle, client

    def __enter__(self):
        super().__enter__()
        self.idle.add(self)

    def __exit__(self, kind, exc, traceback):
        self.end()
        self.idle.discard(self)
        return kind is watch.Late  # no request has come, which the caller sees

    def ring(self, now):
        """End the wait, unless there is something to read, which ends it as well."""
        if not readable(self.client):
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
