"""Refusals, limits and answers that are none under status 200, as clients see them.

The model `duo` has two upstreams of which the first fails; `talk` is translated over chats.
"""

import re

import orjson
import pytest

from gateway import mock
from gateway.mock import answers, bodies
from tests.application import shared_app, shared_upstream  # noqa: F401
from tests.endpoints.refused import refused

MORE = """
[[upstream]]
name = "first"
base_url = "URL"
api_key = "sk-upstream-secret"
endpoints = ["chat", "embeddings", "responses"]

[[upstream]]
name = "second"
base_url = "URL"
endpoints = ["chat", "embeddings", "responses"]

[[upstream]]
name = "chatty"
base_url = "URL"
endpoints = ["chat"]

[[upstream]]
name = "second-chatty"
base_url = "URL"
endpoints = ["chat"]

[[model]]
id = "duo"
upstreams = [{ name = "first", model = "bad" }, { name = "second", model = "good", priority = 1 }]

[[model]]
id = "talk"
upstreams = [
    { name = "chatty", model = "bad" },
    { name = "second-chatty", model = "good", priority = 1 },
]

[[model]]
id = "solo"
upstreams = [{ name = "first", model = "bad" }]
"""
HELLO = [{"role": "user", "content": "Hello"}]
CALLS = {
    "chat": ("/v1/chat/completions", {"model": "duo", "messages": HELLO}),
    "chat, streamed": ("/v1/chat/completions", {"model": "duo", "messages": HELLO, "stream": True}),
    "translated": ("/v1/responses", {"model": "talk", "input": "Hello"}),
    "translated, streamed": ("/v1/responses", {"model": "talk", "input": "Hello", "stream": True}),
    "responses, streamed": ("/v1/responses", {"model": "duo", "input": "Hello", "stream": True}),
    "embeddings": ("/v1/embeddings", {"model": "duo", "input": "Hello"}),
}
ANY_CALL = pytest.mark.parametrize("call", CALLS)
CHATS = ["chat", "chat, streamed", "translated", "translated, streamed"]
OF_DUO = [name for name, (_, body) in CALLS.items() if body["model"] == "duo"]


@pytest.fixture(autouse=True)
def router(app, upstream):
    router = app.extensions["gateway"].router
    yield router
    upstream.always(None)
    router.breakers.clear()
    router.budgets.clear()


def ill(upstream, answer):
    """Let the upstream answer so for the model `bad`; return the models it is asked for."""
    asked = []

    def act(request):
        asked.append(request.fields["model"])
        return (answer if asked[-1] == "bad" else mock.reply())(request)

    upstream.always(act)
    return asked


def erring(error):
    """Answer under 200 with an error, in the form that was asked for."""

    def act(request):
        if not request.fields.get("stream"):
            return answers.json({"error": error})(request)
        native = request.path.endswith("/responses")
        event = {**error, "type": "error"} if native else {"error": error}
        return answers.stream([event])(request)

    return act


def ask(client, call, **more):
    path, body = CALLS[call]
    return client.post(path, json={**body, **more})


def error(code, kind=None):
    return {"message": "Too long.", "type": kind, "param": None, "code": code}


@ANY_CALL
def test_refusal_under_200_is_the_client_s_and_costs_one_call_and_nobody_s_breaker(
    client, upstream, router, call
):
    asked = ill(upstream, erring(error("context_length_exceeded", "invalid_request_error")))
    for _ in range(5):
        answer = ask(client, call)
        told = refused(answer, 400, "context_length_exceeded")
        assert (told["message"], told["type"]) == ("Too long.", "invalid_request_error")
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-gateway-error-source"] == "upstream"
    assert asked == ["bad"] * 5
    assert {breaker.streak for breaker in router.breakers.values()} == {0}


@ANY_CALL
@pytest.mark.parametrize(
    "told",
    [
        error("rate_limit_exceeded", "tokens"),
        error("insufficient_quota"),
        error("invalid_api_key", "invalid_request_error"),
        error("server_is_overloaded"),
        error("server_error", "server_error"),
    ],
    ids=lambda told: told["code"],
)
def test_failure_under_200_is_made_good_by_another_upstream(client, upstream, call, told):
    asked = ill(upstream, erring(told))
    answer = ask(client, call)
    assert (answer.status_code, asked) == (200, ["bad", "good"])
    assert re.fullmatch(r"\w+:bad,second[-\w]*:200", answer.headers["x-gateway-attempts"])


@pytest.mark.parametrize("call", OF_DUO)
@pytest.mark.parametrize(
    ("code", "status", "ours", "hint"),
    [
        ("rate_limit_exceeded", 429, "rate_limit_exceeded", "true"),
        ("insufficient_quota", 502, "upstream_auth_failed", "false"),
        ("invalid_api_key", 502, "upstream_auth_failed", "false"),
        ("slow_down", 503, "no_healthy_upstream", "true"),
    ],
)
def test_failure_of_the_only_upstream_is_told_as_the_contract_says(
    client, upstream, call, code, status, ours, hint
):
    ill(upstream, erring(error(code)))
    answer = ask(client, call, model="solo")
    refused(answer, status, ours)
    assert answer.headers["x-should-retry"] == hint
    assert ("retry-after" in answer.headers) == (status in (429, 503))


@ANY_CALL
def test_account_without_money_is_tried_once_and_elsewhere(client, upstream, router, call):
    path, body = CALLS[call]
    asked = ill(upstream, mock.fault("mock-quota"))
    assert client.post(path, json=body).status_code == 200
    assert asked == ["bad", "good"]
    assert all(not breaker.limited_for(0) for breaker in router.breakers.values())


def test_account_without_money_is_not_asked_again_and_not_told_as_a_passing_limit(client, upstream):
    asked = ill(upstream, mock.fault("mock-quota"))
    answer = ask(client, "chat", model="solo")
    told = refused(answer, 502, "upstream_auth_failed")
    assert answer.headers["x-should-retry"] == "false" and "retry-after" not in answer.headers
    assert asked == ["bad"] and "quota" not in str(told)


def test_refusal_in_the_middle_is_an_event_and_charges_no_breaker(client, upstream, router):
    told = error("context_length_exceeded", "invalid_request_error")
    ill(upstream, answers.stream([*bodies.chunks("one two")[:2], {"error": told}], done=False))
    for _ in range(5):
        answer = ask(client, "chat, streamed")
        *_, last, rest = answer.text.split("\n\n")
        assert (answer.status_code, rest) == (200, "")
        assert orjson.loads(last.removeprefix("data: ")) == {"error": told}
    assert {breaker.streak for breaker in router.breakers.values()} == {0}


@pytest.mark.parametrize("call", CHATS)
def test_whole_chat_without_choices_is_made_good_by_another_upstream(client, upstream, call):
    asked = ill(upstream, answers.json({**bodies.completion("Hello"), "choices": []}))
    assert ask(client, call).status_code == 200
    assert asked == ["bad", "good"]
    if call == "chat":
        refused(ask(client, call, model="solo"), 502, "upstream_bad_response")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"index": 0, "embedding": [0.5]}],
        [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": None}],
        [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": []}],
        [{"index": number, "embedding": [0.5]} for number in range(3)],
    ],
)
def test_vectors_that_are_not_one_for_each_input_are_made_good(client, upstream, rows):
    asked = ill(upstream, answers.json({"object": "list", "data": rows}))
    found = ask(client, "embeddings", input=["one", "two"], encoding_format="float")
    assert (found.status_code, asked) == (200, ["bad", "good"])
    assert [row["embedding"] for row in found.json["data"]] == [
        list(bodies.vector(text)) for text in ("one", "two")
    ]
    refused(
        ask(client, "embeddings", model="solo", input=["one", "two"]), 502, "upstream_bad_response"
    )
