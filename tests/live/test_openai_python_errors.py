"""What openai-python raises for each failure, and when it tries again."""

import time

import openai
import pytest

from gateway import mock
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401

pytestmark = pytest.mark.live

HELLO = [{"role": "user", "content": "Say this is a test"}]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(
        base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=10
    ) as found:
        yield found


class Raised:
    """An exception of the SDK and what its attributes say."""

    def __init__(self, kind, status, code, param=None, type="invalid_request_error"):
        self.kind, self.found = kind, (status, code, param, type)

    def check(self, caught):
        error = caught.value
        assert type(error) is self.kind
        assert (error.status_code, error.code, error.param, error.type) == self.found
        assert error.request_id.startswith("req_")
        assert error.response.headers["x-should-retry"] in ("true", "false")


def chat(model="gpt-test", **more):
    return lambda client: client.chat.completions.create(model=model, messages=HELLO, **more)


def upstream_says(status):
    return chat(f"mock-{status}")


ERRORS = {
    "wrong type": (
        lambda client: client.chat.completions.create(model="gpt-test", messages="hi"),
        Raised(openai.BadRequestError, 400, "invalid_type", "messages"),
    ),
    "missing model": (
        lambda client: client.chat.completions.create(model="", messages=HELLO),
        Raised(openai.BadRequestError, 400, "missing_required_parameter", "model"),
    ),
    "out of bounds": (
        chat(temperature=3),
        Raised(openai.BadRequestError, 400, "decimal_above_max_value", "temperature"),
    ),
    "steering": (
        chat(extra_body={"api_base": "http://127.0.0.2"}),
        Raised(openai.BadRequestError, 400, "unknown_parameter", "api_base"),
    ),
    "no stream": (
        chat("whole-only", stream=True),
        Raised(openai.BadRequestError, 400, "stream_not_supported", "stream"),
    ),
    "upstream refuses to stream": (
        chat("mock-no-stream", stream=True),
        Raised(openai.BadRequestError, 400, "stream_not_supported", "stream"),
    ),
    "endpoint not spoken": (
        lambda client: client.embeddings.create(model="whole-only", input="a"),
        Raised(openai.BadRequestError, 400, "endpoint_not_supported", "model"),
    ),
    "context length": (
        chat("mock-context-length"),
        Raised(openai.BadRequestError, 400, "context_length_exceeded", "messages"),
    ),
    "wrong key": (
        lambda client: client.with_options(api_key="sk-wrong").models.list(),
        Raised(openai.AuthenticationError, 401, "invalid_api_key"),
    ),
    "unknown model": (
        chat("nope"),
        Raised(openai.NotFoundError, 404, "model_not_found", "model"),
    ),
    "unknown model retrieved": (
        lambda client: client.models.retrieve("no/pe"),
        Raised(openai.NotFoundError, 404, "model_not_found", "model"),
    ),
    "unknown url": (
        lambda client: client.fine_tuning.jobs.list(),
        Raised(openai.NotFoundError, 404, "unknown_url"),
    ),
    "previous response": (
        lambda client: client.responses.create(
            model="gpt-test", input="a", previous_response_id="resp_x"
        ),
        Raised(openai.NotFoundError, 404, "response_not_found", "previous_response_id"),
    ),
    "wrong method": (
        lambda client: client.post("/models", body={}, cast_to=object),
        Raised(openai.APIStatusError, 405, "method_not_allowed"),
    ),
    "conflict at the upstream": (
        upstream_says(409),
        Raised(openai.ConflictError, 409, "conflict"),
    ),
    "too large": (
        lambda client: client.embeddings.create(model="gpt-test", input="a" * 1100000),
        Raised(openai.APIStatusError, 413, "request_too_large"),
    ),
    "wrong content type": (
        chat(extra_headers={"Content-Type": "text/plain"}),
        Raised(openai.APIStatusError, 415, "unsupported_content_type"),
    ),
    "wrong content encoding": (
        chat(extra_headers={"Content-Encoding": "gzip"}),
        Raised(openai.APIStatusError, 415, "unsupported_content_encoding"),
    ),
    "refused by the upstream": (
        upstream_says(422),
        Raised(openai.UnprocessableEntityError, 422, "mock"),
    ),
    "limited at the upstream": (
        upstream_says(429),
        Raised(openai.RateLimitError, 429, "rate_limit_exceeded", None, "rate_limit_error"),
    ),
    "upstream failed": (
        upstream_says(500),
        Raised(openai.InternalServerError, 502, "upstream_bad_response", None, "upstream_error"),
    ),
    "upstream reset": (
        chat("mock-reset"),
        Raised(openai.InternalServerError, 502, "upstream_reset", None, "upstream_error"),
    ),
    "upstream said HTML": (
        chat("mock-html", stream=True),
        Raised(openai.InternalServerError, 502, "upstream_bad_response", None, "upstream_error"),
    ),
    "key refused by the upstream": (
        upstream_says(401),
        Raised(openai.InternalServerError, 502, "upstream_auth_failed", None, "upstream_error"),
    ),
    "forbidden by the upstream": (
        upstream_says(403),
        Raised(openai.InternalServerError, 502, "upstream_auth_failed", None, "upstream_error"),
    ),
    "upstream overloaded": (
        upstream_says(503),
        Raised(openai.InternalServerError, 503, "no_healthy_upstream", None, "server_error"),
    ),
    "upstream silent": (
        chat("mock-hang", stream=True),
        Raised(openai.InternalServerError, 504, "upstream_timeout", "first_token", "timeout_error"),
    ),
    "upstream slow as a whole": (
        chat("mock-hang"),
        Raised(openai.InternalServerError, 504, "upstream_timeout", "total", "timeout_error"),
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_raises_its_class_with_code_and_param(client, name):
    ask, raised = ERRORS[name]
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)

    raised.check(caught)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("mock-cut-after-3", "upstream_reset"),
        ("mock-end-after-3", "upstream_reset"),
        ("mock-error-after-3", "upstream_bad_response"),
        ("mock-bad-json-after-3", "upstream_bad_response"),
        ("mock-stall-after-3", "upstream_timeout"),
    ],
)
def test_fault_in_the_middle_of_a_chat_raises_an_api_error(client, model, code):
    seen = []
    with client.chat.completions.create(model=model, messages=HELLO, stream=True) as stream:
        with pytest.raises(openai.APIError) as caught:
            seen.extend(stream)

    assert type(caught.value) is openai.APIError
    assert caught.value.code == code
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("model", "code"),
    [("mock-cut-after-5", "upstream_reset"), ("mock-stall-after-5", "upstream_timeout")],
)
def test_fault_in_the_middle_of_a_response_is_its_failed_event(client, model, code):
    with client.responses.create(model=model, input="Say hello", stream=True) as stream:
        events = list(stream)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code == code


@pytest.mark.parametrize(
    ("model", "error", "count"),
    [
        ("mock-503", openai.InternalServerError, 3),
        ("mock-reset-in-head", openai.InternalServerError, 3),
        ("mock-500", openai.InternalServerError, 3),
        ("mock-400", openai.BadRequestError, 1),
        ("mock-409", openai.ConflictError, 1),
        ("mock-402", openai.InternalServerError, 1),
        ("mock-stall-in-head", openai.InternalServerError, 1),
    ],
)
def test_sdk_retries_what_the_gateway_tells_it_to_and_nothing_else(
    client, upstream, model, error, count
):
    since = upstream.received
    with pytest.raises(error):
        chat(model)(client.with_options(max_retries=2))

    assert upstream.received - since == count


def test_sdk_waits_as_long_as_the_upstream_s_retry_after(client, upstream):
    since, begun = upstream.received, time.monotonic()
    upstream.enqueue(mock.error(429, "Slow down.", headers={"retry-after": "1"}))
    answer = chat("team/llm-a")(client.with_options(max_retries=1))

    assert answer.choices[0].message.content
    assert upstream.received - since == 2
    assert 0.9 < time.monotonic() - begun < 3


def test_limit_that_lasts_reaches_the_upstream_only_once(client, upstream):
    since = upstream.received
    for _ in range(3):
        with pytest.raises(openai.RateLimitError) as caught:
            chat("mock-429-60")(client)

    assert upstream.received - since == 1
    headers = caught.value.response.headers
    assert 50_000 < int(headers["retry-after-ms"]) <= 60_000
    assert headers["x-gateway-error-source"] == "upstream"
