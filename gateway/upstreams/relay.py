"""What every relay shares: bytes from an upstream to whole events for one client.

A relay is pure: it waits for nothing and knows no socket. Its subclasses say what one endpoint's
events mean (`dialects/`). A fault behind events that can still be sent is held back in `error`.
"""

import orjson

from gateway import errors, sse

LARGEST_ANSWER = 16 * 1024 * 1024  # of a whole answer to a streamed call


class Relay:
    """One upstream's stream on its way to one client."""

    def __init__(self, call):
        self.call = call
        self.decoder = sse.Decoder()
        self.events = 0  # events that came from the upstream, whether or not they were passed on
        self.usage = None
        self.error = None
        self.done = False  # nothing more is to be sent

    def take(self, data):
        """Return what these bytes give the client: whole events, or b""."""
        out = []
        try:
            for event in self.decoder.feed(data):
                out.append(self.event(event))
                self.events += 1
                if self.done:
                    break
        except errors.GatewayError as exc:
            if not any(out):
                raise
            self.error = exc
        return out[0] if len(out) == 1 else b"".join(out)

    def event(self, event):
        """Return one event as the client gets it, b"" to leave it out. Raises GatewayError."""
        raise NotImplementedError

    def end(self):
        """The upstream's answer has ended; return what is still to be sent, or raise."""
        raise errors.UpstreamReset()

    def whole(self, body):
        """Return the stream that a whole JSON answer amounts to."""
        raise NotImplementedError

    def fail(self, error):
        """Return the events that end a stream which has gone wrong."""
        raise NotImplementedError


def load(data):
    """Parse an upstream's JSON object. Raises UpstreamBadResponse."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise errors.UpstreamBadResponse() from exc
    if not isinstance(found, dict):
        raise errors.UpstreamBadResponse()
    return found


def rename(data, found, model):
    """Return JSON bytes whose `model` is the id that was asked for, all else untouched.

    `found` is the same JSON, parsed.
    """
    old = found.get("model")
    if old == model:
        return data
    if isinstance(old, str):
        for colon in (b'"model":', b'"model": '):
            # Inside a string its quotes would be escaped, so a single hit is the key itself.
            parts = data.split(colon + orjson.dumps(old))
            if len(parts) == 2:
                return (colon + orjson.dumps(model)).join(parts)
    return orjson.dumps({**found, "model": model})
