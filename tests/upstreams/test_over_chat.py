"""The Responses API over chat completions: every event as published, and nothing lost."""

import json

import orjson
import pytest

from gateway import errors, sse
from gateway.mock import answers, bodies
from gateway.upstreams.dialects import over_chat
from tests.translate.chats import CHATS
from tests.translate.folding import fold, nameless
from tests.translate.published import faults
from tests.upstreams.calling import events, pure
from tests.upstreams.responding import KEYS, folded, kinds, without
from tests.upstreams.speaking import HELLO, check_all, inner, relayed, relaying, written

ECHO = {
    "instructions": "Be brief",
    "max_output_tokens": 100,
    "metadata": {"a": "b"},
    "parallel_tool_calls": False,
    "previous_response_id": None,
    "prompt_cache_key": "k",
    "reasoning": {"effort": "low", "summary": "auto"},
    "service_tier": "auto",
    "temperature": 0.5,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "tool_choice": {"type": "function", "name": "f"},
    "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
    "top_logprobs": 2,
    "truncation": "disabled",
    "user": "u",
}


@pytest.mark.parametrize("fields", [{}, ECHO], ids=["bare", "echo"])
@pytest.mark.parametrize("name", CHATS)
def test_every_event_is_as_openai_has_published_it(name, fields):
    made, found = relayed(written(*CHATS[name][0]) + sse.DONE, **fields)
    check_all(found)
    items, done = fold(inner(found))
    final = found[-2][1]["response"]
    assert done == final["output"] and len(items) == len(done)
    assert found[-2][0] == f"response.{final['status']}" and made.done
    assert (final["completed_at"] is None) == (final["status"] != "completed")


@pytest.mark.parametrize("name", CHATS)
def test_whole_answer_and_stream_come_to_the_same_response(name):
    chunks, completion = CHATS[name]
    made, found = relayed(written(*chunks) + sse.DONE)
    call = pure("responses", stream=False)
    body, usage = over_chat.whole(call, orjson.dumps(completion))
    one, other = json.loads(body), found[-2][1]["response"]
    assert set(one) == set(other) >= KEYS and made.usage == usage
    own = ("id", "created_at", "completed_at", "output")
    assert without(one, *own) == without(other, *own)
    assert nameless(one["output"]) == nameless(other["output"])
    as_event = {"type": found[-2][0], "sequence_number": 0, "response": one}
    assert faults(as_event) == []


@pytest.mark.parametrize("name", CHATS)
def test_whole_answer_to_a_streamed_call_becomes_the_stream_that_it_amounts_to(name):
    chunks, completion = CHATS[name]
    made = relaying()
    found = events([made.whole(orjson.dumps(completion))])
    check_all(found)
    _, streamed = relayed(written(*chunks) + sse.DONE)
    ends = [told[-2][1]["response"] for told in (found, streamed)]
    assert nameless(ends[0]["output"]) == nameless(ends[1]["output"])
    assert ends[0]["usage"] == ends[1]["usage"] and made.done and made.events


@pytest.mark.parametrize("name", ["reasoning, text and a call", "log probabilities", "llama-text"])
def test_it_does_not_matter_where_the_stream_is_cut(name):
    data = written(*CHATS[name][0]) + sse.DONE
    made = relaying()
    found = events([b"".join([made.take(data[at : at + 1]) for at in range(len(data))])])
    check_all(found)
    _, other = relayed(data)
    assert kinds(found) == kinds(other)


@pytest.mark.parametrize("name", ["text", "reasoning, text and a call", "two calls, mixed"])
def test_openais_own_helper_puts_it_together(upstream, name):
    made = relaying()
    data = made.take(written(*CHATS[name][0]) + sse.DONE)
    final = folded(upstream, data)
    told = events([data])[-2][1]["response"]
    assert [item.id for item in final.output] == [item["id"] for item in told["output"]]
    assert final.output_text == "".join(
        part["text"]
        for item in told["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


def test_upstream_is_asked_for_a_chat_and_its_usage():
    sent = over_chat.body(pure("responses", instructions="Go", store=True), "theirs")
    assert sent == {
        "model": "theirs",
        "messages": [{"role": "system", "content": "Go"}, {"role": "user", "content": "Say hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "stream_options" not in over_chat.body(pure("responses", stream=False), "t")
    assert over_chat.PATH == "/chat/completions"


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_history_that_nobody_holds_is_not_found(name):
    with pytest.raises(errors.ResponseNotFound) as found:
        over_chat.body(pure("responses", **{name: "x_1"}), "theirs")
    assert found.value.param == name


def test_first_chunk_opens_the_response_and_each_piece_goes_out_at_once():
    made = relaying()
    first = events([made.take(written(HELLO[0]))])
    assert kinds(first) == ["response.created", "response.in_progress"]
    assert kinds(events([made.take(written(HELLO[1]))])) == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    assert kinds(events([made.take(written(HELLO[2]))])) == ["response.output_text.delta"]


def test_obfuscation_is_there_only_if_asked_for():
    data = written(*CHATS["reasoning, text and a call"][0]) + sse.DONE
    _, found = relayed(data)
    assert "obfuscation" not in str(found)
    _, found = relayed(data, stream_options={"include_obfuscation": True})
    check_all(found)
    deltas = [event for kind, event in found if kind.endswith(".delta")]
    padded = [event for _, event in found[:-1] if "obfuscation" in event]
    assert padded == deltas and deltas
    assert {len(event["delta"] + event["obfuscation"]) % 16 for event in deltas} == {0}


def test_response_is_kept_before_its_end_is_told():
    call = pure("responses")
    call.store, call.keep = True, lambda ended: kept.append(ended) or ended.update(store="kept")
    kept = []
    found = events([over_chat.Relay(call).take(written(*HELLO) + sse.DONE)])
    assert found[0][1]["response"]["store"] is True
    assert [ended["status"] for ended in kept] == ["completed"]
    assert found[-2][1]["response"]["store"] == "kept"
    body, _ = over_chat.whole(call, orjson.dumps(CHATS["length"][1]))
    assert json.loads(body)["store"] == "kept" and kept[1]["status"] == "incomplete"


def test_snapshot_is_what_has_come_so_far():
    made = relaying()
    assert made.snapshot() is None
    found = events([made.take(written(*HELLO[:3]))])
    taken = made.snapshot()
    assert taken["id"] == found[0][1]["response"]["id"]
    assert taken["output"][0]["content"][0]["text"] == "Hello "


WAYS = pytest.mark.parametrize("way", ["whole", "stream"])


def asked(calls, upstream, way, **fields):
    """Make a call at an upstream; return it and what the client gets of the response."""
    call = calls.call("responses", stream=way == "stream", **fields)
    if way == "whole":
        return call, json.loads(upstream.whole(call, "theirs").body)
    return call, events(upstream.stream(call, "theirs"))[-2][1]["response"]


@WAYS
def test_upstream_that_speaks_only_chat_is_asked_for_a_chat(calls, upstream, way):
    made = calls.upstream(upstream.url, endpoints=("chat",), stateful=True)
    call, found = asked(calls, made, way)
    assert found["output"][0]["content"][0]["text"] == "Say hi"
    assert upstream.requests[-1].path == "/v1/chat/completions"
    assert found["model"] == "asked-model" and call.stateful is False


@WAYS
def test_upstream_that_speaks_both_is_asked_for_a_response(calls, upstream, way):
    made = calls.upstream(upstream.url, endpoints=("chat", "responses"), stateful=True)
    call, found = asked(calls, made, way)
    assert found["output"][0]["content"][0]["text"] == "Say hi"
    assert upstream.requests[-1].path == "/v1/responses" and call.stateful is True


@WAYS
def test_what_a_chat_cannot_express_is_not_sent(calls, upstream, way):
    made = calls.upstream(upstream.url, endpoints=("chat",))
    with pytest.raises(errors.UnsupportedParameter) as found:
        asked(calls, made, way, tools=[{"type": "web_search"}])
    assert found.value.param == "tools[0].type" and upstream.received == 0


def test_whole_answer_of_a_server_that_cannot_stream_is_a_stream(calls, upstream):
    upstream.enqueue(answers.json(bodies.completion("Hello you")))
    made = calls.upstream(upstream.url, endpoints=("chat",))
    found = events(made.stream(calls.call("responses", stream=True), "theirs"))
    check_all(found)
    assert found[-2][1]["response"]["output"][0]["content"][0]["text"] == "Hello you"
