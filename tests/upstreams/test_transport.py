"""The transport over real sockets: requests go out as they are, answers come in as they come."""

import gzip
import itertools
import threading
import zlib

import pytest
from requests import exceptions

from gateway.mock import FIN, RST, hang, raw, whole
from gateway.upstreams.transport import Reset
from gateway.upstreams.transport.answer import Inflate
from tests.upstreams.asking import (
    CHUNKED,
    FRAMINGS,
    GZIP,
    OK,
    PACKED,
    SMALL,
    SOON,
    WAYS,
    ask,
    flushed,
    opened,
)
from tests.upstreams.calling import prepared

MANY = b"".join(b"x-%d: a\r\n" % number for number in range(200))
ANSWERS = {
    "length": ([SMALL], (200, b"{}")),
    "chunks": ([CHUNKED, b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"], (200, b"{}")),
    "chunks and trailers": ([CHUNKED, b"2\r\n{}\r\n0\r\nx: y\r\n\r\n"], (200, b"{}")),
    "until it closes": ([OK + b"\r\n", b"{", SOON, b"}", FIN], (200, b"{}")),
    "HTTP/1.0": ([b"HTTP/1.0 200 OK\r\n\r\n{}", FIN], (200, b"{}")),
    "HTTP/1.0 with a length": ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"], (200, b"{}")),
    "no reason": ([SMALL.replace(b" OK", b"")], (200, b"{}")),
    "no body": ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"")),
    "empty body": ([OK + b"content-length: 0\r\n\r\n"], (200, b"")),
    "nothing until it closes": ([OK + b"\r\n", FIN], (200, b"")),
    "100 first": ([b"HTTP/1.1 100 Continue\r\n\r\n", SMALL], (200, b"{}")),
    "103 first": ([b"HTTP/1.1 103 Hints\r\nlink: </x>\r\n\r\n", SOON, SMALL], (200, b"{}")),
    "many interim answers": (
        [b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n"] * 300 + [SMALL],
        (200, b"{}"),
    ),
    "99 headers": ([OK, MANY[: MANY.index(b"x-98")], SMALL[17:]], (200, b"{}")),
    "byte by byte": ([SMALL[at : at + 1] for at in range(len(SMALL))], (200, b"{}")),
    "redirect": (
        [b"HTTP/1.1 307 x\r\nlocation: http://127.0.0.2:9/\r\ncontent-length: 0\r\n\r\n"],
        (307, b""),
    ),
    "gzip": ([GZIP % b"gzip", PACKED, FIN], (200, gzip.decompress(PACKED))),
    "gzip by its old name": ([GZIP % b"X-GZip", PACKED, FIN], (200, gzip.decompress(PACKED))),
    "gzip in two members": (
        [GZIP % b"gzip", gzip.compress(b"{"), gzip.compress(b"}"), FIN],
        (200, b"{}"),
    ),
    "two members in one piece": (
        [GZIP % b"gzip", gzip.compress(b"{") + gzip.compress(b"}"), FIN],
        (200, b"{}"),
    ),
    "deflate": ([GZIP % b"deflate", zlib.compress(b"{}"), FIN], (200, b"{}")),
    "gzip of nothing": ([GZIP % b"gzip", FIN], (200, b"")),
    "identity": ([GZIP % b"identity", b"{}", FIN], (200, b"{}")),
}


@WAYS
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_is_read_whatever_its_framing(adapter, upstream, name, way):
    steps, wanted = ANSWERS[name]
    upstream.enqueue(raw(steps, end=None))
    assert way(adapter, upstream.url) == wanted


def test_headers_of_an_interim_answer_are_not_the_answers(adapter, upstream):
    upstream.enqueue(raw([b"HTTP/1.1 103 Hints\r\nlink: </x>\r\n\r\n" + SMALL]))
    assert adapter.send(prepared(upstream.url)).headers == {"content-length": "2"}


def test_headers_are_found_in_lower_case_and_repeated_ones_joined(adapter, upstream):
    upstream.enqueue(whole(headers=[("X-One", "a"), ("x-one", "b"), ("X-Two", "\xe9")]))
    found = adapter.send(prepared(upstream.url)).headers
    assert (found["x-one"], found["x-two"]) == ("a, b", "\xe9")


def piecewise(first, then, event, tail):
    """Answer with a first piece, and with a second one when an event is set."""

    def answer(request):
        yield first
        assert event.wait(5)
        yield from (then, *tail)

    return answer


@pytest.mark.parametrize("framing", [name for name in FRAMINGS if name != "gzip"])
@pytest.mark.parametrize("piece", ["with its head", "behind its head"])
def test_bytes_are_given_when_they_come(adapter, upstream, framing, piece):
    start, first, then, tail = FRAMINGS[framing]
    event = threading.Event()
    begin = [start + first] if piece == "with its head" else [start, SOON, first]
    upstream.enqueue(lambda request: itertools.chain(begin, rest(request)))
    rest = piecewise(b"", then, event, tail)
    wire = opened(adapter, upstream.url)
    wire.head()
    assert wire.read1() == b"data: 1\n\n"
    event.set()
    assert b"".join(iter(wire.read1, b"")) == b"data: 2\n\n"
    wire.release()


def test_compressed_events_are_given_one_by_one(adapter, upstream):
    start, first, then, tail = FRAMINGS["gzip"]
    event = threading.Event()
    upstream.enqueue(piecewise(start + first, then, event, tail))
    wire = opened(adapter, upstream.url)
    wire.head()
    assert wire.read1() == b"data: 1\n\n"
    event.set()
    assert list(iter(wire.read1, b"")) == [b"data: 2\n\n"]
    wire.release()


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("byte", [1, 100, 1 << 20])
def test_compressed_event_is_given_in_full_before_the_next_one_comes(size, byte):
    content, found, inflate = (bytes(range(256)) * 800)[:size], [], Inflate("gzip")
    event, ending = flushed(content)
    for at in range(0, len(event), byte):
        found.append(inflate(event[at : at + byte]))
        while inflate.more:
            found.append(inflate())
    assert b"".join(found) == content and max(map(len, found)) <= 65536
    assert inflate(ending + gzip.compress(b"")) == b"" and inflate.more
    assert inflate() == b"" and not inflate.more
    inflate.end()


def test_request_arrives_as_it_was_prepared(adapter, upstream):
    headers = {"X-One": "a", "x-two": "\xe9"}
    ask(adapter, f"{upstream.url}/chat/completions?a=b", body=b"{}", headers=headers)
    [request] = upstream.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions?a=b")
    assert request.raw_headers == [
        ("Host", f"127.0.0.1:{upstream.port}"),
        ("Content-Length", "2"),
        ("X-One", "a"),
        ("x-two", "\xe9"),
    ]
    assert request.body == b"{}"


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rb", "a\n", "a\r\n\r\n{}"])
def test_header_with_a_line_break_is_never_sent(adapter, upstream, value):
    for headers in ({"X-One": value}, {value: "x"}):
        with pytest.raises(exceptions.InvalidHeader):
            ask(adapter, upstream.url, headers=headers)
    assert upstream.connections == 0


def test_header_that_cannot_be_written_is_never_sent(adapter, upstream):
    with pytest.raises(UnicodeError):
        ask(adapter, upstream.url, headers={"X-One": "\u20ac"})
    assert upstream.connections == 0


@WAYS
def test_large_body_that_is_refused_unread_gets_the_refusal(adapter, upstream, way):
    refusal = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    for ending in (FIN, RST):
        upstream.greet(refusal, SOON, ending)
        assert way(adapter, upstream.url, body=bytes(20 << 20)) == (413, b"{}")
    upstream.wait_idle()


@WAYS
def test_large_body_that_is_cut_off_without_an_answer_is_a_reset(adapter, upstream, way):
    upstream.greet(SOON, RST)
    with pytest.raises(Reset):
        way(adapter, upstream.url, body=bytes(20 << 20))


@WAYS
def test_answer_may_come_before_the_request_is_read(adapter, upstream, way):
    upstream.greet(SMALL)
    upstream.enqueue(hang())
    assert way(adapter, upstream.url, body=bytes(1 << 20)) == (200, b"{}")


@WAYS
def test_large_body_arrives_whole(adapter, upstream, way):
    body = bytes(range(256)) * (80 << 10)
    assert way(adapter, upstream.url, body=body)
    assert upstream.requests[0].body == body
