"""Ends a wait from outside: a deadline that has come, a pause that is due, a client that has left.

One `Watch` belongs to one client call. It looks at the client's socket all the time, and one
sweeper per thread looks at every armed deadline ten times a second, so that a call needs neither a
second greenlet nor a timer of its own. What it throws are BaseExceptions: no `except Exception` on
the way may swallow them.
"""

import select
import time
from functools import partial

from gevent import get_hub, getcurrent, monkey, sleep, socket

TICK = 0.1
FOREVER = float("inf")
READ = 1

poll = monkey.get_original("select", "poll")


class Gone(BaseException):
    """The client has left."""


class Late(BaseException):
    """A deadline has come; `timer` says which."""

    def __init__(self, timer):
        self.timer = timer
        super().__init__(timer)


class Pause(BaseException):
    """The caller wanted its greenlet back for a moment, to send a keepalive."""


class Sweeper:
    """Looks at all armed watches of one event loop."""

    def __init__(self, loop):
        self.loop, self.watches = loop, set()
        self.timer = loop.timer(TICK, TICK)

    def add(self, watch):
        if not self.timer.active:
            self.timer.start(self.sweep)
        self.watches.add(watch)

    def discard(self, watch):
        self.watches.discard(watch)

    def drain(self, error):
        for watch in list(self.watches):
            watch.drain(error)

    def sweep(self):
        if not self.watches:  # stopping only here spares each call of a few a start and a stop
            self.timer.stop()
            return
        now = time.monotonic()
        for watch in [w for w in self.watches if now >= w.wake or w.crowded]:
            watch.ring(now)


def _sweeper():
    hub = get_hub()
    found = getattr(hub, "gateway_sweeper", None)
    if found is None:
        found = hub.gateway_sweeper = Sweeper(hub.loop)
    return found


def drain(error):
    """End every wait that a client's call is in, and its later ones: `error()` makes the reason."""
    _sweeper().drain(error)


class Watch:
    """Guards the waits of one client call; `client` is its socket, None where nobody can leave.

    With `drains` a drain that has taken too long ends the call: it is Gone, and `drained` makes
    the error that its client hears of.
    """

    drained = None

    def __init__(self, client=None, drains=False):
        self.drains = drains
        self.greenlet = self.renewed = None  # set while a wait is on
        self.deadline = self.wake = FOREVER
        self.timer = "total"
        self.gone = False
        self.crowded = False  # pipelined bytes hide the end of the stream behind them
        self._client = client
        self._io = None
        self._sweeper = _sweeper()
        self._sweeper.add(self)
        if client is not None and hasattr(client, "_sock"):
            self._io = get_hub().loop.io(client.fileno(), READ)
            self._io.start(self._readable)

    def call(self, function, deadline=FOREVER, timer="total", pause=FOREVER, renewed=None):
        """Run a function that waits, until `deadline` or `pause` (both monotonic seconds).

        When one of them has come, `renewed()` may put them off: it returns all three anew. Raises
        Late with the timer's name, Pause, or Gone.
        """
        if self.gone:
            raise Gone
        self.deadline, self.timer = deadline, timer
        self.wake = deadline if deadline < pause else pause
        self.greenlet, self.renewed = getcurrent(), renewed
        try:
            return function()
        finally:
            self.greenlet = self.renewed = None
            self.wake = FOREVER

    def sleep(self, seconds, **limits):
        """Wait without doing anything."""
        self.call(partial(sleep, seconds), **limits)

    def leave(self):
        """End the wait, and every later one, as if the client had left; from any greenlet."""
        self.gone = True
        # Only the hub may throw into a greenlet: who threw here would never be woken again.
        self._sweeper.loop.run_callback_threadsafe(self._left)

    def ring(self, now):
        """Throw what is due into the waiting greenlet; runs in the hub."""
        if self.crowded and self._closed():
            self._left()
        elif self.greenlet is not None and now >= self.wake:
            if self.renewed is not None and not self.gone:
                self.deadline, self.timer, pause = self.renewed()
                self.wake = min(self.deadline, pause)
            if now >= self.wake:
                self._throw(self._due(now))

    def drain(self, error):
        """Let the next look end the wait."""
        if self.drains and not self.gone:
            self.drained, self.gone, self.wake = error, True, 0

    def close(self):
        """Stop looking; safe to call twice."""
        self._sweeper.discard(self)
        if self._io is not None:
            self._io.stop()
            self._io.close()
            self._io = None

    def _due(self, now):
        if self.gone:
            return Gone()
        return Late(self.timer) if now >= self.deadline else Pause()

    def _throw(self, reason):
        greenlet, self.greenlet, self.wake = self.greenlet, None, FOREVER
        greenlet.throw(reason)

    def _readable(self):
        # This runs in the hub, which must not block: hence the socket below gevent's.
        try:
            if self._client._sock.recv(1, socket.MSG_PEEK):
                self._io.stop()
                self.crowded = True
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._io.stop()
        self._left()

    def _closed(self):
        """The client's end of stream, or a reset, lies behind bytes that nobody has read yet."""
        look = poll()
        try:
            look.register(self._client.fileno(), getattr(select, "POLLRDHUP", 0))
        except (OSError, ValueError):
            return True
        return bool(look.poll(0))

    def _left(self):
        self.gone, self.crowded = True, False
        if self.greenlet is not None:
            self._throw(Gone())


class limit:
    """Raise `error` inside the block once it has taken `seconds`."""

    __slots__ = ("seconds", "error", "wake", "greenlet", "sweeper")
    crowded = False

    def __init__(self, seconds, error):
        self.seconds, self.error = seconds, error

    def __enter__(self):
        self.greenlet, self.sweeper = getcurrent(), _sweeper()
        self.wake = time.monotonic() + self.seconds
        self.sweeper.add(self)

    def ring(self, now):
        """Throw into the waiting greenlet; runs in the hub."""
        if now >= self.wake:  # else the block has ended in the same look
            self.wake = FOREVER
            self.greenlet.throw(Late("limit"))

    def drain(self, error):
        """Let the next look end the block."""
        self.error, self.wake = error(), 0

    def end(self):
        self.wake = FOREVER
        self.sweeper.discard(self)

    def __exit__(self, kind, exc, traceback):
        self.end()
        if kind is Late:
            raise self.error from None
