"""One accepted connection of the scripted upstream: plays steps and sees the peer leave.

A step is bytes to send, a number of seconds to wait, FIN or RST. How requests are read off the
connection is in `request`, what the steps of an answer are in `answers`.
"""

import math
import select
import socket
import struct
import threading
import time

HANG = math.inf
LINGER = 60
BLOCK = 65536


class Ending:
    """A step after which nothing more is sent on the connection."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


FIN = Ending("FIN")
RST = Ending("RST")


class Gone(Exception):
    """The connection is over: the peer left, it was reset, or the server is closing."""


class Connection:
    """A socket whose every wait, for time or for room, also watches for the peer's close.

    `closed` is set once the connection is over for the peer as well: its FIN or RST was seen, at
    the monotonic time `closed_at`, or a RST was sent to it. `sent` counts bytes.
    """

    def __init__(self, sock, number):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.number = number
        self.buffer = bytearray()
        self.sent = 0
        self.closed = threading.Event()
        self.closed_at = None
        self._ending = False
        self._lock = threading.Lock()
        self._poll = select.poll()

    def play(self, steps):
        """Act a script out; raise Gone when it ends the connection or the peer does."""
        for step in steps:
            if step is FIN:
                self.finish()
            elif step is RST:
                self.reset()
            elif isinstance(step, bytes):
                self.send(step)
            else:
                self.wait(step)

    def send(self, data):
        view = memoryview(data)
        while view:
            try:
                count = self.sock.send(view)
            except BlockingIOError:
                self._ready(select.POLLIN | select.POLLOUT)
                continue
            except OSError:
                self._peer_left()
            self.sent += count
            view = view[count:]

    def wait(self, seconds):
        """Let time pass, keeping what the peer sends meanwhile for later."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._ready(select.POLLIN, left)

    def more(self):
        """Wait until at least one more byte is in the buffer."""
        had = len(self.buffer)
        while len(self.buffer) == had:
            self._ready(select.POLLIN)

    def finish(self):
        """Send a FIN and stay until the peer answers with its own.

        As after a full close, whatever else the peer sends is answered with a RST.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._peer_left()
        self._ready(select.POLLIN, LINGER)
        self.reset()

    def reset(self):
        """Send a RST, by a close that does not linger."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._peer_left()

    def hang_up(self):
        """Send a FIN from another thread, as a server does with a connection long idle."""
        self._shutdown(socket.SHUT_WR)

    def end(self):
        """Wake the connection's thread out of whatever it does, from another thread."""
        self._ending = True
        self._shutdown(socket.SHUT_RDWR)

    def close(self):
        # The lock keeps another thread from shutting down a descriptor that is already reused.
        with self._lock:
            self.sock.close()

    def _shutdown(self, how):
        with self._lock:
            try:
                self.sock.shutdown(how)
            except OSError:
                pass

    def _ready(self, events, seconds=HANG):
        timeout = None if seconds == HANG else math.ceil(seconds * 1000)
        self._poll.register(self.sock, events)
        for _, seen in self._poll.poll(timeout):
            if seen & ~select.POLLOUT:
                self._receive()

    def _receive(self):
        try:
            data = self.sock.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._peer_left()
        self.buffer += data

    def _peer_left(self):
        if not self._ending:
            self.closed_at = time.monotonic()
        raise Gone
