"""What is answered has no header that its description does not know, and no refusal but those."""

import re

import pytest

from gateway import errors
from gateway.config.checks import ENDPOINTS
from gateway.description.document import document
from gateway.description.headers import REQUEST
from gateway.endpoints.passing import passed
from gateway.endpoints.replies import PATIENCE
from gateway.gunicorn_worker import raw
from tests.endpoints.refused import refused
from tests.live.raw import Reply

# Those of HTTP itself, which nobody has to be told of.
HTTP = {"content-type", "content-length", "connection"}
ALWAYS = {name.lower() for name in REQUEST}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SAID = {"messages": [{"role": "user", "content": "hi"}]}
ASKED = [
    pytest.param(CHAT, SAID, {}, 200, id="whole"),
    pytest.param(CHAT, {**SAID, "stream": True}, {}, 200, id="streamed"),
    pytest.param(CHAT, SAID, {"Prefer": "respond-async"}, 202, id="job"),
    pytest.param(CHAT, {"messages": 1}, {}, 400, id="wrong"),
    pytest.param(CHAT, {**SAID, "model": "nope"}, {}, 404, id="no such model"),
    pytest.param(CHAT, {**SAID, "model": "mock-422"}, {}, 422, id="refused upstream"),
    pytest.param(CHAT, {**SAID, "model": "mock-429"}, {}, 429, id="upstream's limit"),
    pytest.param(CHAT, {**SAID, "model": "mock-500"}, {}, 502, id="upstream's fault"),
    pytest.param(RESPONSES, {"input": "hi", "stream": True}, {}, 200, id="streamed response"),
    pytest.param("/v1/embeddings", {"input": "hi"}, {}, 200, id="embedding"),
]


@pytest.fixture
def holder(app):
    """Return a function that gives a client with a new key of these bounds."""

    def make(**bounds):
        found = app.test_client()
        secret = app.extensions["gateway"].keys.create("mine", **bounds)[1]
        found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return found

    return make


def described(path, method, status):
    """Return what the description says of an answer."""
    answers = document()["paths"][path][method]["responses"]
    return answers.get(str(status)) or answers[f"{str(status)[0]}XX"]


@pytest.mark.parametrize("path, body, headers, status", ASKED)
def test_no_answer_has_a_header_that_is_not_described(holder, path, body, headers, status):
    client = holder(rpm=10**6, tpm=10**9)
    answer = client.post(path, json={"model": "gpt-test", **body}, headers=headers)
    assert (answer.status_code, bool(answer.data)) == (status, True)
    found = {name.lower() for name in answer.headers.keys()}
    assert found - HTTP <= set(described(path, "post", status)["headers"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_has_the_headers_that_are_described_and_no_limits(holder, path):
    answer = holder(rpm=10**6, tpm=10**9).get(path)
    found = {name.lower() for name in answer.headers.keys()} - HTTP
    assert found == set(described(path, "get", 200)["headers"]) == ALWAYS


@pytest.mark.parametrize(
    "error", [errors.InvalidRequest(), errors.URITooLong(), errors.HeadersTooLarge()]
)
def test_refusals_of_what_never_became_a_request_have_what_is_said_of_every_answer(error):
    found = set(Reply(raw(error, "req_1")).headers) - HTTP
    every = described("/healthz", "get", error.status)["headers"]
    assert found == set(every) >= ALWAYS


def test_call_whose_process_has_died_is_described_as_it_is_answered():
    assert "`worker_lost`" in described(CHAT, "post", 503)["description"]
    assert "`worker_lost`" not in described(CHAT, "post", 500)["description"]


def test_headers_of_a_client_that_are_heeded_are_described(app):
    found = document()
    names = {
        found["components"]["parameters"][one["$ref"].rpartition("/")[2]]["name"].lower()
        for one in found["paths"][CHAT]["post"]["parameters"]
    }
    patience = {name.removeprefix("HTTP_").replace("_", "-").lower() for name in PATIENCE}
    trace = {"HTTP_TRACEPARENT": TRACE, "HTTP_TRACESTATE": "a=b", "HTTP_OPENAI_BETA": "x=1"}
    assert len(passed(trace)) == 3
    assert {name.lower() for name in passed(trace)} | patience <= names


@pytest.mark.parametrize("status", [200, 202, 422])
def test_answers_that_may_be_replayed_say_so(status):
    assert "idempotent-replayed" in described(CHAT, "post", status)["headers"]


def test_stream_that_is_taken_up_again_has_no_header_that_is_not_described(holder):
    client = holder(rpm=10**6)
    asked = {"model": "gpt-test", "input": "hi", "background": True}
    id = client.post(RESPONSES, json=asked).json["id"]
    answer = client.get(f"{RESPONSES}/{id}?stream=true")
    found = {name.lower() for name in answer.headers.keys()}
    answer.close()
    assert answer.status_code == 200 and "x-accel-buffering" in found
    assert found - HTTP <= set(described("/v1/responses/{id}", "get", 200)["headers"])


def closable():
    """Yield the (path, method, endpoint) of all that a key may be kept from."""
    named = {"chat/completions": "chat"}
    for path, methods in document()["paths"].items():
        name = path.removeprefix("/v1/").partition("/{")[0]
        endpoint = named.get(name, name)
        if endpoint in ENDPOINTS:
            yield from ((path, method, endpoint) for method in methods)


CLOSABLE = list(closable())


def test_endpoints_that_a_key_may_be_kept_from_are_found():
    assert len(CLOSABLE) == 7


@pytest.mark.parametrize("path, method, endpoint", CLOSABLE)
def test_key_that_may_not_use_an_endpoint_is_told_so_as_described(holder, path, method, endpoint):
    others = tuple(name for name in ENDPOINTS if name != endpoint)
    client = holder(rpm=10**6, endpoints=others)
    answer = client.open(re.sub(r"{\w+}", "resp_1", path), method=method.upper(), json={})
    refused(answer, 403, "endpoint_not_allowed")
    found = described(path, method, 403)
    assert "`endpoint_not_allowed`" in found["description"]
    assert {name.lower() for name in answer.headers.keys()} - HTTP <= set(found["headers"])
