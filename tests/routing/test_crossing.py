"""Calls for responses go to upstreams that speak them and to those that speak only chat alike."""

import json

import pytest

from gateway import errors, mock
from tests.routing.fakes import ANSWER, STREAM, Clock, Upstream, asked, call, router, streamed
from tests.upstream import more_upstreams  # noqa: F401
from tests.upstreams.calling import Calls, events

SEARCH = {"tools": [{"type": "web_search"}]}


@pytest.fixture
def calls():
    made = Calls()
    yield made
    made.close()


def names(desk, **fields):
    made = call(Clock(), "responses", input="x", **fields)
    return [target.upstream.name for target in desk.candidates(made)]


def chatting(name, **how):
    return Upstream(name, endpoints=("chat",), **how)


def test_upstream_that_speaks_chat_takes_responses_too():
    up = chatting("a")
    assert asked(router(up), endpoint="responses", input="x")[1] is ANSWER
    assert streamed(router(up), endpoint="responses", input="x")[1] == STREAM


def test_upstream_that_speaks_responses_takes_no_chat():
    desk = router(Upstream("a", endpoints=("responses",)))
    assert isinstance(asked(desk)[1], errors.EndpointNotSupported)


def test_neither_way_is_preferred():
    assert names(router(chatting("a"), Upstream("b"))) == ["a", "b"]
    assert names(router(Upstream("a"), chatting("b"))) == ["a", "b"]


def test_call_that_a_chat_cannot_express_goes_to_those_that_speak_responses():
    desk = router(chatting("a"), Upstream("b"))
    assert names(desk, **SEARCH) == ["b"]
    assert names(router(chatting("a"), chatting("b")), **SEARCH) == ["a", "b"]


def test_upstream_that_keeps_responses_is_one_that_speaks_them():
    ups = chatting("a", stateful=True), Upstream("b", stateful=True), Upstream("c")
    assert names(router(*ups), previous_response_id="resp_1") == ["b"]


@pytest.mark.parametrize("first", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_failover_crosses_from_one_way_to_the_other(calls, upstreams, first, stream):
    failing, working = upstreams(), upstreams()
    failing.always(mock.error(503, "Busy."))
    second = "responses" if first == "chat" else "chat"
    desk = router(
        calls.upstream(failing.url, name="a", endpoints=(first,)),
        calls.upstream(working.url, name="b", endpoints=(second,)),
    )
    made = calls.call("responses", stream=stream, model="m")
    if stream:
        found = events(desk.stream(made))[-2][1]["response"]
    else:
        found = json.loads(desk.whole(made).body)
    assert found["output"][0]["content"][0]["text"] == "Say hi"
    assert made.attempts == ["a:503", "b:200"]
    paths = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
    assert failing.requests[0].path == paths[first]
    assert working.requests[0].path == paths[second]
