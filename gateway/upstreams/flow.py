"""A stream's way from an upstream to a client: waits, deadlines, and the shortcut past both.

Most chunks of a stream differ from those before them by their texts alone. Where the client's side
takes one at once (`call.push`), such a chunk goes from socket to socket in the event loop itself,
and the call's greenlet sleeps on with all that stands between the two. Everything else wakes it.
"""

import functools

from gateway import watch
from gateway.upstreams import faults
from gateway.upstreams.base import PING
from gateway.upstreams.relay import LARGEST_WHOLE
from gateway.upstreams.transport import whole_chunk

PAUSE = object()  # in place of data: none has come, and the client should hear something


class Flow:
    """One stream of `call`; `timeouts` are its upstream's, `relay` makes the client's events.

    `first` is when its first event is late, and by which timer.
    """

    __slots__ = ("call", "relay", "clock", "keepalive", "idle", "total", "first", "last")

    def __init__(self, call, timeouts):
        self.call, self.relay, self.clock = call, None, call.clock
        self.keepalive, self.idle = timeouts.keepalive, timeouts.idle
        self.total = (call.bound(timeouts.stream_total), "total")
        self.first = min((self.clock() + timeouts.first_token, "first_token"), self.total)
        self.last = None  # when the last event was sent on

    def blocks(self, open, refusal):
        """Yield blocks of whole events, and PING when a keepalive is due.

        `open(deadline, timer)` gives the upstream's wire and the relay, `refusal(status, headers,
        body)` the error that an answer means which is none. Raises GatewayError.
        """
        # One generator, and no calls by * where it waits: each would be some more KiB of a stream's
        # stack, kept while it sleeps.
        call, wait, clock, bounds = self.call, self.call.watch.call, self.clock, self.bounds
        wire, relay = open(*self.first)
        self.relay, step, take = relay, wire.head, None
        began = clock()
        try:
            while not relay.done:
                try:
                    deadline, timer, pause = bounds()
                    data = wait(step, deadline, timer, pause, bounds)
                except watch.Pause:
                    data = PAUSE
                now = clock()
                call.upstream_seconds += now - began
                began = now
                if data is None:  # the head has come
                    step, take = self.reading(wire, refusal)
                    continue
                seen = relay.events
                block = take(data) if data is not PAUSE else PING
                if block or data is PAUSE:
                    yield block
                    call.spoke = began = clock()
                if relay.error:
                    raise relay.error
                if relay.events > seen:
                    self.last = began
        except watch.Gone:
            call.upstream_seconds += clock() - began
            raise
        except faults.FOREIGN as exc:
            call.upstream_seconds += clock() - began
            raise faults.of(exc) from exc
        finally:
            wire.release() if relay.done else wire.close()

    def reading(self, wire, refusal):
        """Return what waits for bytes of an answer's body, and what makes a client's of them."""
        if wire.status != 200:
            return functools.partial(refused, wire, refusal), None
        if "json" in wire.headers.get("content-type", "").lower():
            return functools.partial(wire.read, LARGEST_WHOLE), self.relay.whole
        if self.call.push is not None and self.relay.glance is not None:
            wire.through = self.passed
        return wire.read1, self.relay.take

    def bounds(self):
        """Return what ends a wait, as of now: a deadline, its timer, when a keepalive is due."""
        late = self.first
        if self.last is not None:
            idle = self.last + self.idle
            late = (idle, "idle") if idle < self.total[0] else self.total
        return *late, self.call.spoke + self.keepalive

    def passed(self, data):
        """Send on what the upstream has sent, if that needs no greenlet; tell whether it did.

        This runs in the hub, which must not wait. Of what it does not send, nothing is changed.
        """
        event = whole_chunk(data)
        block = self.relay.glance(event) if event is not None else None
        if block is None or not self.call.push(block):
            return False
        self.relay.passed(event)
        self.last = self.call.spoke = self.clock()
        return True


def refused(wire, refusal):
    """Wait for an answer that is none, and raise what it means."""
    body = wire.read(LARGEST_WHOLE)
    raise refusal(wire.status, wire.headers, body)
