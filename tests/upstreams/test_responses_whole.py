"""Whole answers of the Responses API, to calls that stream and to those that do not."""

import re

import orjson
import pytest

from gateway import errors
from gateway.mock import bodies
from gateway.tokens import Usage
from gateway.upstreams.dialects import responses
from tests.upstreams.calling import events, pure
from tests.upstreams.responding import (
    KEYS,
    check,
    folded,
    plain,
    relaying,
    tool,
    without,
)

ERROR = {"code": "server_error", "message": "It broke.", "param": None}


def theirs(*output, **fields):
    found = bodies.response("Hello you", model="upstream-model", id="resp_theirs")
    return {**found, "output": [*found["output"], *output], **fields}


REASONING = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}
CALLED = {**tool(id="fc_1", call_id="call_1", arguments='{"a": 1}'), "status": "completed"}


REFUSED = {
    "id": "msg_2",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "refusal", "refusal": "No."}, bodies.output_text("But yes.")],
}


@pytest.mark.parametrize(
    "body",
    [
        theirs(),
        theirs(REASONING, CALLED, REFUSED),
        {"id": "resp_theirs", "output": [without(theirs()["output"][0], "id")]},
        theirs(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    ],
)
@pytest.mark.parametrize("stateful", [True, False])
def test_whole_answer_to_a_streamed_call_becomes_the_stream_that_it_amounts_to(
    upstream, body, stateful
):
    made = relaying(stateful=stateful)
    data = made.whole(orjson.dumps(body))
    found = events([data])
    check(found)
    final = found[-2][1]["response"]
    assert (final["id"] == "resp_theirs") == stateful and made.events and made.done
    assert [without(item, "id") for item in final["output"]] == [
        without(item, "id") for item in body["output"]
    ]
    done = [event["item"] for kind, event in found if kind == "response.output_item.done"]
    assert done == final["output"]
    if final["status"] == "completed":
        # The helper adds what it has parsed.
        assert [plain(item.to_dict()) for item in folded(upstream, data).output] == final["output"]


def test_whole_answer_that_is_an_error_is_told():
    with pytest.raises(errors.UpstreamError, match="It broke."):
        relaying().whole(orjson.dumps({"error": ERROR}))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"output":{}}', b"<html>"])
def test_whole_answer_that_cannot_be_read_is_a_bad_answer(body):
    with pytest.raises(errors.UpstreamBadResponse):
        relaying().whole(body)
    with pytest.raises(errors.UpstreamBadResponse):
        responses.whole(pure("responses", stream=False), body)


@pytest.mark.parametrize("stateful", [True, False])
def test_whole_answer_has_every_key_under_our_id_and_model(stateful):
    call = pure("responses", stream=False)
    call.stateful = stateful
    body, usage = responses.whole(call, orjson.dumps(theirs(CALLED)))
    found = orjson.loads(body)
    assert set(found) >= KEYS and found["model"] == "asked-model"
    assert (found["id"], found["store"]) == ("resp_theirs", True) or not stateful
    assert re.fullmatch("resp_[0-9a-f]{32}", found["id"]) or stateful
    assert found["output"] == theirs(CALLED)["output"] and usage == Usage(1, 0, 2, 0)


def test_whole_answer_with_nothing_but_output_is_completed():
    body, usage = responses.whole(pure("responses", stream=False), b'{"output":[]}')
    found = orjson.loads(body)
    assert set(found) >= KEYS and found["status"] == "completed" and found["usage"] is None
    assert usage is None
