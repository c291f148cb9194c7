"""Dialing on raw sockets: near hosts at once, far ones within their time, and nothing left open."""

import errno
import os
from functools import partial

import gevent
import pytest
from requests import exceptions

from gateway.upstreams.transport import connections
from gateway.watch import Late
from tests.upstream import black_hole, refused_url
from tests.upstreams.asking import WAYS, ask, opened


class Far(connections.Raw):
    """A socket whose host has not answered by the second call; `turns` counts the calls."""

    turns = 0

    def connect_ex(self, address):
        self.turns += 1
        return errno.EINPROGRESS if self.turns in (2, 3) else super().connect_ex(address)


@pytest.fixture
def far(monkeypatch):
    monkeypatch.setattr(connections, "Raw", Far)


@pytest.fixture
def resolved(monkeypatch):
    """Let any name stand for these ports on this machine, in turn; give the list of look-ups."""
    looks = []

    def resolve(*ports):
        found = [connections.at_once("127.0.0.1", port, type=1)[0] for port in ports]
        look = lambda *name, **how: looks.append(name) or found  # noqa: E731
        monkeypatch.setattr(connections.socket, "getaddrinfo", look)
        return looks

    return resolve


def port_of(url):
    return int(url.removesuffix("/v1").rpartition(":")[2])


def test_near_host_is_reached_without_a_turn_of_the_loop_or_a_timer(adapter, upstream, monkeypatch):
    ask(adapter, upstream.url)
    adapter.close()
    monkeypatch.setattr(connections, "within", None)
    turns = []
    other = gevent.spawn(turns.append, "another's")
    wire = opened(adapter, upstream.url)
    assert turns == []
    wire.close()
    other.join()


def test_socket_of_a_connection_never_blocks(adapter, upstream):
    wire = opened(adapter, upstream.url)
    assert not os.get_blocking(wire.connection.sock.fileno())
    wire.close()


@WAYS
def test_far_host_is_waited_for(adapter, upstream, far, way):
    turns = []
    gevent.spawn(turns.append, "another's")
    assert way(adapter, upstream.url)[0]
    assert turns and upstream.connections == 1


def test_far_host_that_refuses_is_told(adapter, far):
    with refused_url() as url, pytest.raises(exceptions.ConnectionError, match="refused"):
        ask(adapter, url)


def test_far_host_that_refuses_makes_way_for_the_next_address(adapter, upstream, far, resolved):
    with refused_url() as url:
        resolved(port_of(url), upstream.port)
        assert ask(adapter, "http://upstream.test/v1")[0]


def test_addresses_are_looked_up_again_when_none_of_them_has_answered(adapter, upstream, resolved):
    with refused_url() as url:
        looks = resolved(port_of(url))
        for count in (1, 2):
            with pytest.raises(exceptions.ConnectionError):
                ask(adapter, "http://upstream.test/v1")
            assert len(looks) == count
    resolved(upstream.port)
    for _ in range(2):
        assert ask(adapter, "http://upstream.test/v1")[0]
        adapter.close()
    assert len(looks) == 3


def files():
    return len(os.listdir("/proc/self/fd"))


@WAYS
def test_wait_for_a_connection_that_is_ended_leaves_no_socket(adapter, guard, way):
    with black_hole() as url:
        before = files()
        job = gevent.spawn(way, adapter, url)
        gevent.sleep(0.02)
        assert files() == before + 1
        job.kill()
        assert files() == before
        with pytest.raises(Late) as kept:  # what is raised holds all that it has come through
            guard.call(partial(way, adapter, url), deadline=0)
        assert files() == before and kept
        adapter.pools.clear()
        adapter.connect = 0.02
        with pytest.raises(exceptions.ConnectTimeout) as kept:
            way(adapter, url)
        assert files() == before and kept


def test_refused_connection_leaves_no_socket(adapter):
    with refused_url() as url:
        before = files()
        with pytest.raises(exceptions.ConnectionError) as kept:
            ask(adapter, url)
        assert files() == before and kept
