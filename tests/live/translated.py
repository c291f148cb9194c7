"""A model over chat completions that calls tools, and three ways to ask it for a response."""

import openai
import pytest

from gateway import mock
from tests.serving import Gateway, write_config
from tests.translate.chats import called, chat, piece
from tests.translate.published import faults
from tests.upstream import ScriptedUpstream

__all__ = ["chat_gateway", "chat_upstream"]

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


@pytest.fixture(scope="module", name="upstream")
def chat_upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module", name="gateway")
def chat_gateway(tmp_path_factory, upstream):
    more = CONFIG.replace("URL", upstream.url)
    path = write_config(tmp_path_factory.mktemp("gateway"), upstream.url, more=more)
    with Gateway(path) as running:
        yield running


def client_of(gateway):
    return openai.OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=60)


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
