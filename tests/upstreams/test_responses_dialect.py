"""Responses streams are put right: numbers, ids, indexes, every key, one beginning, one end."""

import re

import orjson
import pytest

from gateway import errors, sse
from gateway.tokens import Usage
from gateway.upstreams.dialects import responses
from tests.upstreams.calling import events, pure
from tests.upstreams.responding import (
    BARE,
    GOOD,
    TRANSCRIPT,
    check,
    folded,
    kinds,
    relayed,
    relaying,
    tool,
    without,
    written,
)


def careless(event):
    """Leave out of an event what upstreams are seen to leave out."""
    return without(event, "sequence_number", "output_index", "content_index", "logprobs")


def test_history_is_ours_unless_the_upstream_keeps_it():
    sent = responses.body(pure("responses", store=True, input="x"), "theirs")
    assert sent == {"model": "theirs", "input": "x", "stream": True, "store": False}
    for name in ("previous_response_id", "conversation"):
        call = pure("responses", **{name: "x_1"})
        with pytest.raises(errors.ResponseNotFound) as found:
            responses.body(call, "theirs")
        assert found.value.param == name
        call.stateful = True
        assert responses.body(call, "theirs") == {**call.payload, "model": "theirs"}


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}])
def test_item_that_is_only_referred_to_is_not_found_unless_the_upstream_keeps_it(item):
    call = pure("responses", input=[{"role": "user", "content": "x"}, item])
    with pytest.raises(errors.ResponseNotFound) as found:
        responses.body(call, "theirs")
    assert found.value.param == "input[1].id" and "'msg_1'" in found.value.message
    call.stateful = True
    assert responses.body(call, "theirs")["input"][1] == item


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_history_that_is_null_is_not_sent(name):
    assert name not in responses.body(pure("responses", **{name: None}), "theirs")


def test_good_stream_is_passed_on_under_our_id_and_model():
    made, found = relayed(*GOOD)
    check(found)
    assert kinds(found) == [*[event["type"] for event in GOOD], ""]
    for (_, event), given in zip(found[2:-2], GOOD[2:-1], strict=True):
        assert event == given
    final = found[-2][1]["response"]
    assert re.fullmatch("resp_[0-9a-f]{32}", final["id"]) and final["store"] is False
    assert final["output"] == GOOD[-1]["response"]["output"]
    assert made.usage == Usage(1, 0, 3, 0) and made.done


def test_recorded_stream_of_llama_cpp_is_put_right(upstream):
    made = relaying()
    data = made.take(TRANSCRIPT.read_bytes())
    found = events([data])
    check(found)
    assert made.usage == Usage(input=12, output=6)
    for kind, event in found[2:-2]:
        assert event["output_index"] == 0
        if ".output_text." in kind or ".content_part." in kind:
            assert event["content_index"] == 0
    final = folded(upstream, data)
    assert final.output_text == "Hello there. I'm here" and final.completed_at


def test_it_does_not_matter_where_the_stream_is_cut():
    made, data = relaying(), TRANSCRIPT.read_bytes()
    out = b"".join([made.take(data[at : at + 1]) for at in range(len(data))])
    check(events([out]))


CARELESS = [careless(event) for event in GOOD]


CREATED, IN_PROGRESS, *MIDDLE, COMPLETED = CARELESS


MISBEHAVIOURS = {
    "nothing but order": CARELESS,
    "created twice": [CREATED, *CARELESS],
    "created again later": [CREATED, *MIDDLE[:3], CREATED, IN_PROGRESS, *MIDDLE[3:], COMPLETED],
    "all of the beginning twice": [CREATED, IN_PROGRESS, *CARELESS],
    "not in progress": [CREATED, *MIDDLE, COMPLETED],
    "not created": [IN_PROGRESS, *MIDDLE, COMPLETED],
    "no beginning": [*MIDDLE, COMPLETED],
    "queued first": [{**CREATED, "type": "response.queued"}, *CARELESS],
    "bare responses": [{**CREATED, "response": BARE}, *MIDDLE, COMPLETED],
    "no types in the data": CARELESS,
    "wrong numbers": [{**event, "sequence_number": 7} for event in CARELESS],
    "indexes null": [
        {name: None if name.endswith("_index") else event[name] for name in event} for event in GOOD
    ],
    "items unnamed": [without(event, "item_id") for event in CARELESS],
    "end without output": [
        *CARELESS[:-1],
        {**COMPLETED, "response": without(COMPLETED["response"], "output")},
    ],
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_careless_stream_is_put_right(upstream, name):
    made = relaying()
    given = MISBEHAVIOURS[name]
    if name.startswith("no types"):
        given = b"".join(
            sse.encode(orjson.dumps(without(event, "type")), event["type"].encode())
            for event in given
        )
    else:
        given = written(*given)
    data = made.take(given + written(COMPLETED) + sse.DONE)
    found = events([data])
    check(found)
    inner = [(kind, event) for kind, event in found[2:-2]]
    assert inner == [(event["type"], event) for event in GOOD[2:-1]]
    assert folded(upstream, data).output_text == "Hello you there"


@pytest.mark.parametrize("ids", ["their ids", "call ids", "no ids"])
def test_every_item_has_one_index_and_one_id(upstream, ids):
    message = {"id": "msg_a", "type": "message", "role": "assistant", "content": []}
    first = tool(id="fc_a", call_id="call_a", arguments="")
    second = tool(id="fc_b", call_id="call_b", arguments="")
    if ids != "their ids":
        first, second = without(first, "id"), without(second, "id")
    if ids == "no ids":
        message = without(message, "id")
    part = {"type": "output_text", "text": ""}
    names = {"their ids": ("msg_a", "fc_a", "fc_b"), "call ids": ("msg_a", "call_a", "call_b")}
    one, two, three = names.get(ids, (None, None, None))
    ended = [
        {**message, "status": "completed", "content": [{**part, "text": "a"}]},
        {**first, "status": "completed", "arguments": "{}"},
        {**second, "status": "completed", "arguments": "[]"},
    ]
    added, done = "response.output_item.added", "response.output_item.done"
    argument = "response.function_call_arguments.delta"
    made = relaying()
    data = made.take(
        written(
            {"type": added, "item": message},
            {"type": "response.content_part.added", "item_id": one, "part": part},
            {"type": "response.output_text.delta", "item_id": one, "delta": "a"},
            {"type": done, "item": ended[0]},
            {"type": added, "item": first},
            {"type": argument, "item_id": two, "delta": "{}"},
            {"type": done, "item": ended[1]},
            {"type": added, "item": second},
            {"type": argument, "item_id": three, "delta": "[]"},
            {"type": done, "item": ended[2]},
            {"type": "response.completed", "response": {**BARE, "output": ended}},
        )
    )
    found = events([data])
    check(found)
    told = {}
    for _, event in found[2:-2]:
        told.setdefault(event["output_index"], set()).add(
            event["item"]["id"] if "item" in event else event["item_id"]
        )
    assert sorted(told) == [0, 1, 2] and all(len(names) == 1 for names in told.values())
    final = found[-2][1]["response"]["output"]
    assert [{item["id"]} for item in final] == [told[0], told[1], told[2]]
    items = folded(upstream, data).output
    assert items[0].content[0].text == "a"
    assert [item.arguments for item in items[1:]] == ["{}", "[]"]


def test_items_that_are_not_told_apart_in_time_keep_their_own_events():
    first, second = tool(id="fc_a"), tool(id="fc_b")
    argument = "response.function_call_arguments.delta"
    _, found = relayed(
        {"type": "response.output_item.added", "item": first},
        {"type": "response.output_item.added", "item": second},
        {"type": argument, "item_id": "fc_a", "delta": "1"},
        {"type": argument, "item_id": "fc_b", "delta": "2"},
        {"type": "response.output_item.done", "item": second},
        {"type": "response.output_item.done", "item": first},
    )
    assert [event["output_index"] for _, event in found[2:]] == [0, 1, 0, 1, 1, 0]


def test_second_part_of_an_item_has_the_next_content_index():
    part = {"type": "response.content_part.added", "item_id": "m", "part": {"type": "refusal"}}
    delta = {"type": "response.refusal.delta", "item_id": "m", "delta": "no"}
    item = {"type": "response.output_item.added", "item": {"type": "message", "id": "m"}}
    _, found = relayed(item, part, delta, part, delta)
    assert [event["content_index"] for _, event in found[3:]] == [0, 0, 1, 1]


def test_reasoning_gets_its_summary_index():
    event = {"type": "response.reasoning_summary_text.delta", "item_id": "rs", "delta": "a"}
    _, found = relayed(event)
    assert found[-1][1]["summary_index"] == 0


def test_events_that_are_not_about_items_are_left_alone():
    for event in ({"type": "response.audio.delta", "delta": "x"}, {"type": "keepalive", "n": 1}):
        _, found = relayed(GOOD[0], GOOD[1], event)
        assert without(found[-1][1], "sequence_number") == event


def test_upstream_that_keeps_responses_keeps_its_ids():
    _, found = relayed(*GOOD, stateful=True, previous_response_id="resp_before")
    check(found)
    assert found[0][1]["response"]["id"] == "resp_theirs"
    assert found[-2][1]["response"]["store"] is True


def test_id_of_a_response_stays_whatever_later_events_say():
    completed = {**GOOD[-1], "response": {**GOOD[-1]["response"], "id": "other", "created_at": 9}}
    for stateful in (True, False):
        check(relayed(*GOOD[:-1], completed, stateful=stateful)[1])


def test_response_echoes_its_request():
    fields = {"instructions": "Be brief", "metadata": {"a": "b"}, "service_tier": "auto"}
    fields.update(text={"verbosity": "low"}, reasoning={"effort": "low"}, temperature=0)
    _, found = relayed(
        {"type": "response.created", "response": BARE},
        {"type": "response.completed", "response": {**BARE, "status": "completed"}},
        **fields,
    )
    check(found)
    final = found[-2][1]["response"]
    assert (final["instructions"], final["metadata"]) == ("Be brief", {"a": "b"})
    assert (final["service_tier"], final["temperature"]) == ("default", 0)
    assert final["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert final["reasoning"] == {"effort": "low", "summary": None}


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_status_of_the_end_is_the_name_of_its_event(status):
    end = {**GOOD[-1], "type": f"response.{status}"}
    _, found = relayed(*GOOD[:-1], end)
    check(found)
    assert found[-2][1]["response"]["status"] == status


@pytest.mark.parametrize("rest", [b"", sse.DONE, written(*GOOD), b"data: {\n\n"])
def test_nothing_is_sent_behind_the_end(rest):
    made = relaying()
    out = made.take(written(*GOOD) + rest)
    check(events([out]))
    assert made.done and made.error is None
