"""Ways to ask over the transport, and the starts of the answers that tests write by hand."""

import gzip
import time
import zlib

import pytest

from gateway.mock import FIN
from gateway.mock.answers import framed
from gateway.watch import Pause
from tests.upstreams.calling import prepared

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"content-length: 100\r\n\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
GZIP = OK + b"content-encoding: %s\r\nconnection: close\r\n\r\n"
SMALL = OK + b"content-length: 2\r\n\r\n{}"
SOON = 0.05  # what was sent has to be read before a RST, which may throw it away
PACKED = gzip.compress(b'{"a": "' + bytes(range(97, 123)) * 50 + b'"}')


def flushed(*pieces):
    """Return gzip's bytes for each piece, and its end."""
    squeeze = zlib.compressobj(wbits=31)
    found = [squeeze.compress(piece) + squeeze.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*found, squeeze.flush()]


FIRST, THEN, LAST = flushed(b"data: 1\n\n", b"data: 2\n\n")
# Of each framing: the head, a first piece, a second one, and what ends the body.
FRAMINGS = {
    "chunks": (CHUNKED, framed(b"data: 1\n\n"), framed(b"data: 2\n\n"), [b"0\r\n\r\n"]),
    "until it closes": (OK + b"\r\n", b"data: 1\n\n", b"data: 2\n\n", [FIN]),
    "length": (OK + b"content-length: 18\r\n\r\n", b"data: 1\n\n", b"data: 2\n\n", []),
    "half a chunk": (CHUNKED, b"12\r\ndata: 1\n\n", b"data: 2\n\n\r\n", [b"0\r\n\r\n"]),
    "gzip": (GZIP % b"gzip", FIRST, THEN, [LAST, FIN]),
}


def ask(adapter, url, **how):
    """Send a request whose whole answer is waited for; return status and body."""
    reply = adapter.send(prepared(url, **how))
    return reply.status_code, reply.content


def opened(adapter, url, **how):
    """Send a request whose answer is streamed; return its wire."""
    return adapter.send(prepared(url, **how), stream=True).raw


def streamed(adapter, url, **how):
    """Read a streamed answer to its end; return status and body."""
    wire = opened(adapter, url, **how)
    try:
        wire.head()
        body = b"".join(iter(wire.read1, b""))
        wire.release()
        return wire.status, body
    finally:
        wire.close()


WAYS = pytest.mark.parametrize("way", [ask, streamed])


def pausing(guard, function, within=5):
    """Wait for a function in spite of pauses; return what it gives, and count them."""
    count = 0
    while True:
        now = time.monotonic()
        try:
            return guard.call(function, deadline=now + within, pause=now + 0.02), count
        except Pause:
            count += 1
