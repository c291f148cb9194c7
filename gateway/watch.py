"""Ends a wait from outside: a deadline that has come, a pause that is due, a client that has left.

One `Watch` belongs to one client call. It looks at the client's socket all the time, and one
sweeper per thread looks at every armed deadline ten times a second, so that a call needs neither a
second greenlet nor a timer of its own. What it throws are BaseExceptions: no `except Exception` on
the way may swallow them.
"""

import select
import time
import weakref

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
        self.watches = set()
        self.timer = loop.timer(TICK, TICK)

    def add(self, watch):
        if not self.watches:
            self.timer.start(self.sweep)
        self.watches.add(watch)

    def discard(self, watch):
        self.watches.discard(watch)
        if not self.watches:
            self.timer.stop()

    def sweep(self):
        now = time.monotonic()
        for watch in [w for w in self.watches if now >= w.wake or w.crowded]:
            watch.ring(now)


_sweepers = weakref.WeakKeyDictionary()


def _sweeper():
    hub = get_hub()
    found = _sweepers.get(hub)
    if found is None:
        found = _sweepers[hub] = Sweeper(hub.loop)
    return found


class Watch:
    """Guards the waits of one client call; `client` is its socket, None where nobody can leave."""

    def __init__(self, client=None):
        self.greenlet = None  # set while a wait is on
        self.deadline = self.pause = self.wake = FOREVER
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

    def call(self, function, *args, deadline=FOREVER, timer="total", pause=FOREVER):
        """Run a function that waits, until `deadline` or `pause` (both monotonic seconds).

        Raises Late with the timer's name, Pause, or Gone.
        """
        if self.gone:
            raise Gone
        self.deadline, self.timer, self.pause = deadline, timer, pause
        self.wake = min(deadline, pause)
        self.greenlet = getcurrent()
        try:
            return function(*args)
        finally:
            self.greenlet = None
            self.wake = FOREVER

    def sleep(self, seconds, **limits):
        """Wait without doing anything."""
        self.call(sleep, seconds, **limits)

    def ring(self, now):
        """Throw what is due into the waiting greenlet; runs in the hub."""
        if self.crowded and self._closed():
            self._left()
        elif self.greenlet is not None and now >= self.wake:
            self._throw(Late(self.timer) if now >= self.deadline else Pause())

    def close(self):
        """Stop looking; safe to call twice."""
        self._sweeper.discard(self)
        if self._io is not None:
            self._io.stop()
            self._io.close()
            self._io = None

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

    __slots__ = ("seconds", "error", "watch")

    def __init__(self, seconds, error):
        self.seconds, self.error = seconds, error

    def __enter__(self):
        watch = self.watch = Watch()
        watch.deadline = watch.wake = time.monotonic() + self.seconds
        watch.greenlet = getcurrent()

    def __exit__(self, kind, exc, traceback):
        self.watch.greenlet = None
        self.watch.close()
        if kind is Late:
            raise self.error from None
