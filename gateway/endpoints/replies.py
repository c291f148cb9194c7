"""What an exchange gives, as responses."""

import math
from functools import partial

from gateway.endpoints.visit import Lean, current
from gateway.exchange import StreamReply, routed
from gateway.watch import Watch

JSON = [("content-type", "application/json")]
STREAM = [
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
]


def run(endpoint, payload):
    """Run a checked payload's exchange and answer with what it gives."""
    visit = current()
    client = visit.environ.get("gunicorn.socket")
    exchange = visit.services.exchange(endpoint, payload, Watch(client), visit.line)
    exchange.call.deadline = exchange.call.started + patience(visit.environ)
    reply = exchange.run()
    response = stream(reply) if isinstance(reply, StreamReply) else whole(reply)
    if client is not None:
        client.settimeout(visit.services.settings.timeouts.write)
        response.call_on_close(partial(client.settimeout, None))
    return response


def patience(environ):
    """Return the seconds that the client says it waits; the official SDKs send them."""
    try:
        seconds = float(environ.get("HTTP_X_STAINLESS_READ_TIMEOUT", "inf"))
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf


def whole(reply):
    response = Lean((reply.body,), JSON)
    response.headers["content-length"] = str(len(reply.body))
    response.headers.update(routed(reply.call))
    return response


def stream(reply):
    response = Lean(reply, STREAM)
    if reply.committed:
        response.headers.update(routed(reply.call))
    return response
