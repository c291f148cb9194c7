"""openai-python uses the Responses API of models whose upstreams speak only chat completions."""

import json

import openai
import pytest
from pydantic import BaseModel

from tests.live.translated import (
    CALLS,
    PARIS,
    TOOLS,
    WAYS,
    agent,
    chat_gateway,  # noqa: F401
    chat_upstream,  # noqa: F401
    client_of,
    valid,
)

pytestmark = pytest.mark.live


class Place(BaseModel):
    city: str


@pytest.fixture
def client(gateway, upstream):
    upstream.always(agent, path="/chat/completions")
    with client_of(gateway) as found:
        yield found
    upstream.always(None, path="/chat/completions")


@WAYS
def test_chat_model_answers(client, upstream, ask):
    answer = ask(client, model="chatty", input="Say hello", instructions="Be brief")

    assert answer.output_text == "Say hello"
    assert (answer.model, answer.status, answer.error) == ("chatty", "completed", None)
    assert answer.usage.input_tokens_details.cached_tokens == 12
    sent = upstream.requests[-1]
    assert sent.path == "/v1/chat/completions"
    assert [m["role"] for m in sent.json["messages"]] == ["system", "user"]


def test_stream_has_the_events_of_the_contract(client):
    with client.responses.create(model="chatty", input="Say hello", stream=True) as stream:
        events = list(stream)

    assert valid(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]


def test_parse_gives_the_pydantic_model(client, upstream):
    answer = client.responses.parse(model="chatty", input="Where?", text_format=Place)

    assert answer.output_parsed == Place(city="Paris")
    asked = upstream.requests[-1].json["response_format"]
    assert (asked["type"], asked["json_schema"]["name"]) == ("json_schema", "Place")
    assert asked["json_schema"]["schema"]["properties"]["city"]["type"] == "string"


def test_stream_helper_parses_too(client):
    with client.responses.stream(model="chatty", input="Where?", text_format=Place) as stream:
        assert stream.get_final_response().output_parsed == Place(city="Paris")


@WAYS
def test_agent_that_refers_to_its_last_turn_ends_right(client, upstream, ask):
    how = {"model": "chatty", "tools": TOOLS}
    first = ask(client, input="How is Paris?", **how)
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": item.name}
        for item in first.output
        if item.type == "function_call"
    ]
    second = ask(client, input=outputs, previous_response_id=first.id, **how)
    assert second.output_text == "get_weather and get_time"
    third = ask(client, input="Again", previous_response_id=second.id, model="chatty")

    assert third.output_text == "get_weather and get_time"
    assert third.previous_response_id == second.id
    roles = [message["role"] for message in upstream.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]


@WAYS
def test_tool_calling_loop_ends_with_what_the_tools_gave(client, upstream, ask):
    turns = [{"role": "user", "content": "How is Paris?"}]
    first = ask(client, model="chatty", input=turns, tools=TOOLS)
    assert [item.type for item in first.output] == ["reasoning", *["function_call"] * 2]
    turns += [item.to_dict() for item in first.output]
    for item in first.output[1:]:
        output = f"{item.name} of {json.loads(item.arguments)['city']}"
        turns.append({"type": "function_call_output", "call_id": item.call_id, "output": output})
    last = ask(client, model="chatty", input=turns, tools=TOOLS)

    assert last.output_text == "get_weather of Paris and get_time of Paris"
    _, assistant, *results = upstream.requests[-1].json["messages"]
    assert assistant["tool_calls"] == CALLS and assistant["reasoning_content"] == "Two tools."
    assert [m["tool_call_id"] for m in results] == ["call_a", "call_b"]


def test_pieces_of_two_calls_come_as_their_own_events(client):
    with client.responses.create(model="chatty", input="a", tools=TOOLS, stream=True) as stream:
        events = list(stream)

    valid(events)
    deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
    for index in (1, 2):
        assert "".join(e.delta for e in deltas if e.output_index == index) == PARIS
    thought = [e for e in events if e.type == "response.reasoning_summary_text.delta"]
    assert "".join(e.delta for e in thought) == "Two tools."


def test_parameter_that_no_chat_has_is_refused_by_its_name(client):
    with pytest.raises(openai.BadRequestError) as found:
        client.responses.create(model="chatty", input="a", truncation="auto")
    assert (found.value.code, found.value.param) == ("unsupported_parameter", "truncation")


@pytest.mark.parametrize(
    "fault, code",
    [
        ("cut-after-3", "upstream_reset"),
        ("end-after-3", "upstream_reset"),
        ("error-after-3", "upstream_bad_response"),
        ("bad-json-after-3", "upstream_bad_response"),
        ("stall-after-3", "upstream_timeout"),
    ],
)
def test_fault_in_the_middle_is_a_failed_response_with_what_had_come(client, upstream, fault, code):
    upstream.always(None, path="/chat/completions")
    with client.responses.create(model=f"chatty-{fault}", input="a b c d", stream=True) as stream:
        events = list(stream)

    assert valid(events)[-1] == "failed"
    failed = events[-1].response
    assert (failed.status, failed.error.code) == ("failed", code)
    assert failed.output_text and failed.output[0].status == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
def test_fault_before_the_first_chunk_is_an_ordinary_error(client, upstream, stream):
    upstream.always(None, path="/chat/completions")
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="chatty-429", input="a", stream=stream)
