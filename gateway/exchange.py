"""One client call, from accepted to settled: `run()` it, and it settles itself exactly once."""

import functools
import logging
import time
from urllib.parse import quote

from gateway import errors, prices, sse, usage, watch
from gateway.limits import NO_TICKET
from gateway.metrics import tally
from gateway.turns import NO_TURN
from gateway.upstreams.base import PING, Call

log = logging.getLogger("gateway")


class Exchange:
    """Runs a call for one client and writes down what became of it, whatever its end.

    `line` is the request's log line, which learns everything that is known at the end; `guard` is
    the Watch over the client's socket; `turn` is the call's in its conversation; `ticket` is what
    it takes of its key's limits.
    """

    def __init__(
        self,
        router,
        recorder,
        endpoint,
        payload,
        guard,
        line,
        clock=time.monotonic,
        turn=NO_TURN,
        ticket=NO_TICKET,
    ):
        self.router, self.recorder, self.line, self.clock = router, recorder, line, clock
        self.turn, self.ticket = turn, ticket
        self.call = Call(endpoint, payload, guard, clock)
        self.committed = self.settled = False
        line.stream = self.call.stream
        tally.in_flight += 1

    def run(self):
        """Return a WholeReply or a StreamReply. Raises GatewayError while nothing is committed."""
        try:
            self.ticket.reserve(self.call)
            self.turn.begin(self.call)
            return self.stream() if self.call.stream else self.whole()
        except watch.Gone:
            if self.call.watch.drained is not None:
                raise self.failed(self.call.watch.drained()) from None
            self.line.code = errors.ClientGone.code
            self.settle(end="cancelled")
            self.forget()
            raise errors.ClientGone() from None
        except BaseException as exc:
            self.failed(exc)
            raise

    def failed(self, error):
        """Settle with an error that the client is to hear of, and return it."""
        if isinstance(error, errors.GatewayError):
            error.routed = routed(self.call)
        self.settle(error=error)
        self.forget()
        return error

    def forget(self):
        """Let the relay go, which knows its call: a body would outlast it by a look for cycles."""
        self.call.relay = None

    def whole(self):
        answer = self.router.whole(self.call, self.line.key)
        self.settle(answer.usage)
        return WholeReply(answer.body, self.call)

    def stream(self):
        blocks = self.router.stream(self.call, self.line.key)
        first = next(blocks)
        self.committed = True
        return StreamReply(self, first, blocks)

    def settle(self, found=None, error=None, end="ok"):
        """Write down what the call has come to; only the first settlement counts."""
        if self.settled:
            return
        self.settled = True
        self.call.watch.close()
        tally.in_flight -= 1
        found, source = self.used(found)
        now = self.clock()
        self.describe(found, error, end)
        self.measure(found, now)
        cost = prices.cost(self.call.price, found)
        status = self.status(error, end)
        self.recorder.add(usage.row(self.line, found, source, status, now, cost))
        self.ticket.settle(found, cost, self.served(error))
        if end == "cancelled":
            self.turn.leave(self.call)

    def used(self, found):
        """Return the Usage and who counted it."""
        relay = self.call.relay
        found = found or (relay.usage if relay is not None else None)
        if found is not None:
            return found, usage.UPSTREAM
        found = usage.estimate(self.call)
        return found, usage.ABSENT if found is None else usage.ESTIMATED

    def served(self, error):
        """Tell whether an upstream has done work, so that a call nobody counted was not free."""
        if error is None:
            return self.call.sent > 0
        return getattr(error, "began", False) and not isinstance(error, errors.UpstreamRefused)

    def describe(self, found, error, end):
        line, call = self.line, self.call
        line.upstream, line.usage = call.upstream, found
        line.upstream_seconds = call.upstream_seconds if call.upstream else None
        line.attempts = ",".join(call.attempts) or None
        line.end = "error" if error is not None else end
        if error is not None:
            line.code = getattr(error, "code", "internal_error")

    def measure(self, found, now):
        endpoint, label = self.call.endpoint, self.line.label
        tally.tries(self.call.attempts)
        tally.duration.add(now - self.line.started, endpoint, label)
        if self.line.ttft is not None:
            tally.first_token.add(self.line.ttft, endpoint, label)
        if self.line.upstream_seconds is not None and not self.call.stream:
            outside = now - self.line.started - self.line.upstream_seconds
            tally.overhead.add(max(outside, 0), endpoint)
        if found is not None:
            tally.tokens.add(found.input, endpoint, label, "input")
            tally.tokens.add(found.output, endpoint, label, "output")

    def status(self, error, end):
        """Return the status that the client has got, or would have got had it stayed."""
        if self.committed:
            return 200
        return getattr(error, "status", 500) if error is not None else 499 if end != "ok" else 200


def routed(call):
    """Return the headers that say which upstream answered, and which were tried before it."""
    found = {}
    if call.upstream is not None:
        found["x-gateway-upstream"] = call.upstream
        found["x-gateway-model"] = quoted(call.upstream_model)
    if len(call.attempts) > 1:
        found["x-gateway-attempts"] = ",".join(call.attempts)
    return found


@functools.lru_cache(maxsize=256)
def quoted(model):
    """Return a model's name as a header can hold it; the same few are asked for again and again."""
    return quote(model, safe="/:@ ")


class WholeReply:
    """A whole answer: `body` is JSON bytes."""

    def __init__(self, body, call):
        self.body, self.call = body, call


class StreamReply:
    """An iterable of bytes blocks for the client; `close()` on every way out settles the exchange.

    `answered` says whether an upstream has answered, or only a keepalive was due.
    """

    def __init__(self, exchange, first, blocks):
        self.exchange, self.call = exchange, exchange.call
        self.first, self.blocks = first, blocks
        self.answered = first is not PING

    def __iter__(self):
        """Yield what the client gets; a fault from here on is an event of the stream."""
        try:
            yield self.said(self.first)
            line = self.exchange.line
            for block in self.blocks:
                yield block if block and line.ttft is not None else self.said(block)
        except watch.Gone:
            if self.call.watch.drained is None:
                self.exchange.settle(end="cancelled")
            else:
                yield self.failed(self.call.watch.drained())
        except errors.GatewayError as error:
            yield self.failed(error)
        except Exception as exc:
            self.exchange.settle(error=exc)
            log.error("stream failed", exc_info=exc)
            yield self.failed(errors.InternalError())
        else:
            self.exchange.settle()

    def said(self, block):
        if block is PING:
            return sse.KEEPALIVE
        line = self.exchange.line
        if line.ttft is None:
            now = self.exchange.clock()
            line.ttft = now - line.started
            outside = max(line.ttft - self.call.upstream_seconds, 0)
            tally.overhead.add(outside, self.call.endpoint)
        return block

    def failed(self, error):
        self.exchange.settle(error=error)
        return self.call.relay.fail(error)

    def close(self):
        """Close the upstream and settle; a stream that was not read to its end was cancelled."""
        self.blocks.close()
        self.exchange.settle(end="cancelled")
        self.exchange.forget()
