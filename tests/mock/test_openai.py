"""What the scripted upstream says by default: right answers, and refusals of wrong requests."""

import base64
import json
import re
import struct

import pytest
import requests

from gateway.mock import bodies
from tests.raw_client import CHAT, dechunked, events, exchange
from tests.upstream import more_upstreams  # noqa: F401


def test_chat_echoes_the_last_user_message(upstream):
    parts = [{"type": "text", "text": "How are "}, {"type": "text", "text": "you?"}]
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": parts}]

    reply = requests.post(
        f"{upstream.url}/chat/completions", json={"model": "m", "messages": turns}
    )

    assert reply.json()["choices"][0]["message"]["content"] == "How are you?"
    assert reply.json()["usage"]["completion_tokens"] == 3


def test_chat_without_user_text_says_hello(upstream):
    body = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}]}

    reply = requests.post(f"{upstream.url}/chat/completions", json=body)

    assert reply.json()["choices"][0]["message"]["content"] == "Hello from the mock."


def test_chat_stream_has_one_role_one_reason_and_constant_ids(upstream):
    data, _ = exchange(upstream, {**CHAT, "stream": True})

    head, body = dechunked(data)
    *chunks, done = events(body)
    assert b"content-type: text/event-stream" in head
    assert done == "[DONE]"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 3 + ["stop"]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks][1:] == [None] * 3
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Say hi"
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


def test_chat_stream_with_usage_ends_in_a_chunk_without_choices(upstream):
    options = {"stream": True, "stream_options": {"include_usage": True}}

    _, body = dechunked(exchange(upstream, {**CHAT, **options})[0])

    *chunks, last, _ = events(body)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 4)


def test_each_of_n_choices_is_streamed(upstream):
    _, body = dechunked(exchange(upstream, {**CHAT, "stream": True, "n": 3})[0])

    chunks = events(body)[:-1]
    for index in range(3):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Say hi"
        assert [choice["finish_reason"] for choice in own].count("stop") == 1


def test_responses_stream_is_the_whole_sequence(upstream):
    asked = {"model": "echo", "input": "Say hi", "stream": True, "instructions": "Be brief."}

    _, body = dechunked(exchange(upstream, asked, path="/v1/responses")[0])

    *found, done = events(body)
    names = [name.decode().removeprefix("response.") for name in re.findall(rb"event: (.*)", body)]
    assert done == "[DONE]"
    assert (
        names
        == (
            "created in_progress output_item.added content_part.added output_text.delta "
            "output_text.delta output_text.done content_part.done output_item.done completed"
        ).split()
    )
    assert [event["type"] for event in found] == [f"response.{name}" for name in names]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert found[-1]["response"]["instructions"] == "Be brief."


def test_the_last_event_of_a_response_is_the_whole_answer(upstream):
    asked = {"model": "echo", "input": [{"role": "user", "content": "Say hi"}]}
    whole = requests.post(f"{upstream.url}/responses", json=asked).json()

    last = bodies.response_events("Say hi", id=whole["id"], created=whole["created_at"], asked=2)[
        -1
    ]

    assert last["response"] == whole


def test_embeddings_are_the_same_numbers_in_both_encodings(upstream):
    asked = {"model": "e", "input": ["a", "b"], "dimensions": 5}
    url = f"{upstream.url}/embeddings"

    as_floats = requests.post(url, json=asked).json()["data"]
    as_base64 = requests.post(url, json={**asked, "encoding_format": "base64"}).json()["data"]

    for floats, packed in zip(as_floats, as_base64, strict=True):
        numbers = struct.unpack("<5f", base64.b64decode(packed["embedding"]))
        assert list(numbers) == floats["embedding"]
        assert sum(number * number for number in numbers) == pytest.approx(1, abs=1e-6)
    assert as_floats[0]["embedding"] != as_floats[1]["embedding"]


@pytest.mark.parametrize(
    ("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2, 3]], 2)]
)
def test_embeddings_take_every_form_of_input(upstream, given, count):
    reply = requests.post(f"{upstream.url}/embeddings", json={"model": "e", "input": given})

    assert len(reply.json()["data"]) == count


def test_models_lists_the_catalogue(upstreams):
    url = upstreams(models=("a", "org/b")).url

    assert [model["id"] for model in requests.get(f"{url}/models").json()["data"]] == ["a", "org/b"]
    assert requests.get(f"{url}/models/org/b").json()["id"] == "org/b"
    assert requests.get(f"{url}/models/c").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/nope", CHAT, 404, "unknown_url"),
        ("/v1/chat/completions", [], 400, "invalid_json"),
        ("/v1/chat/completions", {}, 400, "invalid_json"),
        ("/v1/chat/completions", {**CHAT, "model": 7}, 400, "missing_required_parameter"),
        ("/v1/chat/completions", {**CHAT, "model": "mock-nope"}, 404, "model_not_found"),
        ("/v1/chat/completions", {**CHAT, "model": "mock-200"}, 404, "model_not_found"),
        ("/v1/chat/completions", {**CHAT, "messages": "hi"}, 400, "invalid_value"),
        ("/v1/chat/completions", {**CHAT, "messages": [[]]}, 400, "invalid_value"),
        ("/v1/chat/completions", {**CHAT, "n": 10**9}, 400, "invalid_value"),
        ("/v1/chat/completions", {**CHAT, "stream": "yes"}, 400, "invalid_value"),
        ("/v1/responses", {"model": "m", "input": {}}, 400, "invalid_value"),
        ("/v1/embeddings", {"model": "m", "input": [1, "a"]}, 400, "invalid_value"),
        ("/v1/embeddings", {"model": "m", "input": "a", "dimensions": [3]}, 400, "invalid_value"),
        (
            "/v1/embeddings",
            {"model": "m", "input": "a", "encoding_format": []},
            400,
            "invalid_value",
        ),
    ],
)
def test_what_is_wrong_is_refused_in_openais_envelope(upstream, path, body, status, code):
    data, end = exchange(upstream, body, path=path)

    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(rest)["error"]["code"] == code
    assert end == "FIN"


@pytest.mark.parametrize(
    "body",
    [
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": [[]]}, 7]}]},
        {**CHAT, "messages": [{"role": 7}], "tools": [{"function": {}}], "stream_options": []},
        {**CHAT, "messages": [{"role": "user", "content": "\ud800"}]},
    ],
)
def test_odd_fields_never_break_it(upstream, body):
    assert exchange(upstream, body)[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert exchange(upstream, {**body, "stream": True})[0].endswith(b"0\r\n\r\n")
