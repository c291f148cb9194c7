"""What the scripted upstream reads off a connection and records."""

import json
import time

import pytest

from gateway import mock
from gateway.mock.request import Headers
from tests.raw_client import CHAT, asking, connected, exchange, read_all, read_until
from tests.upstream import more_upstreams  # noqa: F401


def test_a_request_is_recorded_whole(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking(path="/v1/chat/completions?a=b", headers="X-One: 1\r\nX-One: 2\r\n"))
        read_until(sock, b"}]")
        found = upstream.wait_for(1)[0]

    assert found.closed.wait(1)
    assert (found.method, found.path, found.query) == ("POST", "/v1/chat/completions", "a=b")
    assert found.headers["x-ONE"] == "1, 2" and "X-one" in found.headers
    assert ("X-One", "2") in found.raw_headers
    assert found.json == CHAT and json.loads(found.body) == CHAT
    assert (found.number, found.connection.number) == (1, 1)
    assert time.monotonic() - found.received_at < 5
    assert found.sent > 100


def test_a_chunked_body_is_put_together(upstream):
    with connected(upstream) as sock:
        head = b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
        for piece in (head, b"3\r\nabc\r\n", b"1;x=y\r\nd\r", b"\n0\r\nt: 1\r\n\r\n"):
            sock.sendall(piece)
        found = upstream.wait_for(1)[0]

    assert found.body == b"abcd"


def test_expect_is_answered_before_the_body(upstream):
    with connected(upstream) as sock:
        head, _, body = asking(headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_until(sock, b"}]").startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_are_answered_in_order(upstream):
    with connected(upstream) as sock:
        upstream.enqueue(mock.hang(0.1, then=mock.json("first")), mock.json("second"))
        sock.sendall(asking() * 2)
        found = read_until(sock, b'"second"')

    assert found.index(b'"first"') < found.index(b'"second"')
    assert [request.connection.number for request in upstream.requests] == [1, 1]


def test_connection_close_is_obeyed(upstream):
    data, end = exchange(upstream, CHAT)

    assert b"connection: close" in data
    assert end == "FIN"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"a" * 1_100_000,
    ],
)
def test_what_is_no_http_gets_a_400_and_a_fin(upstream, data):
    with connected(upstream) as sock:
        sock.sendall(data)
        found, end = read_all(sock)

    assert found.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b'"bad_request"' in found
    assert end == "FIN"
    assert upstream.requests == []


def test_wait_for_tells_how_many_came(upstream):
    exchange(upstream, CHAT)

    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        upstream.wait_for(2, timeout=0.05)


def test_only_the_last_are_kept_where_that_is_asked(upstreams):
    kept = upstreams(keep=2)

    for _ in range(4):
        exchange(kept, CHAT)

    assert [request.number for request in kept.requests] == [3, 4]
    assert len(kept.peers) == 2 and kept.connections == 4


def test_headers_without_a_name_are_missing():
    assert Headers([("A", "1")]).get("b", "none") == "none"
