"""Streams and whole answers give the same numbers, and cost what the model that answered costs."""

import pytest

from gateway import config, create_app, database, mock
from tests.serving import KEY, write_config
from tests.test_usage import post, read

MORE = """
[[upstream]]
name = "chat-only"
base_url = "$URL"

[[model]]
id = "native"
upstreams = [{ name = "mock" }]
price = { input = 0.40, cached_input = 0.0375, output = 1.60 }

[[model]]
id = "over-chat"
upstreams = [{ name = "chat-only" }]
price = { input = 0.40, cached_input = 0.0375, output = 1.60 }

[[model]]
id = "free"
upstreams = [{ name = "mock" }]

[[model]]
id = "dear"
upstreams = [{ name = "mock", model = "mock-500" }]
fallbacks = ["native"]
price = { input = 1000, output = 1000 }

[retry]
attempts = 0
"""
DETAILS = {"cached_tokens": 401}, {"reasoning_tokens": 17}
CHAT_USAGE = {
    "prompt_tokens": 1203, "completion_tokens": 57, "total_tokens": 1260,
    "prompt_tokens_details": DETAILS[0], "completion_tokens_details": DETAILS[1],
}  # fmt: skip
RESPONSE_USAGE = {
    "input_tokens": 1203, "output_tokens": 57, "total_tokens": 1260,
    "input_tokens_details": DETAILS[0], "output_tokens_details": DETAILS[1],
}  # fmt: skip
COUNTS = {"input_tokens": 1203, "cached_tokens": 401, "output_tokens": 57, "reasoning_tokens": 17}
COST = round(802 * 400 + 401 * 37.5 + 57 * 1600)
WAYS = {
    "chat": ("/v1/chat/completions", "native"),
    "responses": ("/v1/responses", "native"),
    "over_chat": ("/v1/responses", "over-chat"),
}
TIMES = ("id", "created_at", "request_id", "ttft_ms", "total_ms")


@pytest.fixture
def settings(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url, more=MORE.replace("$URL", upstream.url))
    return config.load({"GATEWAY_API_KEYS": KEY}, path)


@pytest.fixture
def rows(app):
    services = app.extensions["gateway"]

    def written():
        services.recorder.flush()
        return read(services.database)

    return written


def asked(path, model, stream=False):
    said = (
        {"input": "Hi"}
        if "responses" in path
        else {"messages": [{"role": "user", "content": "Hi"}]}
    )
    return {"model": model, **said, **({"stream": True} if stream else {})}


def scripted(kind, stream):
    """Return the same answer, whole or streamed, with usage of every kind."""
    if kind == "responses":
        whole = {**mock.bodies.response("Hi there"), "usage": RESPONSE_USAGE}
        if not stream:
            return mock.json(whole)
        *events, last = mock.bodies.response_events("Hi there")
        return mock.stream([*events, {**last, "response": whole}])
    whole = {**mock.bodies.completion("Hi there"), "usage": CHAT_USAGE}
    if not stream:
        return mock.json(whole)
    *chunks, last = mock.bodies.chunks("Hi there", include_usage=True)
    return mock.stream([*chunks, {**last, "usage": CHAT_USAGE}])


@pytest.mark.parametrize("way", WAYS)
def test_stream_and_whole_answer_leave_equal_rows(client, rows, upstream, way):
    path, model = WAYS[way]
    for stream in (False, True):
        upstream.enqueue(scripted("responses" if way == "responses" else "chat", stream))
        post(client, asked(path, model, stream), path)
    whole, streamed = ({k: v for k, v in row.items() if k not in TIMES} for row in rows())
    assert whole == streamed
    assert {name: whole[name] for name in COUNTS} == COUNTS
    assert (whole["usage_source"], whole["cost"], whole["end"]) == ("upstream", COST, "ok")


@pytest.mark.parametrize("stream", [False, True])
def test_fallback_that_answered_is_charged_at_its_own_price(client, rows, upstream, stream):
    path, _ = WAYS["chat"]
    upstream.enqueue(mock.error(500, "no"), scripted("chat", stream))
    post(client, asked(path, "dear", stream))
    (row,) = rows()
    assert (row["model"], row["attempts"]) == ("dear", "mock:500,mock:200")
    assert row["cost"] == COST


@pytest.mark.parametrize("stream", [False, True])
def test_model_without_a_price_costs_nobody_knows_what(client, rows, upstream, stream):
    upstream.enqueue(scripted("chat", stream))
    post(client, asked("/v1/chat/completions", "free", stream))
    (row,) = rows()
    assert (row["cost"], row["input_tokens"]) == (None, 1203)


def test_call_that_no_upstream_answered_costs_nobody_knows_what(client, rows, upstream):
    upstream.enqueue(mock.error(400, "no"))
    post(client, asked("/v1/chat/completions", "native"))
    (row,) = rows()
    assert (row["usage_source"], row["cost"], row["input_tokens"]) == ("absent", None, None)


def test_stream_whose_client_left_is_charged_by_the_estimate(client, rows, upstream):
    *chunks, _ = mock.bodies.chunks("Hi there")
    upstream.enqueue(mock.stream([*chunks, 5.0], done=False))
    answer = client.post(
        "/v1/chat/completions", json=asked("/v1/chat", "native", True), buffered=False
    )
    next(iter(answer.response))
    answer.close()
    (row,) = rows()
    assert (row["usage_source"], row["end"]) == ("estimated", "cancelled")
    assert row["cost"] == row["input_tokens"] * 400 + row["output_tokens"] * 1600


def test_configured_price_is_the_target_s(settings):
    database.upgrade(settings.server.database_url)
    app = create_app(settings)
    services = app.extensions["gateway"]
    targets = services.router.routes("dear")
    assert [target.price and target.price.input for target in targets] == [1000, 0.4]
    assert services.catalogue.find("mock-5").targets[0].price is None
    services.close()
