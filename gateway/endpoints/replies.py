"""What an exchange gives, as responses."""

from flask import Response, g, request

from gateway.exchange import StreamReply, routed
from gateway.services import services
from gateway.watch import Watch


def run(endpoint, payload):
    """Run a checked payload's exchange and answer with what it gives."""
    client = request.environ.get("gunicorn.socket")
    reply = services.exchange(endpoint, payload, Watch(client), g.line).run()
    if client is not None:
        client.settimeout(services.settings.timeouts.write)
    response = stream(reply) if isinstance(reply, StreamReply) else whole(reply)
    if client is not None:
        response.call_on_close(lambda: client.settimeout(None))
    return response


def whole(reply):
    response = Response(reply.body, content_type="application/json")
    response.headers.update(routed(reply.call))
    return response


def stream(reply):
    response = Response(reply, content_type="text/event-stream; charset=utf-8")
    response.headers["cache-control"] = "no-cache"
    response.headers["x-accel-buffering"] = "no"
    if reply.committed:
        response.headers.update(routed(reply.call))
    response.call_on_close(reply.close)
    return response
