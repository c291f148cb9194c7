import re

import pytest

from tests.endpoints.refused import refused
from tests.raw_client import events

RESPONSES = "/v1/responses"
GOOD = {"model": "gpt-test", "input": "Say this is a test"}
# What the official SDKs and OpenAI's description expect of every Response, null or not.
KEYS = {
    "id", "object", "created_at", "status", "error", "incomplete_details", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "output", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier",
    "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation",
    "usage", "user", "background",
}  # fmt: skip


def ask(client, **more):
    return client.post(RESPONSES, json={**GOOD, **more})


def text_of(response):
    return response["output"][0]["content"][0]["text"]


def test_whole_response_has_every_key_and_an_id_of_ours(client, upstream):
    found = ask(client).json

    assert set(found) >= KEYS
    assert re.fullmatch("resp_[0-9a-f]{32}", found["id"])
    assert (found["object"], found["status"], found["model"]) == (
        "response", "completed", "gpt-test",
    )  # fmt: skip
    assert text_of(found) == "Say this is a test"
    assert upstream.requests[-1].json == {**GOOD, "model": "upstream-model", "store": False}


@pytest.mark.parametrize("model", ["gpt-test", "mock-careless", "mock-odd-sse", "mock-json"])
def test_stream_is_numbered_from_0_and_ends_in_one_done(client, model):
    answer = ask(client, model=model, stream=True)
    *found, done = events(answer.data)

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (done, answer.data.count(b"[DONE]")) == ("[DONE]", 1)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    kinds = [event["type"] for event in found]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.created") == 1 and kinds[-1] == "response.completed"
    assert re.findall(rb"^event: (.*)$", answer.data, re.M) == [k.encode() for k in kinds]
    deltas = [e["delta"] for e in found if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "Say this is a test" == text_of(found[-1]["response"])


def test_response_has_one_id_and_model_through_its_stream(client):
    found = events(ask(client, stream=True).data)[:-1]
    told = [event["response"] for event in found if "response" in event]

    assert len({response["id"] for response in told}) == 1
    assert {response["model"] for response in told} == {"gpt-test"}
    assert all(set(response) >= KEYS for response in told)
    assert len({event["item_id"] for event in found if "item_id" in event}) == 1


@pytest.mark.parametrize("model", ["mock-cut-after-5", "mock-end-after-5", "mock-error-after-5"])
def test_broken_stream_ends_in_its_failed_event_and_done(client, model):
    *_, failed, done = events(ask(client, model=model, stream=True).data)

    assert (failed["type"], done) == ("response.failed", "[DONE]")
    assert failed["response"]["status"] == "failed"
    assert set(failed["response"]["error"]) == {"code", "message"}


@pytest.mark.parametrize("stream", [False, True])
def test_fault_before_the_first_event_is_an_ordinary_error(client, stream):
    refused(ask(client, model="mock-400", stream=stream), 400, "mock")
    refused(ask(client, model="mock-html", stream=stream), 502, "upstream_bad_response")


def test_response_that_is_not_held_is_not_found(client):
    for name in ("previous_response_id", "conversation"):
        refused(ask(client, **{name: "resp_x"}), 404, "response_not_found", name)


def test_model_without_responses_says_so(client):
    error = refused(ask(client, model="embed-only"), 400, "endpoint_not_supported", "model")
    assert error["message"] == "The model `embed-only` does not support /v1/responses."


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"input": 5}, "invalid_type", "input"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"temperature": 3}, "decimal_above_max_value", "temperature"),
        ({"max_output_tokens": "5"}, "invalid_type", "max_output_tokens"),
        ({"stream": "yes"}, "invalid_type", "stream"),
        ({"extra_headers": {}}, "unknown_parameter", "extra_headers"),
    ],
)
def test_bad_field_is_named(client, more, code, param):
    refused(ask(client, **more), 400, code, param)


def test_parameters_reach_the_upstream(client, upstream):
    more = {"instructions": "Be brief.", "tools": [{"type": "web_search"}], "store": True,
            "client_metadata": {"a": "b"}, "reasoning": {"effort": "low"}}  # fmt: skip
    ask(client, **more)

    assert upstream.requests[-1].json == {
        **GOOD, **more, "model": "upstream-model", "store": False,
    }  # fmt: skip


def test_call_that_could_not_be_put_to_an_upstream_counts_as_none_of_its_own(
    client, upstream, lines
):
    received = upstream.received
    with ask(client, model="whole-only", tools=[{"type": "web_search"}]) as answer:
        refused(answer, 400, "unsupported_parameter", "tools[0].type")
    assert (lines[-1]["attempts"], upstream.received) == (None, received)
