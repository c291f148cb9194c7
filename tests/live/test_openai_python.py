"""openai-python against the gateway: what it sends is answered as it expects."""

import openai
import pytest

from gateway import mock
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401

pytestmark = pytest.mark.live

HELLO = [{"role": "user", "content": "Say this is a test"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
}


@pytest.fixture
def client(gateway):
    with openai.OpenAI(
        base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10
    ) as found:
        yield found


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def with_tool_calls(request):
    body = mock.bodies.completion(model=request.fields["model"])
    body["choices"][0]["message"].update(content=None, tool_calls=[CALL])
    body["choices"][0]["finish_reason"] = "tool_calls"
    return mock.json(body)(request)


def streamed_tool_calls(request):
    first, *_, last = mock.bodies.chunks(model=request.fields["model"])
    opening = {**CALL, "index": 0, "function": {**CALL["function"], "arguments": ""}}
    pieces = [opening] + [
        {"index": 0, "function": {"arguments": piece}} for piece in ('{"city":', '"Paris"}')
    ]
    events = [first]
    for piece in pieces:
        delta = {"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None}
        events.append({**first, "choices": [delta]})
    last["choices"][0]["finish_reason"] = "tool_calls"
    return mock.stream([*events, last])(request)


def test_whole_chat_answers_with_the_model_that_was_asked_for(client, upstream):
    answer = client.chat.completions.create(model="gpt-test", messages=HELLO)

    assert answer.choices[0].message.content == "Say this is a test"
    assert answer.model == "gpt-test"
    assert answer.usage.total_tokens > 0
    assert upstream.requests[-1].json == {"model": "upstream-model", "messages": HELLO}


def test_streamed_chat_gives_its_text_and_no_usage_that_was_not_asked_for(client, upstream):
    with client.chat.completions.create(model="gpt-test", messages=HELLO, stream=True) as stream:
        chunks = list(stream)

    assert text_of(chunks) == "Say this is a test"
    assert {chunk.model for chunk in chunks} == {"gpt-test"}
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert upstream.requests[-1].json["stream_options"] == {"include_usage": True}


def test_stream_that_asks_for_usage_ends_with_it(client):
    with client.chat.completions.create(
        model="gpt-test", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = stream

    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == [] and last.usage.completion_tokens == 5


def test_stream_helper_puts_a_chat_together(client):
    with client.chat.completions.stream(model="gpt-test", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()

    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Say this is a test"


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_keep_their_indexes(client, stream):
    if stream:
        with client.chat.completions.stream(model="gpt-test", messages=HELLO, n=3) as helper:
            answer = helper.get_final_completion()
    else:
        answer = client.chat.completions.create(model="gpt-test", messages=HELLO, n=3)

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"Say this is a test"}


def test_tools_go_out_and_tool_calls_come_back_whole(client, upstream):
    upstream.enqueue(with_tool_calls)
    answer = client.chat.completions.create(
        model="gpt-test", messages=HELLO, tools=[TOOL], tool_choice="auto"
    )

    message = answer.choices[0].message
    assert message.content is None
    assert [call.model_dump() for call in message.tool_calls] == [CALL]
    assert upstream.requests[-1].json["tools"] == [TOOL]


def test_streamed_tool_calls_come_back_in_pieces(client, upstream):
    upstream.enqueue(streamed_tool_calls)
    with client.chat.completions.stream(model="gpt-test", messages=HELLO, tools=[TOOL]) as stream:
        final = stream.get_final_completion()

    (call,) = final.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == (
        "call_1",
        "get_weather",
        '{"city":"Paris"}',
    )
    assert final.choices[0].finish_reason == "tool_calls"


def test_conversation_with_tool_results_passes_through(client, upstream):
    turns = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
    ]
    client.chat.completions.create(
        model="gpt-test", messages=turns, extra_body={"future": {"a": 1}}
    )

    assert upstream.requests[-1].json["messages"] == turns
    assert upstream.requests[-1].json["future"] == {"a": 1}


def test_whole_response_answers_with_text(client, upstream):
    answer = client.responses.create(model="gpt-test", input="Say this is a test")

    assert answer.output_text == "Say this is a test"
    assert (answer.model, answer.status, answer.error) == ("gpt-test", "completed", None)
    assert upstream.requests[-1].json["store"] is False


def test_streamed_response_counts_its_events_from_zero(client):
    with client.responses.create(model="gpt-test", input="Say hello", stream=True) as stream:
        events = list(stream)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[1].type, events[-1].type] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "Say hello"


@pytest.mark.parametrize("model", ["gpt-test", "mock-careless", "mock-odd-sse", "mock-json"])
def test_response_stream_helper_ends_with_the_final_response(client, model):
    with client.responses.stream(model=model, input="Say hello") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()

    assert kinds[0] == "response.created" and kinds.count("response.created") == 1
    assert final.output_text == "Say hello"
    assert final.model == model


def test_embeddings_come_as_base64_unless_floats_are_asked_for(client, upstream):
    packed = client.embeddings.create(model="gpt-test", input=["one", "two"])
    assert upstream.requests[-1].json["encoding_format"] == "base64"
    floats = client.embeddings.create(
        model="gpt-test", input=["one", "two"], encoding_format="float"
    )
    assert upstream.requests[-1].json["encoding_format"] == "float"

    assert [len(row.embedding) for row in packed.data] == [16, 16]
    assert [row.embedding for row in packed.data] == [row.embedding for row in floats.data]
    assert packed.model == floats.model == "gpt-test"
    assert packed.data[0].embedding == list(mock.bodies.vector("one"))


def test_models_are_listed_and_found_by_ids_with_slashes(client):
    assert {"gpt-test", "team/llm-a"} <= {model.id for model in client.models.list()}
    found = client.models.retrieve("team/llm-a")
    assert (found.id, found.object) == ("team/llm-a", "model")

    answer = client.chat.completions.create(model="team/llm-a", messages=HELLO)
    assert answer.model == "team/llm-a"


def test_raw_response_shows_the_headers_of_the_contract(client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-test", messages=HELLO)

    assert raw.headers["x-gateway-upstream"] == "mock"
    assert raw.headers["x-gateway-model"] == "upstream-model"
    assert int(raw.headers["openai-processing-ms"]) >= 1
    assert "x-gateway-attempts" not in raw.headers
    assert raw.request_id.startswith("req_") and len(raw.request_id) == 36


def test_request_id_of_an_answer_is_the_one_in_the_log(client, gateway):
    answer = client.chat.completions.create(
        model="gpt-test", messages=HELLO, extra_headers={"X-Client-Request-Id": "mine-1"}
    )

    (line,) = gateway.wait_lines(request_id=answer._request_id)
    assert (line["client_request_id"], line["status"], line["model"]) == ("mine-1", 200, "gpt-test")
