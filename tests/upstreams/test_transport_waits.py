"""Waiting for an upstream: paused and taken up again, or ended with the connection closed."""

import functools
import gzip
import itertools
import time
from functools import partial

import gevent
import pytest

from gateway.mock import FIN, HANG, answers, raw, whole
from gateway.mock.answers import framed
from gateway.watch import Gone, Late, Watch
from tests.upstream import (
    black_hole,
)
from tests.upstreams.asking import (
    CHUNKED,
    FRAMINGS,
    GZIP,
    LENGTH,
    SMALL,
    WAYS,
    ask,
    opened,
    pausing,
)
from tests.upstreams.calling import closed_after


def slowly(pieces, delay=0.12):
    return raw([step for piece in pieces for step in (delay, piece)], end=None)


def test_head_may_be_waited_for_with_pauses(adapter, upstream, guard):
    upstream.enqueue(slowly([SMALL[:9], SMALL[9:40], SMALL[40:]]))
    wire = opened(adapter, upstream.url)
    _, pauses = pausing(guard, wire.head)
    assert pauses >= 1
    assert (wire.status, wire.read(100)) == (200, b"{}")
    wire.release()


@pytest.mark.parametrize("framing", ["until it closes", "half a chunk", "gzip"])
def test_body_may_be_waited_for_with_pauses(adapter, upstream, guard, framing):
    start, first, then, tail = FRAMINGS[framing]
    stream = first + then + b"".join(step for step in tail if isinstance(step, bytes))
    parts = [start, stream[: len(stream) // 3], stream[len(stream) // 3 :]]
    ending = [FIN] if FIN in tail else []
    upstream.enqueue(lambda request: [*slowly(parts)(request), *ending])
    wire = opened(adapter, upstream.url)
    wire.head()
    body, pauses = pausing(guard, functools.partial(wire.read, 1000))
    assert body == b"data: 1\n\ndata: 2\n\n" and pauses >= 1
    wire.release()


def test_large_request_may_be_written_with_pauses(adapter, upstream, guard):
    body = bytes(range(256)) * (80 << 10)
    upstream.greet(0.3)
    wire = opened(adapter, upstream.url, body=body)
    _, pauses = pausing(guard, wire.head)
    assert pauses >= 1
    assert upstream.requests[0].body == body
    wire.close()


def test_stale_connection_may_be_replaced_with_pauses(adapter, upstream, guard, monkeypatch):
    ask(adapter, upstream.url)
    upstream.enqueue(raw([FIN]), whole(b"{}"))
    wire = opened(adapter, upstream.url)
    [pool] = adapter.pools.values()
    lookup, slow = pool.lookup, iter([0.3])

    def late(deadline):
        gevent.sleep(next(slow, 0))
        return lookup(deadline)

    monkeypatch.setattr(pool, "lookup", late)
    _, pauses = pausing(guard, wire.head)
    assert pauses >= 1 and (wire.status, wire.read(100)) == (200, b"{}")
    assert upstream.received == 3
    wire.release()


PLACES = {
    "before the head": [HANG],
    "in the head": [LENGTH[:30], HANG],
    "in the body": [LENGTH, b"{", HANG],
    "between chunks": [CHUNKED, framed(b"{"), HANG],
    "with no end of chunks": [CHUNKED, *[framed(b"x" * 60_000)] * 100_000],
}


@WAYS
@pytest.mark.parametrize("place", PLACES)
def test_deadline_closes_the_connection(adapter, upstream, guard, place, way):
    upstream.enqueue(raw(PLACES[place], end=None))
    deadline = time.monotonic() + 0.1
    with pytest.raises(Late):
        guard.call(partial(way, adapter, upstream.url), deadline=deadline)
    assert closed_after(upstream.wait_for(1)[0], deadline) < 0.3


@WAYS
def test_deadline_ends_a_request_that_is_not_read(adapter, upstream, guard, way):
    upstream.greet(HANG)
    deadline = time.monotonic() + 0.1
    with pytest.raises(Late):
        body = functools.partial(way, body=bytes(20 << 20))
        guard.call(partial(body, adapter, upstream.url), deadline=deadline)
    while not upstream.peers:
        time.sleep(0.01)
    assert closed_after(upstream.peers[0], deadline) < 0.3


@WAYS
def test_deadline_ends_connecting(adapter, guard, way):
    adapter.connect = 5
    with black_hole() as url:
        began = time.monotonic()
        with pytest.raises(Late):
            guard.call(partial(way, adapter, url), deadline=began + 0.1)
        assert time.monotonic() - began < 0.4


@WAYS
@pytest.mark.parametrize("place", ["before the head", "in the body"])
def test_client_that_leaves_closes_the_connection(adapter, upstream, place, way):
    upstream.enqueue(raw(PLACES[place], end=None))
    served, client = gevent.socket.socketpair()
    guard = Watch(served)
    gevent.spawn_later(0.1, client.close)
    left = time.monotonic() + 0.1
    with pytest.raises(Gone):
        guard.call(partial(way, adapter, upstream.url))
    assert closed_after(upstream.wait_for(1)[0], left) < 0.2
    guard.close()
    served.close()


def test_other_calls_get_their_turn_beside_an_answer_that_inflates_to_much(adapter, upstream):
    small = gzip.compress(bytes(8_000_000))
    upstream.enqueue(answers.raw([GZIP % b"gzip", small, FIN], end=None))
    wire = opened(adapter, upstream.url)
    wire.head()
    one, other = gevent.socket.socketpair()
    turns = []

    def echo():
        while data := other.recv(1):
            turns.append(data)
            other.sendall(data)

    def ask():
        while True:
            one.sendall(b"x")
            one.recv(1)

    jobs = [gevent.spawn(echo), gevent.spawn(ask)]
    sizes = [len(piece) for piece in iter(wire.read1, b"")]
    gevent.killall(jobs)
    wire.close()
    one.close()
    other.close()
    assert sum(sizes) == 8_000_000 and max(sizes) <= 65536
    assert len(turns) > len(sizes) / 4


def test_other_calls_get_their_turn_beside_one_that_never_waits(adapter, upstream):
    piece = framed(b"x" * 60_000)
    upstream.enqueue(answers.raw(itertools.chain([CHUNKED], itertools.repeat(piece)), end=None))
    wire = opened(adapter, upstream.url)
    wire.head()
    turns = []

    def other():
        while True:
            turns.append(time.monotonic())
            gevent.sleep(0.01)

    job = gevent.spawn(other)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        wire.read1()
    job.kill()
    wire.close()
    assert max(b - a for a, b in itertools.pairwise(turns)) < 0.25
