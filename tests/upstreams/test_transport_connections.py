"""Connections to upstreams: kept where they can be trusted, replaced, and opened in time."""

import select
import time

import gevent
import pytest
from requests import exceptions

from gateway.mock import FIN, HANG, RST, hang, raw, whole
from gateway.mock.answers import DONE, Bare, framed
from gateway.upstreams.transport import Adapter, Reset, connections
from tests.upstream import (
    black_hole,
    refused_url,
)
from tests.upstreams.asking import CHUNKED, OK, SMALL, SOON, WAYS, ask, opened
from tests.upstreams.calling import prepared, timed


def keeps(adapter, upstream, way, first):
    """Send `first`'s request, then another one; return the number of connections."""
    upstream.enqueue(first)
    assert way(adapter, upstream.url)[0] == 200
    upstream.enqueue(whole(b"{}"))
    assert way(adapter, upstream.url) == (200, b"{}")
    return upstream.connections


@WAYS
@pytest.mark.parametrize(
    "steps",
    [
        [SMALL],
        [CHUNKED, b"2\r\n{}\r\n0\r\n\r\n"],
        [SMALL + b"\r\n"],
        [b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"],
        [SMALL.replace(b"200 OK", b"200 OK\r\nconnection: x-hop, keep-alive")],
    ],
)
def test_connection_is_used_again(adapter, upstream, way, steps):
    assert keeps(adapter, upstream, way, raw(steps, end=None)) == 1


@WAYS
@pytest.mark.parametrize(
    "steps",
    [
        [SMALL + b"junk"],
        [SMALL + b"HTTP/1.1 5"],
        [SMALL + b"HTTP/1.1 500 Oops\r\ncontent-length: 5\r\n\r\nwrong"],
        [SMALL + SMALL],
        [SMALL, SOON, b"junk"],
        [SMALL, SOON, b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", FIN],
        [CHUNKED, b"2\r\n{}\r\n0\r\n\r\n0\r\n\r\n"],
        [SMALL.replace(b"200 OK", b"200 OK\r\nconnection: close")],
        [SMALL.replace(b"1.1", b"1.0")],
        [OK + b"\r\n{}", FIN],
        [SMALL, FIN],
        [SMALL, RST],
    ],
)
def test_connection_that_cannot_be_trusted_is_not_used_again(adapter, upstream, way, steps):
    upstream.enqueue(raw(steps, end=None))
    assert way(adapter, upstream.url) == (200, b"{}")
    time.sleep(3 * SOON if SOON in steps or RST in steps else 0)
    assert keeps(adapter, upstream, way, whole(b"{}")) == 2


def test_nothing_of_a_second_answer_is_taken_for_the_first(adapter, upstream):
    second = b"HTTP/1.1 500 Oops\r\nx-one: wrong\r\ncontent-length: 5\r\n\r\nwrong"
    upstream.enqueue(raw([OK + b"x-one: right\r\ncontent-length: 2\r\n\r\n{}" + second]))
    reply = adapter.send(prepared(upstream.url))
    assert (reply.status_code, reply.content) == (200, b"{}")
    assert reply.headers["x-one"] == "right"


def test_stream_whose_end_came_with_its_last_event_leaves_a_good_connection(adapter, upstream):
    for _ in range(2):
        upstream.enqueue(raw([CHUNKED, framed(DONE) + b"0\r\n\r\n"], end=None))
        wire = opened(adapter, upstream.url)
        wire.head()
        assert wire.read1() == DONE
        wire.release()
    assert upstream.connections == 1


def test_stream_whose_end_came_soon_behind_its_last_event_does_too(adapter, upstream):
    for _ in range(2):
        upstream.enqueue(raw([CHUNKED, framed(DONE), SOON, b"0\r\n\r\n"], end=None))
        wire = opened(adapter, upstream.url)
        wire.head()
        assert wire.read1() == DONE
        assert select.select([wire.connection.sock], [], [], 5)[0]
        wire.release()
    assert upstream.connections == 1


@pytest.mark.parametrize("rest", [[], [HANG], [Bare(b"5\r\nhal")], [framed(b"more")]])
def test_stream_that_is_not_at_its_end_does_not(adapter, upstream, rest):
    upstream.enqueue(raw([CHUNKED, framed(DONE), *rest, HANG], end=None))
    wire = opened(adapter, upstream.url)
    wire.head()
    assert wire.read1().startswith(DONE)
    _, took = timed(wire.release)
    assert took < 0.1
    upstream.wait_idle()


def test_connection_that_the_upstream_has_closed_meanwhile_is_not_used(adapter, upstream):
    ask(adapter, upstream.url)
    upstream.hang_up()
    time.sleep(SOON)
    ask(adapter, upstream.url)
    assert (upstream.connections, upstream.received) == (2, 2)


def test_connection_is_not_used_after_its_idle_time(upstream):
    adapter = Adapter(connect=1, idle=0.1)
    ask(adapter, upstream.url)
    time.sleep(0.15)
    ask(adapter, upstream.url)
    assert upstream.connections == 2
    adapter.close()


def test_connections_that_are_too_old_are_closed_when_another_is_put_back(upstream):
    adapter = Adapter(connect=1, idle=0.1)
    wires = [opened(adapter, upstream.url) for _ in range(3)]
    for wire in wires:
        wire.head()
        wire.read(100_000)
    for wire in wires[1:]:
        wire.release()
    time.sleep(0.15)
    wires[0].release()
    [pool] = adapter.pools.values()
    assert len(pool.free) == 1
    adapter.close()
    upstream.wait_idle()


@WAYS
@pytest.mark.parametrize("end", [FIN, RST])
def test_stale_connection_is_replaced_exactly_once(adapter, upstream, way, end):
    assert way(adapter, upstream.url)[0]
    upstream.enqueue(raw([end]), whole(b"{}"))
    assert way(adapter, upstream.url) == (200, b"{}")
    assert (upstream.connections, upstream.received) == (2, 3)


@WAYS
def test_new_connection_that_is_closed_is_not_replaced(adapter, upstream, way):
    assert way(adapter, upstream.url)[0]
    upstream.enqueue(raw([FIN]), raw([FIN]), whole(b"{}"))
    with pytest.raises(Reset):
        way(adapter, upstream.url)
    assert (upstream.connections, upstream.received) == (2, 3)


@WAYS
def test_old_connection_that_has_begun_to_answer_is_not_replaced(adapter, upstream, way):
    assert way(adapter, upstream.url)[0]
    for ending, error in ([FIN], exceptions.InvalidHeader), ([SOON, RST], Reset):
        upstream.enqueue(raw([b"H", *ending], end=None))
        with pytest.raises(error):
            way(adapter, upstream.url)
        assert way(adapter, upstream.url)[0]
    assert upstream.received == 5


def test_connections_are_kept_apart_by_host_and_port(adapter, upstreams):
    one, other = upstreams(), upstreams()
    for upstream in (one, other, one, other):
        assert ask(adapter, upstream.url)[0]
    assert (one.connections, other.connections) == (1, 1)


def test_calls_at_once_have_a_connection_each(adapter, upstream):
    upstream.always(hang(0.1, whole(b"{}")))
    jobs = [gevent.spawn(ask, adapter, upstream.url) for _ in range(20)]
    assert [job.get() for job in jobs] == [(200, b"{}")] * 20
    jobs = [gevent.spawn(ask, adapter, upstream.url) for _ in range(20)]
    assert [job.get() for job in jobs] == [(200, b"{}")] * 20
    assert upstream.connections == 20


def test_refused_connection_is_told_at_once(adapter):
    with refused_url() as url:
        found, took = timed(ask, adapter, url)
    assert type(found) is exceptions.ConnectionError and took < 0.05


def test_black_hole_takes_no_longer_than_the_connect_timeout(adapter):
    with black_hole() as url:
        adapter.connect = 0.2
        found, took = timed(ask, adapter, url)
    assert type(found) is exceptions.ConnectTimeout and 0.2 <= took < 1


def test_name_that_is_not_resolved_is_a_connection_error(adapter, monkeypatch):
    def fail(*args, **how):
        raise connections.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(connections.socket, "getaddrinfo", fail)
    with pytest.raises(exceptions.ConnectionError, match="not resolved"):
        ask(adapter, "http://upstream.test/v1")


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "xn--\xff.test", ".."])
def test_name_that_cannot_be_looked_up_is_a_connection_error(adapter, host):
    with pytest.raises(exceptions.ConnectionError):
        ask(adapter, f"http://{host}:1/v1")


def test_resolver_that_hangs_takes_no_longer_than_the_connect_timeout(adapter, monkeypatch):
    monkeypatch.setattr(connections.socket, "getaddrinfo", lambda *a, **how: gevent.sleep(5))
    adapter.connect = 0.1
    found, took = timed(ask, adapter, "http://upstream.test/v1")
    assert type(found) is exceptions.ConnectTimeout and took < 1


def test_addresses_outlast_a_resolver_that_fails(adapter, upstream, monkeypatch):
    url = upstream.url.replace("127.0.0.1", "localhost")
    assert ask(adapter, url)[0]

    def fail(*args, **how):
        raise connections.socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(connections.socket, "getaddrinfo", fail)
    [pool] = adapter.pools.values()
    pool.resolved -= 60
    pool.close()
    assert ask(adapter, url)[0]
    assert upstream.connections == 2


def test_next_address_is_tried_when_one_refuses(adapter, upstream, monkeypatch):
    found = connections.socket.getaddrinfo("127.0.0.1", upstream.port, type=1)
    with refused_url() as url:
        refusing = connections.socket.getaddrinfo("127.0.0.1", int(url[17:-3]), type=1)
        monkeypatch.setattr(
            connections.socket, "getaddrinfo", lambda *args, **how: refusing + found
        )
        assert ask(adapter, "http://upstream.test/v1")[0]


def test_ipv6_address_is_reached_and_named_in_brackets(adapter, upstreams):
    upstream = upstreams("::1")
    assert ask(adapter, upstream.url)[0]
    assert upstream.requests[0].headers["host"] == f"[::1]:{upstream.port}"


def test_closing_the_adapter_closes_what_is_kept(adapter, upstream):
    ask(adapter, upstream.url)
    adapter.close()
    upstream.wait_idle()
