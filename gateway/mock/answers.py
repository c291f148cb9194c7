"""Answers: what to do with a request, as functions from a request to the steps that `wire` plays.

An answer knows nothing of models or OpenAI's objects, only of HTTP and server-sent events. Steps
are bytes, seconds, FIN and RST; where they end without FIN or RST, the connection is kept.
"""

import json as jsonlib
from http import HTTPStatus
from itertools import chain

from gateway.mock.wire import FIN, HANG

DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
NO_LENGTH = {100, 101, 103, 204, 304}


class Bare(bytes):
    """Bytes that a stream sends as they are, in no chunk of its framing."""


def dumps(value):
    """Return an object as JSON; lone surrogates, which UTF-8 cannot hold, become question marks."""
    return jsonlib.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def sse(data, event=None):
    """Return one server-sent event: `data` is text, or an object to write as JSON."""
    text = data.encode() if isinstance(data, str) else dumps(data)
    name = b"event: %s\n" % event.encode() if event else b""
    return b"%sdata: %s\n\n" % (name, text)


def head(status=200, headers=()):
    """Return a response head; `headers` is a dict or a list of pairs, written as they are."""
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in pairs(headers))]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def pairs(headers):
    return list(headers.items() if isinstance(headers, dict) else headers)


def whole(body=b"", content_type="application/json", status=200, headers=()):
    """Answer with a body of known length, head and body in one write."""

    def answer(request):
        found = [("content-type", content_type)] if content_type else []
        found += [] if status in NO_LENGTH else [("content-length", len(body))]
        found += [] if request.keep_alive else [("connection", "close")]
        yield head(status, [*found, *pairs(headers)]) + (b"" if request.method == "HEAD" else body)

    return answer


def json(body, status=200, headers=()):
    """Answer with an object written as JSON."""
    return whole(dumps(body), status=status, headers=headers)


def error(status, message, type="invalid_request_error", param=None, code=None, headers=()):
    """Answer with an error in OpenAI's envelope."""
    found = {"message": message, "type": type, "param": param, "code": code}
    return json({"error": found}, status, headers)


def redirect(location, status=307):
    return whole(status=status, content_type=None, headers={"location": location})


def raw(pieces, end=FIN):
    """Answer with some bytes and pauses, then `end`: FIN, RST, or None to keep the connection."""

    def answer(request):
        yield from pieces
        if end is not None:
            yield end

    return answer


def hang(seconds=HANG, then=None):
    """Send nothing for a while, then give another answer or, without one, a FIN."""

    def answer(request):
        yield seconds
        yield from then(request) if then else [FIN]

    return answer


def stream(
    events,
    delay=0.0,
    framing="chunked",
    done=True,
    status=200,
    headers=(),
    content_type="text/event-stream",
    split=None,
):
    """Answer with events, each in a chunk and a write of its own.

    An event is an object or text to write as `data:`, bytes to send as they are, or a step: a pause
    in seconds, FIN, RST. An object with a `type` gets the `event:` line that Responses events have.
    `delay` is seconds between events; `framing` is "chunked" or "close"; `done` adds `[DONE]`;
    `split` cuts the bytes anew every so many, across events.
    """

    def answer(request):
        chunked = framing == "chunked" and request.version == "HTTP/1.1"
        how = [("transfer-encoding", "chunked")] if chunked else [("connection", "close")]
        yield head(status, [("content-type", content_type), *how, *pairs(headers)])
        pieces = _paced(events, delay, done)
        for piece in recut(pieces, split) if split else pieces:
            yield framed(piece) if chunked and is_payload(piece) else piece
        yield LAST_CHUNK if chunked else FIN

    return answer


def encoded(event):
    """Return an event of a stream as bytes; steps and bytes stay what they are."""
    if isinstance(event, (dict, str)):
        return sse(event, event.get("type") if isinstance(event, dict) else None)
    return event


def _paced(events, delay, done):
    pause = 0
    for event in map(encoded, chain(events, [DONE] if done else [])):
        if pause and isinstance(event, bytes):
            yield pause
        yield event
        pause = delay


def is_payload(step):
    return isinstance(step, bytes) and not isinstance(step, Bare)


def framed(piece):
    """Return a chunk; of no bytes none, since an empty chunk would end the body."""
    if not piece:
        return b""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def recut(steps, size):
    """Cut the payload of some steps anew every `size` bytes; a pause flushes what is held."""
    held = b""
    for step in steps:
        if is_payload(step):
            held += step
            whole_pieces = len(held) // size * size
            yield from (held[at : at + size] for at in range(0, whole_pieces, size))
            held = held[whole_pieces:]
            continue
        if held:
            yield held
            held = b""
        yield step
    if held:
        yield held


def trickle(answer, size=1, delay=0.2, within="body"):
    """Give the "head" or "body" of another answer `size` bytes at a time, `delay` seconds apart."""

    def slowly(data):
        for at in range(0, len(data), size):
            yield from (data[at : at + size], delay)

    def trickled(request):
        in_head = True
        for step in answer(request):
            if not isinstance(step, bytes):
                yield step
                continue
            start, mark, rest = step.partition(b"\r\n\r\n") if in_head else (b"", b"", step)
            yield from slowly(start + mark) if within == "head" else [start + mark]
            yield from slowly(rest) if within == "body" else [rest]
            in_head = in_head and not mark

    return trickled


def edited(answer, change):
    """Give another answer with `change` made to the bytes of its head."""

    def changed(request):
        first, *rest = answer(request)
        start, mark, body = first.partition(b"\r\n\r\n")
        yield from (change(start + mark) + body, *rest)

    return changed
