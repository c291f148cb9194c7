"""What the row of an exchange says."""

import time

from gateway.tokens import BYTES, Usage

UPSTREAM, ESTIMATED, ABSENT = "upstream", "estimated", "absent"


def estimate(call):
    """Return the Usage of a call that its upstream has answered but not counted, or None.

    Of a stream that broke or was left, an event is taken for a token.
    """
    relay = call.relay
    if call.said is not None:
        return Usage(input=call.sent // BYTES, output=call.said // BYTES)
    if relay is None or not relay.events:
        return None
    return Usage(input=call.sent // BYTES, output=relay.events)


def row(line, found, source, status, now, cost=None):
    """Return the row of an exchange; unknown counts are null, never 0. `cost` is in nano-USD."""
    counts = found or (None,) * 4
    return {
        "created_at": time.time(),
        "request_id": line.request_id,
        "key": line.key,
        "endpoint": line.endpoint,
        "model": line.model,
        "upstream": line.upstream,
        "attempts": line.attempts,
        "status": status,
        "code": line.code,
        "end": line.end,
        "input_tokens": counts[0],
        "cached_tokens": counts[1],
        "output_tokens": counts[2],
        "reasoning_tokens": counts[3],
        "usage_source": source,
        "ttft_ms": milliseconds(line.ttft),
        "total_ms": milliseconds(now - line.started),
        "cost": cost,
    }


def milliseconds(seconds):
    return None if seconds is None else round(seconds * 1000)
