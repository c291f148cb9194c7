"""What every relay shares: bytes from an upstream to whole events for one client.

A relay is pure: it waits for nothing and knows no socket. Its subclasses say what one endpoint's
events mean (`dialects/`). A fault behind events that can still be sent is held back in `error`.
"""

import functools
import re

import orjson

from gateway import errors, sse, tokens
from gateway.upstreams import faults

LARGEST_WHOLE = 16 * 1024 * 1024  # of a whole answer, or a refusal, to a streamed call
BACKSLASH = ord("\\")
# The tokens of valid JSON: a string, with the colon behind it if it is a key, a bracket, or a bare
# word. Its repeats never step back, so that no string makes it slow.
TOKEN = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")(\s*+:)?|[][{}]|[^][{}",:\s]++')


class Relay:
    """One upstream's stream on its way to one client.

    `glance(event)`, where there is one, gives what becomes of one event's bytes like `take()`, but
    None for all that it would have to look into, and changes nothing; `passed(event)` says that
    they were sent on.
    """

    glance = passed = None

    def __init__(self, call):
        self.call = call
        self.decoder = sse.Decoder()
        self.events = 0  # events that came from the upstream, whether or not they were passed on
        self.usage = None
        self.error = None
        self.done = False  # nothing more is to be sent

    def take(self, data):
        """Return what these bytes give the client: whole events, or b""; no bytes are the end."""
        if not data:
            return self.end()
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
        raise faults.cut() if self.events else errors.UpstreamBadResponse()

    def whole(self, body):
        """Return the stream that a whole JSON answer amounts to."""
        raise NotImplementedError

    def fail(self, error):
        """Return the events that end a stream which has gone wrong."""
        raise NotImplementedError

    def snapshot(self):
        """Return the Response as far as it has come, or None if its client has not heard of it."""
        return None


def load(data):
    """Parse an upstream's JSON object. Raises UpstreamBadResponse."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise errors.UpstreamBadResponse() from exc
    if not isinstance(found, dict):
        raise errors.UpstreamBadResponse()
    return found


def counted(call, found):
    """Return the Usage of a whole answer; where it has none, note how much there is to estimate."""
    usage = tokens.read(found.get("usage"))
    if usage is None:
        call.said = tokens.said(found)
    return usage


def dump(value):
    """Write JSON. Raises UpstreamBadResponse for what is nested too deep to be written."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as exc:
        raise errors.UpstreamBadResponse() from exc


@functools.lru_cache(maxsize=256)
def spelled(name):
    """Return a model's id as JSON; the same few are written again and again."""
    return orjson.dumps(name)


@functools.lru_cache(maxsize=256)
def members(model):
    """Return how `model` is usually written in an object: pairs of its key, and all of it."""
    return [(key, key + spelled(model)) for key in (b'"model":', b'"model": ')]


def rename(data, found, model):
    """Return JSON bytes whose `model` is the id that was asked for, all else untouched.

    `found` is the same JSON, parsed.
    """
    old = found.get("model")
    if old == model:
        return data
    new = spelled(model)
    if isinstance(old, str):
        for key, member in members(old):
            parts = data.split(member)
            if len(parts) != 2:
                continue
            # A single hit behind no backslash is a key and its value. Braces may lie in strings, so
            # it is surely at the top only where the object's own is the only one on its side, or
            # where no other key could be meant.
            before, after = parts
            own = before.count(b"{") == 1 or after.count(b"}") == 1
            if before[-1] != BACKSLASH and (own or not (another(before) or another(after))):
                return (key + new).join(parts)
    return respell(data, new, "model" in found)


def another(part):
    """Tell whether a part of JSON may hold a key `model`, which may be spelled with escapes."""
    return part.rfind(b'"model"') >= 0 or (b"\\" in part and b"\\u006" in part)


def respell(data, new, present):
    """Return the JSON of an object with another `model`, wherever and however it is written."""
    if not present:
        start = data.index(b"{") + 1
        comma = b"" if data[start:].lstrip().startswith(b"}") else b","
        return b'%b"model":%b%b%b' % (data[:start], new, comma, data[start:])
    pieces, last = [], 0
    for start, end in values(data, "model"):
        pieces += [data[last:start], new]
        last = end
    return b"".join(pieces) + data[last:]


def values(data, name):
    """Yield (start, end) of every value that a key has at the top of an object's JSON."""
    depth, start, here = 0, None, False
    for token in TOKEN.finditer(data):
        if here and start is None:
            start = token.start()
        depth += (token[0] in b"{[") - (token[0] in b"}]")
        if depth != 1:
            continue
        if start is not None:
            yield start, token.end()
            start, here = None, False
        else:
            here = token[2] is not None and orjson.loads(token[1]) == name
