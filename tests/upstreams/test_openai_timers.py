"""Calls to a slow upstream: when waiting ends, and what the client gets meanwhile."""

import functools
import time

import gevent
import pytest
from gevent import socket

from gateway import errors
from gateway.mock import HANG, answers, bodies, chat, fault, hang, raw, stream
from gateway.mock.answers import DONE, dumps
from gateway.upstreams.base import PING
from gateway.watch import Gone
from tests.upstream import black_hole, refused_url
from tests.upstreams.calling import CALLED, asked, closed_after, events, timed_out


def slow(calls, upstream, model, **timers):
    """Return a function that reads a stream of a model that fails by being slow."""
    upstream.always(fault(model) if isinstance(model, str) else model)
    mock = calls.upstream(upstream.url, timers)
    return functools.partial(asked, calls, mock, "stream")


COMMENTS = raw(
    [answers.head(headers={"content-type": "text/event-stream"}), *[0.05, b": ping\n\n"] * 100]
)


@pytest.mark.parametrize(
    "model", ["mock-hang", "mock-stall-in-head", "mock-drip-head", "mock-endless-100", COMMENTS]
)
def test_first_event_has_to_come_in_time(calls, upstream, model):
    timed_out(slow(calls, upstream, model, first_token=0.1), "first_token", 0.1)
    upstream.wait_idle()


def endless(piece, delay=0.05):
    return stream([*bodies.chunks()[:2], *[delay, piece] * 100])


@pytest.mark.parametrize(
    "model", ["mock-stall-after-3", endless(b": ping\n\n"), endless(b"x"), endless(b"\r\n")]
)
def test_every_event_has_to_come_in_time(calls, upstream, model):
    timed_out(slow(calls, upstream, model, idle=0.1), "idle", 0.1)
    upstream.wait_idle()


def test_event_that_comes_in_time_starts_the_clock_anew(calls, upstream):
    chunk = bodies.chunks()[1]
    upstream.enqueue(stream([chunk, 0.12, chunk, 0.12, chunk, 0.12, *bodies.chunks()]))
    mock = calls.upstream(upstream.url, {"idle": 0.3, "first_token": 0.3})
    assert events(asked(calls, mock, "stream"))[-1] == ("", "[DONE]")


@CALLED
def test_whole_call_is_bounded_with_the_tries_before_this_one(calls, upstream, way):
    upstream.always(hang(5))
    mock = calls.upstream(upstream.url, {"total": 3, "stream_total": 3})
    call = calls.call(stream=way == "stream")
    call.started -= 2.8
    timed_out(lambda: list(getattr(mock, way)(call, "upstream-model")), "total", 0.1)
    upstream.wait_idle()


@CALLED
def test_impatient_upstream_has_its_own_time_behind_a_patient_one(calls, upstream, way):
    upstream.always(hang(5))
    call = calls.call(stream=way == "stream")
    call.bound(20)
    call.started -= 2
    mock = calls.upstream(upstream.url, {"total": 0.5, "stream_total": 0.5})
    timed_out(lambda: list(getattr(mock, way)(call, "m")), "total", 0.5)
    assert not call.hurried
    upstream.wait_idle()


@pytest.mark.parametrize("delay", [0, 0.02])
def test_stream_may_not_go_on_for_ever(calls, upstream, delay):
    flood = raw([answers.head(), *[answers.sse(bodies.chunks()[1]), delay] * 500_000])
    timed_out(slow(calls, upstream, flood, stream_total=0.2), "total", 0.2)
    upstream.wait_idle()


def test_whole_answer_has_to_come_in_time(calls, upstream):
    for model in ("mock-hang", "mock-drip-head", "mock-trickle"):
        upstream.always(fault(model))
        mock = calls.upstream(upstream.url, {"total": 0.1})
        timed_out(functools.partial(asked, calls, mock, "whole"), "total", 0.1)
    upstream.wait_idle()


def test_whole_json_that_stalls_is_no_first_event(calls, upstream):
    head = answers.head(headers={"content-type": "application/json", "content-length": 100})
    timed_out(slow(calls, upstream, raw([head, b"{", HANG]), first_token=0.1), "first_token", 0.1)


@CALLED
def test_connecting_has_a_timer_of_its_own(calls, way):
    with black_hole() as url:
        mock = calls.upstream(url, {"connect": 0.2})
        timed_out(functools.partial(asked, calls, mock, way), "connect", 0.2)


@CALLED
def test_upstream_that_refuses_connections_is_unreachable(calls, way):
    with refused_url() as url, pytest.raises(errors.UpstreamUnreachable) as found:
        asked(calls, calls.upstream(url), way)
    assert url[7:-3] not in str(found.value.body())


def pings(blocks):
    """Return where the pings lie: the number of events before each."""
    places, seen = [], 0
    for block in blocks:
        if block is PING:
            places.append(seen)
        seen += len(events([block])) if block else 0
    return places


CHUNKS = bodies.chunks("a b")
JSON = dumps(bodies.completion())
TYPED = {"content-type": "application/json", "content-length": len(JSON)}


@pytest.mark.parametrize(
    "answer, place",
    [
        (hang(0.25, chat()), 0),
        (raw([answers.head(), 0.25, *[answers.sse(chunk) for chunk in CHUNKS], DONE]), 0),
        (stream([CHUNKS[0], 0.25, *CHUNKS[1:]]), 1),
        (stream([CHUNKS[0], *[0.05, b": ping\n\n"] * 5, *CHUNKS[1:]]), 1),
        (stream([CHUNKS[0], *[0.05, b":"] * 5, b"\n\n", *CHUNKS[1:]]), 1),
        (raw([answers.head(headers=TYPED), JSON[:50], 0.25, JSON[50:]], end=None), 0),
    ],
    ids=["head", "first event", "next event", "comments", "trickle", "whole JSON"],
)
def test_ping_is_given_whenever_nothing_has_come_for_a_while(calls, upstream, answer, place):
    upstream.enqueue(answer)
    blocks = asked(calls, calls.upstream(upstream.url, {"keepalive": 0.1}), "stream")
    places = pings(blocks)
    assert places and set(places) == {place}
    assert events(blocks)[-1] == ("", "[DONE]")


def test_ping_is_given_while_a_large_request_is_not_read(calls, upstream):
    upstream.greet(0.25)
    mock = calls.upstream(upstream.url, {"keepalive": 0.1})
    blocks = asked(calls, mock, "stream", user="x" * (20 << 20))
    assert pings(blocks) and set(pings(blocks)) == {0}


def test_ping_is_given_before_a_refusal_that_is_late(calls, upstream):
    upstream.enqueue(hang(0.25, fault("mock-400")))
    blocks = calls.upstream(upstream.url, {"keepalive": 0.1}).stream(calls.call(stream=True), "m")
    assert next(blocks) is PING
    with pytest.raises(errors.UpstreamRefused):
        list(blocks)


def test_no_ping_is_given_while_events_come(calls, upstream):
    upstream.enqueue(chat("a b c d e f g h", delay=0.06))
    blocks = asked(calls, calls.upstream(upstream.url, {"keepalive": 0.4}), "stream")
    assert pings(blocks) == []


def test_time_that_a_slow_client_takes_is_not_the_upstreams(calls, upstream):
    half = answers.sse(CHUNKS[1])
    upstream.enqueue(stream([CHUNKS[0], half[:20], 0.5, half[20:], *CHUNKS[2:]]))
    mock = calls.upstream(upstream.url, {"idle": 0.4})
    found = b""
    for block in mock.stream(calls.call(stream=True), "m"):
        if not found:
            gevent.sleep(0.45)
        found += block
    assert found.endswith(DONE)


@CALLED
def test_late_call_closes_its_connection(calls, upstream, way):
    upstream.always(fault("mock-hang"))
    mock = calls.upstream(upstream.url, {"first_token": 0.1, "total": 0.1})
    with pytest.raises(errors.UpstreamTimeout):
        asked(calls, mock, way)
    assert closed_after(upstream.wait_for(1)[0], time.monotonic()) < 0.3


@CALLED
@pytest.mark.parametrize("model", ["mock-hang", "mock-stall-after-0"])
def test_client_that_leaves_closes_the_connection(calls, upstream, way, model):
    upstream.always(fault(model))
    served, client = socket.socketpair()
    gevent.spawn_later(0.1, client.close)
    left = time.monotonic() + 0.1
    with pytest.raises(Gone):
        asked(calls, calls.upstream(upstream.url), way, client=served)
    assert closed_after(upstream.wait_for(1)[0], left) < 0.3
    served.close()


def test_stream_that_is_not_read_on_closes_its_connection(calls, upstream):
    upstream.always(fault("mock-stall-after-3"))
    blocks = calls.upstream(upstream.url).stream(calls.call(stream=True), "m")
    assert next(blocks)
    closed = time.monotonic()
    blocks.close()
    assert closed_after(upstream.wait_for(1)[0], closed) < 0.3
