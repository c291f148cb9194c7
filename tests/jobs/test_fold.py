"""Blocks of a stream as the body that the same call has without one."""

import orjson
import pytest

from gateway import errors, sse
from gateway.jobs.fold import FOLDS
from gateway.mock import bodies


def blocks(events, kinds=False):
    return [
        sse.encode(orjson.dumps(event), event["type"].encode() if kinds else b"")
        for event in events
    ]


def folded(endpoint, pieces):
    fold = FOLDS[endpoint]()
    for piece in pieces:
        fold.add(piece)
    return orjson.loads(fold.body())


@pytest.mark.parametrize("at_once", [False, True])
def test_chat_is_its_chunks_together(at_once):
    pieces = [*blocks(bodies.chunks("Hello there.", include_usage=True)), sse.DONE]
    found = folded("chat", [b"".join(pieces)] if at_once else pieces)

    assert found["choices"][0]["message"]["content"] == "Hello there."
    assert found["usage"] == bodies.completion("Hello there.")["usage"]
    assert found["object"] == "chat.completion"


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_response_is_what_its_last_event_says(kind):
    *events, last = bodies.response_events("Hello there.")
    last = {**last, "type": f"response.{kind}"}
    pieces = [*blocks([*events, last], kinds=True), sse.DONE]

    assert folded("responses", pieces) == last["response"]


def test_response_without_an_end_is_none():
    pieces = blocks(bodies.response_events("Hello")[:-1], kinds=True)
    with pytest.raises(errors.UpstreamBadResponse):
        folded("responses", pieces)


def test_what_cannot_be_written_is_the_upstreams_fault():
    fold = FOLDS["chat"]()
    fold.add(b'data: {"choices":[],"odd":' + b"[" * 900 + b"]" * 900 + b"}\n\n")
    with pytest.raises(errors.UpstreamBadResponse):
        fold.body()
