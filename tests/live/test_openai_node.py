"""openai-node against the gateway: the calls are in node/calls.mjs, what comes of them is here."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from gateway import mock
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401

pytestmark = pytest.mark.live

ROOT = pathlib.Path(__file__).resolve().parents[2]
SDK = ROOT / "build/node/node_modules/openai/index.mjs"
SCRIPT = pathlib.Path(__file__).with_name("node") / "calls.mjs"
SAID = "Say this is a test"


@pytest.fixture(scope="module")
def node():
    missing = "node" if shutil.which("node") is None else None if SDK.exists() else SDK
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI needs {missing}: .ci/run installs it")
    if missing:
        pytest.skip(f"{missing} is not installed: npm install --prefix build/node openai")
    return shutil.which("node")


@pytest.fixture(scope="module")
def found(node, gateway, upstream):
    environ = {**os.environ, "BASE_URL": gateway.url, "API_KEY": gateway.key}
    done = subprocess.run(
        [node, SCRIPT, SDK], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def received(upstream, model):
    return [asked for asked in upstream.requests if asked.fields.get("model") == model]


def text_of(chunks):
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


def test_whole_chat_answers_with_the_model_that_was_asked_for(found):
    assert found["chat"]["choices"][0]["message"]["content"] == SAID
    assert found["chat"]["model"] == "gpt-test"


def test_streamed_chat_gives_its_text_and_no_usage_that_was_not_asked_for(found):
    assert text_of(found["streamedChat"]) == SAID
    assert all(chunk["choices"] and not chunk.get("usage") for chunk in found["streamedChat"])


def test_stream_that_asks_for_usage_ends_with_it(found):
    *chunks, last = found["streamedChatWithUsage"]

    assert text_of(chunks) == SAID and not any(chunk["usage"] for chunk in chunks)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 5


def test_stream_helper_puts_a_chat_of_two_choices_together(found):
    choices = found["chatHelper"]["choices"]

    assert [choice["index"] for choice in choices] == [0, 1]
    assert {choice["message"]["content"] for choice in choices} == {SAID}


def test_whole_response_answers_with_text(found):
    assert found["response"]["output_text"] == "Say hello"
    assert (found["response"]["model"], found["response"]["status"]) == ("gpt-test", "completed")


def test_streamed_response_counts_its_events_from_zero(found):
    events = found["streamedResponse"]

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize("name", ["responseHelper", "carelessResponseHelper"])
def test_response_stream_helper_ends_with_the_final_response(found, name):
    assert found[name]["output_text"] == "Say hello"
    assert found[name]["status"] == "completed"


def test_embeddings_come_as_base64_unless_floats_are_asked_for(found, upstream):
    asked = [r for r in upstream.requests if r.path.endswith("/embeddings")]
    assert [r.json["encoding_format"] for r in asked] == ["base64", "float"]

    vectors = [row["embedding"] for row in found["embeddings"]["data"]]
    assert vectors == [row["embedding"] for row in found["floatEmbeddings"]["data"]]
    assert vectors[0] == list(mock.bodies.vector("one"))


def test_models_are_listed_and_found_by_ids_with_slashes(found):
    assert {"gpt-test", "team/llm-a"} <= {model["id"] for model in found["models"]}
    assert found["model"]["id"] == "team/llm-a"


def test_request_id_and_headers_reach_the_caller(found, gateway):
    assert found["headers"]["upstream"] == "mock"
    assert gateway.wait_lines(request_id=found["headers"]["request_id"])


ERRORS = {
    "invalidType": ("BadRequestError", 400, "invalid_type", "messages"),
    "wrongKey": ("AuthenticationError", 401, "invalid_api_key", None),
    "unknownModel": ("NotFoundError", 404, "model_not_found", "model"),
    "unknownURL": ("NotFoundError", 404, "unknown_url", None),
    "wrongMethod": ("APIError", 405, "method_not_allowed", None),
    "conflict": ("ConflictError", 409, "conflict", None),
    "tooLarge": ("APIError", 413, "request_too_large", None),
    "unprocessable": ("UnprocessableEntityError", 422, "mock", None),
    "limited": ("RateLimitError", 429, "rate_limit_exceeded", None),
    "badGateway": ("InternalServerError", 502, "upstream_bad_response", None),
    "unavailable": ("InternalServerError", 503, "no_healthy_upstream", None),
    "timeout": ("InternalServerError", 504, "upstream_timeout", "first_token"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_raises_its_class_with_code_and_param(found, name):
    error = found[name]

    assert (error["raised"], error["status"], error["code"], error["param"]) == ERRORS[name]
    assert error["requestID"].startswith("req_")


def test_fault_in_the_middle_of_a_chat_raises_an_api_error(found):
    assert found["cutChat"]["seen"] == 3
    assert found["cutChat"]["raised"] == "APIError"
    assert found["cutChat"]["code"] == "upstream_reset"


def test_fault_in_the_middle_of_a_response_is_its_failed_event(found):
    last = found["cutResponse"][-1]

    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == "upstream_reset"


def test_sdk_retries_what_the_gateway_tells_it_to_and_nothing_else(found, upstream):
    assert found["retried"]["raised"] == "InternalServerError"
    assert len(received(upstream, "mock-502")) == 3
    assert len(received(upstream, "mock-418")) == 1
