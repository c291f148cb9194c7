import base64
import struct

import pytest

from gateway import mock
from tests.endpoints.refused import refused

EMBEDDINGS = "/v1/embeddings"


def ask(client, input="one", **more):
    return client.post(EMBEDDINGS, json={"model": "gpt-test", "input": input, **more})


def test_floats_come_back_untouched_but_for_the_model(client):
    found = ask(client, ["one", "two"], encoding_format="float").json

    assert found["model"] == "gpt-test"
    assert [row["index"] for row in found["data"]] == [0, 1]
    assert found["data"][0]["embedding"] == list(mock.bodies.vector("one"))


def test_base64_comes_back_as_the_same_numbers(client):
    packed = ask(client, encoding_format="base64").json["data"][0]["embedding"]

    assert struct.unpack("<16f", base64.b64decode(packed)) == mock.bodies.vector("one")


@pytest.mark.parametrize("input", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
def test_texts_and_tokens_reach_the_upstream_as_they_are(client, upstream, input):
    assert ask(client, input).status_code == 200
    assert upstream.requests[-1].json == {"model": "upstream-model", "input": input}


@pytest.mark.parametrize("stream", [True, False, "yes"])
def test_stream_is_passed_on_like_any_unknown_parameter(client, upstream, stream):
    answer = ask(client, stream=stream)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert len(answer.json["data"]) == 1
    assert upstream.requests[-1].json["stream"] == stream


def test_upstream_that_cannot_stream_takes_embeddings_that_ask_for_it(client):
    assert ask(client, model="embed-only", stream=True).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": []}, "empty_array", "input"),
        ({"input": ["a"] * 2049}, "array_above_max_length", "input"),
        ({"input": "a", "dimensions": 0}, "integer_below_min_value", "dimensions"),
        ({"input": "a", "dimensions": "5"}, "invalid_type", "dimensions"),
        ({"input": "a", "encoding_format": "x"}, "invalid_value", "encoding_format"),
        ({"input": "a", "base_url": "http://127.0.0.2"}, "unknown_parameter", "base_url"),
    ],
)
def test_bad_field_is_named(client, body, code, param):
    refused(client.post(EMBEDDINGS, json={"model": "gpt-test", **body}), 400, code, param)


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nope", 404, "model_not_found"),
        ("whole-only", 400, "endpoint_not_supported"),
        ("mock-400", 400, "mock"),
        ("mock-html", 502, "upstream_bad_response"),
        ("mock-503", 503, "no_healthy_upstream"),
    ],
)
def test_failure_is_the_contract_s(client, model, status, code):
    param = "model" if code in ("model_not_found", "endpoint_not_supported") else None
    refused(ask(client, model=model), status, code, param)
