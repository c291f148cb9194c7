"""What an exchange gives, as responses."""

import math
from functools import partial

from gateway.endpoints import background, idempotent, jobs
from gateway.endpoints.passing import passed
from gateway.endpoints.preferences import wants_job
from gateway.endpoints.visit import Lean, current
from gateway.exchange import StreamReply, routed
from gateway.watch import Watch

JSON = [("content-type", "application/json")]
STREAM = [
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
]

# As OpenAI's SDKs for Python and for Node name it.
PATIENCE = ("HTTP_X_STAINLESS_READ_TIMEOUT", "HTTP_X_STAINLESS_TIMEOUT")


def run(endpoint, payload):
    """Run a checked payload's exchange and answer with what it gives."""
    visit = current()
    if "HTTP_IDEMPOTENCY_KEY" in visit.environ:
        call = partial(answer, visit, endpoint, payload)
        return idempotent.run(visit, endpoint, payload, call)
    guard = Watch(visit.environ.get("gunicorn.socket"), drains=True)
    seconds, push = patience(visit.environ), visit.environ.get("gateway.push")
    return answer(visit, endpoint, payload, visit.line, guard, seconds, push=push)


def answer(visit, endpoint, payload, line, guard, patience=math.inf, keep=None, push=None):
    """Make a call that is waited for `patience` seconds, and return a response.

    `push` is the call's way past the response to its client.

    With an Idempotency-Key this runs in a greenlet of its own: `visit` is all there is of the
    request, and `line` is not its log line but the call's.
    """
    if endpoint == "responses" and payload.get("background"):
        guard.close()
        return background.accept(visit, payload, keep)
    prefer = visit.environ.get("HTTP_PREFER")
    if prefer is not None and wants_job(prefer):
        guard.close()
        return jobs.accept(visit, endpoint, payload, keep)
    exchange = visit.services.exchange(endpoint, payload, guard, line, visit.ticket, visit.size)
    if "HTTP_TRACEPARENT" in visit.environ or "HTTP_OPENAI_BETA" in visit.environ:
        exchange.call.passed = passed(visit.environ)
    exchange.call.push = push
    exchange.call.deadline = exchange.call.started + patience
    reply = exchange.run()
    return stream(reply) if isinstance(reply, StreamReply) else whole(reply)


def patience(environ):
    """Return the seconds that the client says it waits; the official SDKs send them."""
    return min([math.inf, *[bound(environ[name]) for name in PATIENCE if name in environ]])


def bound(text):
    """Return a header's number of seconds, infinity for what is none."""
    try:
        found = float(text)
    except ValueError:
        return math.inf
    return found if found > 0 else math.inf


def whole(reply):
    response = Lean((reply.body,), JSON)
    response.headers["content-length"] = str(len(reply.body))
    response.headers.update(routed(reply.call))
    return response


def stream(reply):
    response = Lean(reply, STREAM)
    if reply.answered:
        response.headers.update(routed(reply.call))
    return response
