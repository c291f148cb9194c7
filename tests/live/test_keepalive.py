"""Streams of silent upstreams: comments keep the line open, and failover goes on behind them."""

import time

import pytest

from gateway import mock
from tests.live.faults import assert_broken, assert_complete, assert_envelope
from tests.raw_client import read_until
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

TIMEOUTS = "keepalive = 0.3\nfirst_token = 1.5\nidle = 1.5\ntotal = 5"
MORE = """
[[upstream]]
name = "b"
base_url = "$OTHER"
endpoints = ["chat", "responses"]
max_in_flight = 1

[[model]]
id = "two-*"
upstreams = [{ name = "mock", model = "echo-*" }, { name = "b", model = "echo-*", priority = 1 }]
"""
COMMENT = b": keepalive\n\n"
ROUTED = {"x-gateway-upstream", "x-gateway-model", "x-gateway-attempts"}
LATE_FAILURE = mock.hang(0.8, mock.fault("mock-503"))
endpoints = pytest.mark.parametrize("endpoint", ["chat", "responses"])


@pytest.fixture(scope="module")
def other():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def site(open_site, other):
    more = MORE.replace("$OTHER", other.url)
    return open_site(timeouts=TIMEOUTS, upstream="max_in_flight = 1", more=more)


def assert_kept_alive(answer, least=2):
    """Assert a stream that began with comments, before anybody knew who would answer."""
    assert answer.status == 200
    assert answer.body.startswith(COMMENT * least), answer.body
    assert not ROUTED & set(answer.headers)


@endpoints
def test_call_still_moves_on_after_comments(site, endpoint):
    site.upstream.enqueue(LATE_FAILURE)
    with site.settles("ok", status=200, upstream="b", attempts="mock:503,b:200"):
        answer = site.ask(f"two-{endpoint}-moves", endpoint=endpoint, stream=True)
    assert_kept_alive(answer)
    assert answer.events[-1] == "[DONE]"
    if endpoint == "chat":
        assert_complete(answer, stream=True)
    else:
        assert [e["type"] for e in answer.events[:-1]][-1] == "response.completed"


@endpoints
def test_failure_after_comments_is_an_event(site, other, endpoint):
    site.upstream.enqueue(LATE_FAILURE)
    other.always(mock.error(400, "The mock refuses.", param="messages", code="mock"))
    try:
        with site.settles(status=200, code="mock", attempts="mock:503,b:400"):
            answer = site.ask(f"two-{endpoint}-fails", endpoint=endpoint, stream=True)
    finally:
        other.always(None)
    assert_kept_alive(answer)
    if endpoint == "chat":
        assert_envelope(answer.events[0], "mock", "messages")
        assert len(answer.events) == 1
    else:
        assert_broken(answer, endpoint, "mock")
        types = [event["type"] for event in answer.events[:-1]]
        assert types == ["response.created", "response.failed"]


@endpoints
def test_nothing_else_is_tried_after_the_first_token_timeout(site, other, endpoint):
    seen = other.received
    site.upstream.enqueue(mock.hang())
    with site.settles(status=200, code="upstream_timeout", upstream="mock"):
        answer = site.ask(f"two-{endpoint}-late", endpoint=endpoint, stream=True)
    assert_kept_alive(answer, 3)
    assert_broken(answer, endpoint, "upstream_timeout", "first_token", events=0)
    assert other.received == seen
    assert 1.4 < answer.took < 2.5


def test_comments_come_while_a_repeat_is_waited_for(site):
    site.upstream.enqueue(mock.fault("mock-429-1"))
    with site.settles("ok", status=200, attempts="mock:429,mock:200"):
        answer = site.ask(stream=True)
    assert_kept_alive(answer)
    assert_complete(answer, stream=True)
    assert 0.9 < answer.took < 2


@endpoints
def test_comments_come_between_the_events_of_a_slow_stream(site, endpoint):
    with site.settles(status=200, code="upstream_timeout", output_tokens=3):
        answer = site.ask("mock-stall-after-3", endpoint=endpoint, stream=True)
    assert_broken(answer, endpoint, "upstream_timeout", "idle", events=3)
    assert COMMENT * 3 in answer.body and not answer.body.startswith(COMMENT)
    assert answer.headers["x-gateway-upstream"] == "mock"


def test_prompt_stream_and_whole_call_have_no_comments(site):
    site.upstream.enqueue(mock.hang(0.7, mock.chat()))
    assert COMMENT not in site.ask().body
    assert COMMENT not in site.ask(stream=True).body


def test_client_that_leaves_among_comments_ends_the_call(site):
    site.upstream.enqueue(mock.hang())
    with site.settles(end="cancelled", status=200, output_tokens=None):
        with site.connected(site.raw(stream=True)) as sock:
            read_until(sock, COMMENT)
            time.sleep(0.1)
