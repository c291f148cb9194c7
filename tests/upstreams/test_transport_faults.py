"""The transport over real sockets: every fault is told from an answer."""

import gzip
import itertools
import zlib

import pytest
from requests import exceptions

from gateway.mock import FIN, HANG, RST, raw, whole
from gateway.upstreams.transport import Reset
from tests.upstreams.asking import (
    CHUNKED,
    GZIP,
    LENGTH,
    OK,
    PACKED,
    SMALL,
    SOON,
    WAYS,
    ask,
)

MANY = b"".join(b"x-%d: a\r\n" % number for number in range(200))
HUGE = b"".join(b"x-%d: %b\r\n" % (number, b"a" * 50_000) for number in range(20))


FAULTS = {
    "FIN without a byte": ([FIN], Reset, False),
    "RST without a byte": ([RST], Reset, False),
    "FIN in the head": ([LENGTH[:30], FIN], exceptions.InvalidHeader),
    "RST in the head": ([LENGTH[:30], SOON, RST], Reset, True),
    "FIN behind an interim answer": (
        [b"HTTP/1.1 103 Hints\r\n\r\n", FIN],
        exceptions.InvalidHeader,
    ),
    "FIN behind the head": ([LENGTH, FIN], exceptions.ChunkedEncodingError),
    "short body": ([LENGTH, b'{"id":', FIN], exceptions.ChunkedEncodingError),
    "RST in the body": ([LENGTH, b"{", SOON, RST], exceptions.ChunkedEncodingError),
    "no last chunk": ([CHUNKED, b"2\r\n{}\r\n", FIN], exceptions.ChunkedEncodingError),
    "half a last chunk": ([CHUNKED, b"2\r\n{}\r\n0\r\n", FIN], exceptions.ChunkedEncodingError),
    "RST between chunks": ([CHUNKED, b"2\r\n{}\r\n", SOON, RST], exceptions.ChunkedEncodingError),
    "RST of a body that ends it": (
        [OK + b"\r\n", b"{}", SOON, RST],
        exceptions.ChunkedEncodingError,
    ),
    "no HTTP": ([b"220 mock ESMTP ready\r\n\r\n", FIN], exceptions.InvalidHeader),
    "HTTP/0.9": ([b"{}", FIN], exceptions.InvalidHeader),
    "HTTP/2": ([b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64", FIN], exceptions.InvalidHeader),
    "no status": ([b"HTTP/1.1 OK\r\n\r\n", FIN], exceptions.InvalidHeader),
    "bare LF": ([SMALL.replace(b"\r\n", b"\n"), FIN], exceptions.InvalidHeader),
    "space before a colon": ([OK + b"x : y\r\n\r\n", FIN], exceptions.InvalidHeader),
    "bad length": ([OK + b"content-length: +2\r\n\r\n{}", FIN], exceptions.InvalidHeader),
    "two lengths": ([LENGTH[:-2] + b"content-length: 2\r\n\r\n{}"], exceptions.InvalidHeader),
    "length and chunks": (
        [LENGTH[:-2] + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
        exceptions.InvalidHeader,
    ),
    "chunk size zz": ([CHUNKED, b"2\r\n{}\r\nzz\r\n", HANG], exceptions.InvalidHeader),
    "chunk size below zero": ([CHUNKED, b"-2\r\n{}\r\n", HANG], exceptions.InvalidHeader),
    "chunk without its end": ([CHUNKED, b"2\r\n{}xx", HANG], exceptions.InvalidHeader),
    "chunk line of 1 MB": ([CHUNKED, b"0" * 1_000_000, HANG], exceptions.InvalidHeader),
    "chunk extension of 1 MB": (
        [CHUNKED, b"2;" + b"x" * 1_000_000, HANG],
        exceptions.InvalidHeader,
    ),
    "trailers of 1 MB": (
        [CHUNKED, b"0\r\n" + b"x: y\r\n" * 170_000, HANG],
        exceptions.InvalidHeader,
    ),
    "head of 1 MB": ([OK, HUGE, HANG], exceptions.InvalidHeader),
    "status line of 1 MB": ([OK[:-2], b"x" * 1_000_000, HANG], exceptions.InvalidHeader),
    "200 headers": ([OK, MANY, b"\r\n", HANG], exceptions.InvalidHeader),
    "endless interim answers": (
        [*itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 200, 100), HANG],
        exceptions.InvalidHeader,
    ),
    "another protocol": (
        [b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", HANG],
        exceptions.InvalidHeader,
    ),
    "no gzip": ([GZIP % b"gzip", b"{}", FIN], exceptions.ContentDecodingError),
    "gzip cut short": ([GZIP % b"gzip", PACKED[:-9], FIN], exceptions.ContentDecodingError),
    "gzip with a wrong sum": (
        [GZIP % b"gzip", PACKED[:-8] + bytes(8), FIN],
        exceptions.ContentDecodingError,
    ),
    "junk behind gzip": ([GZIP % b"gzip", PACKED + b"junk", FIN], exceptions.ContentDecodingError),
    "gzip in gzip": (
        [GZIP % b"gzip, gzip", gzip.compress(PACKED), FIN],
        exceptions.ContentDecodingError,
    ),
    "unknown encoding": ([GZIP % b"br", b"{}", FIN], exceptions.ContentDecodingError),
}


@WAYS
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_told_from_an_answer(adapter, upstream, name, way):
    steps, error, *began = FAULTS[name]
    upstream.enqueue(raw(steps, end=None))
    with pytest.raises(exceptions.RequestException) as found:
        way(adapter, upstream.url)
    assert type(found.value) is error
    assert [found.value.began] == began if began else not hasattr(found.value, "began")
    upstream.wait_idle()


@WAYS
def test_gzip_bomb_is_refused_before_it_fills_the_memory(adapter, upstream, way):
    squeeze = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(64)) + squeeze.flush()
    upstream.enqueue(raw([GZIP % b"gzip", bomb]))
    with pytest.raises(exceptions.ContentDecodingError):
        way(adapter, upstream.url)
    upstream.wait_idle()


def test_answer_above_the_limit_is_refused(adapter, upstream, monkeypatch):
    monkeypatch.setattr("gateway.upstreams.transport.LARGEST_ANSWER", 1000)
    upstream.enqueue(whole(b"x" * 1000), whole(b"x" * 1001))
    assert ask(adapter, upstream.url) == (200, b"x" * 1000)
    with pytest.raises(exceptions.ContentDecodingError):
        ask(adapter, upstream.url)
    upstream.wait_idle()
