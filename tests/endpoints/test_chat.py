import json

import pytest

from gateway import mock
from tests.endpoints.refused import refused
from tests.raw_client import events

CHAT = "/v1/chat/completions"
GOOD = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say this is a test"}]}


def ask(client, **more):
    return client.post(CHAT, json={**GOOD, **more})


def said(answer):
    """Return the text of a stream and the data of its events."""
    found = events(answer.data)
    chunks = [event for event in found if event != "[DONE]" and event.get("choices")]
    deltas = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    return "".join(deltas), found


def test_whole_answer_is_the_upstream_s_but_for_its_model(client, upstream):
    body = mock.bodies.completion(model="upstream-model", id="chatcmpl-x")
    upstream.enqueue(mock.json({**body, "future": {"a": [1, None]}}))
    answer = ask(client)

    assert answer.status_code == 200
    assert answer.json == {**body, "model": "gpt-test", "future": {"a": [1, None]}}


def test_answer_names_who_gave_it(client):
    headers = ask(client).headers

    assert headers["content-type"] == "application/json"
    assert headers["x-gateway-upstream"] == "mock"
    assert headers["x-gateway-model"] == "upstream-model"
    assert int(headers["openai-processing-ms"]) >= 1
    assert headers["x-request-id"].startswith("req_")
    assert "x-gateway-attempts" not in headers


def test_nothing_else_of_the_upstream_s_head_comes_back(client):
    headers = ask(client, model="mock-odd-headers").headers

    assert {name.lower() for name in headers.keys()} == {
        "content-type", "content-length", "x-request-id", "openai-processing-ms",
        "x-gateway-upstream", "x-gateway-model",
    }  # fmt: skip
    assert headers["x-request-id"] != "mock"


def test_nothing_else_of_the_client_s_head_goes_out(client, upstream):
    odd = {"X-Odd": "1", "Cookie": "a=b", "User-Agent": "me", "Accept": "*/*",
           "OpenAI-Organization": "org", "Accept-Encoding": "gzip", "Expect": ""}  # fmt: skip
    client.post(CHAT, json=GOOD, headers=odd)

    sent = upstream.requests[-1].headers
    assert set(sent) <= {"host", "user-agent", "accept", "accept-encoding", "content-type",
                         "content-length", "authorization", "connection",
                         "traceparent", "openai-beta"}  # fmt: skip
    assert sent["user-agent"].startswith("klintero-gateway")
    assert sent["accept-encoding"] == "identity"


def test_parameters_reach_the_upstream_unchanged(client, upstream):
    more = {
        "temperature": 0.5, "n": 2, "stop": ["a"], "max_completion_tokens": 5, "seed": 1,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": 1}}}],
        "tool_choice": "auto", "response_format": {"type": "json_object"}, "logprobs": True,
        "metadata": {"a": "b"}, "of_tomorrow": {"deep": [1]}, "stream": False, "user": "me",
    }  # fmt: skip
    ask(client, **more)

    assert upstream.requests[-1].json == {**GOOD, **more, "model": "upstream-model"}


def test_stream_is_the_text_then_one_done(client, upstream):
    answer = ask(client, stream=True)
    text, found = said(answer)

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert text == "Say this is a test"
    assert found.count("[DONE]") == 1 and found[-1] == "[DONE]"
    assert {chunk["model"] for chunk in found[:-1]} == {"gpt-test"}
    assert all(chunk["choices"] for chunk in found[:-1])
    assert upstream.requests[-1].json["stream_options"] == {"include_usage": True}


def test_usage_of_a_stream_comes_last_when_it_was_asked_for(client, upstream):
    options = {"include_usage": True, "include_obfuscation": False}
    *_, last, done = said(ask(client, stream=True, stream_options=options))[1]

    assert (last["choices"], last["usage"]["completion_tokens"], done) == ([], 5, "[DONE]")
    assert upstream.requests[-1].json["stream_options"] == options


def test_other_stream_options_go_out_with_the_gateway_s_own(client, upstream):
    for options in ({"include_usage": False, "include_obfuscation": True}, {}, None):
        _, found = said(ask(client, stream=True, stream_options=options))
        assert all(chunk["choices"] for chunk in found[:-1])
        expected = {**(options or {}), "include_usage": True}
        assert upstream.requests[-1].json["stream_options"] == expected


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("mock-400", 400, "mock"), ("mock-404", 404, "mock"), ("mock-422", 422, "mock"),
        ("mock-400-llama", 400, "bad_request"), ("mock-400-text", 400, "bad_request"),
        ("mock-401", 502, "upstream_auth_failed"), ("mock-402", 502, "upstream_auth_failed"),
        ("mock-403", 502, "upstream_auth_failed"), ("mock-408", 504, "upstream_timeout"),
        ("mock-429", 429, "rate_limit_exceeded"), ("mock-500", 502, "upstream_bad_response"),
        ("mock-500-html", 502, "upstream_bad_response"),
        ("mock-html", 502, "upstream_bad_response"),
        ("mock-503", 503, "no_healthy_upstream"), ("mock-529", 503, "no_healthy_upstream"),
        ("mock-307", 502, "upstream_bad_response"), ("mock-empty", 502, "upstream_bad_response"),
        ("mock-200-error", 502, "upstream_bad_response"), ("mock-reset", 502, "upstream_reset"),
        ("mock-truncated", 502, "upstream_reset"),
    ],
)  # fmt: skip
def test_upstream_s_failure_becomes_the_contract_s(client, model, status, code):
    answer = ask(client, model=model)
    error = refused(answer, status, code, "total" if model == "mock-408" else None)

    assert answer.headers["x-gateway-error-source"] == "upstream"
    assert answer.headers["x-should-retry"] == str(retried(status, code)).lower()
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert "html" not in error["message"].lower() and "sk-upstream-secret" not in error["message"]


def retried(status, code):
    return status in (429, 502, 503) and code != "upstream_auth_failed"


@pytest.mark.parametrize("model", ["mock-400", "mock-500", "mock-html", "mock-reset", "mock-empty"])
def test_stream_that_never_began_fails_like_a_whole_call(client, model):
    whole, stream = ask(client, model=model), ask(client, model=model, stream=True)

    assert stream.status_code == whole.status_code
    assert stream.headers["content-type"] == "application/json"


def test_broken_stream_ends_in_an_error_event(client):
    for model in ("mock-cut-after-3", "mock-end-after-3", "mock-error-after-3", "mock-nan-after-3"):
        *chunks, last = events(ask(client, model=model, stream=True).data)
        assert len(chunks) == 3 and "[DONE]" not in chunks
        assert list(last["error"]) == ["message", "type", "param", "code"]


def test_end_after_a_finish_reason_is_clean_without_done(client):
    text, found = said(ask(client, model="mock-no-done", stream=True))
    assert (text, found[-1]) == ("Say this is a test", "[DONE]")


def test_whole_answer_to_a_streamed_call_is_a_stream_of_one_chunk(client):
    text, found = said(ask(client, model="mock-json", stream=True))
    assert text == "Say this is a test" and len(found) == 2
    assert found[0]["object"] == "chat.completion.chunk"


def test_model_that_cannot_stream_says_so_and_answers_whole(client):
    for model in ("whole-only", "mock-no-stream"):
        refused(ask(client, model=model, stream=True), 400, "stream_not_supported", "stream")
        assert ask(client, model=model).status_code == 200


@pytest.mark.parametrize("value", ["true", 1, 0, "yes", [], {}])
def test_stream_is_a_boolean_and_nothing_else(client, value):
    error = refused(ask(client, stream=value), 400, "invalid_type", "stream")
    assert error["message"].startswith("Invalid type for 'stream': expected a boolean, but got")


def test_null_stream_is_a_whole_answer(client):
    assert ask(client, stream=None).json["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("body", "code", "param", "message"),
    [
        ({}, "missing_required_parameter", "messages", "Missing required parameter: 'messages'."),
        (
            {"messages": "x"}, "invalid_type", "messages",
            "Invalid type for 'messages': expected an array of objects, but got a string instead.",
        ),
        (
            {"messages": []}, "empty_array", "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
        ),
        (
            {"messages": [*GOOD["messages"], {"role": "nobody", "content": "x"}]},
            "invalid_value", "messages[1].role", None,
        ),
        (
            {**GOOD, "temperature": 3}, "decimal_above_max_value", "temperature",
            "Invalid 'temperature': decimal above maximum value. "
            "Expected a value <= 2, but got 3 instead.",
        ),
        ({**GOOD, "n": "2"}, "invalid_type", "n", None),
        ({**GOOD, "n": 0}, "integer_below_min_value", "n", None),
    ],
)  # fmt: skip
def test_bad_field_is_named_in_openai_s_words(client, body, code, param, message):
    answer = client.post(CHAT, json={"model": "gpt-test", **body})
    error = refused(answer, 400, code, param)

    assert message in (None, error["message"])


def test_line_tells_what_became_of_the_call(client, lines):
    for more in ({}, {"stream": True}, {"model": "mock-400"}, {"model": "nope"}):
        with ask(client, **more) as answer:
            assert answer.data

    told = ("endpoint", "model", "upstream", "status", "code", "stream", "end")
    assert [tuple(line[name] for name in told) for line in lines] == [
        ("chat", "gpt-test", "mock", 200, None, False, "ok"),
        ("chat", "gpt-test", "mock", 200, None, True, "ok"),
        ("chat", "mock-400", "mock", 400, "mock", False, "error"),
        ("chat", None, None, 404, "model_not_found", False, "error"),
    ]
    assert [line["input_tokens"] for line in lines] == [5, 5, None, None]
    assert [line["attempts"] for line in lines] == ["mock:200", "mock:200", "mock:400", None]
    assert json.dumps(lines)
