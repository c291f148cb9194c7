"""What is refused before anything is sent names no upstream: none was asked."""

import pytest

from tests.endpoints.refused import refused
from tests.endpoints.test_responses import ask

ROUTED = {"x-gateway-upstream", "x-gateway-model", "x-gateway-attempts"}
UNSENT = [
    ({"previous_response_id": "resp_x"}, 404, "response_not_found", "previous_response_id"),
    ({"conversation": "conv_x"}, 404, "response_not_found", "conversation"),
    ({"input": [{"type": "item_reference", "id": "msg_x"}]}, 404, "response_not_found",
     "input[0].id"),
    ({"model": "whole-only", "truncation": "auto"}, 400, "unsupported_parameter", "truncation"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "status", "code", "param"), UNSENT)
def test_refusal_before_anything_is_sent_names_no_upstream(
    app, client, upstream, lines, more, status, code, param
):
    recorder, received = app.extensions["gateway"].recorder, upstream.received
    recorder.rows.clear()
    with ask(client, **more) as answer:
        refused(answer, status, code, param)

    assert upstream.received == received
    assert answer.headers["x-gateway-error-source"] == "gateway"
    assert not ROUTED & set(answer.headers.keys(lower=True))
    line, (row,) = lines[-1], recorder.rows
    assert (line["upstream"], line["upstream_ms"], line["attempts"]) == (None, None, None)
    assert (row["upstream"], row["status"], row["usage_source"]) == (None, status, "absent")


@pytest.mark.parametrize("stream", [False, True])
def test_refused_stream_names_no_upstream_either(client, stream):
    answer = ask(client, previous_response_id="resp_x", stream=stream)
    refused(answer, 404, "response_not_found", "previous_response_id")
    assert not ROUTED & set(answer.headers.keys(lower=True))


@pytest.mark.parametrize("model", ["mock-400", "mock-500", "mock-close"])
def test_upstream_that_was_asked_is_named_however_it_has_failed(client, lines, model):
    with ask(client, model=model) as answer:
        assert answer.headers["x-gateway-error-source"] == "upstream"
        assert answer.headers["x-gateway-upstream"] == "mock"
        assert answer.headers["x-gateway-model"] == model
    assert lines[-1]["upstream"] == "mock"
