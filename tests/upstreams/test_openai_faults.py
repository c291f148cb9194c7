"""Calls to an upstream that fails: what becomes of its faults, and what it does not tell."""

import pytest

from gateway import errors
from gateway.mock import answers, fault, json, whole
from gateway.upstreams import openai
from tests.upstreams.calling import CALLED, SECRET, STREAMED, asked, configured, events

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}


@CALLED
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_a_bad_answer_and_never_followed(calls, upstream, upstreams, way, status):
    elsewhere = upstreams()
    upstream.enqueue(answers.redirect(elsewhere.url, status))
    with pytest.raises(errors.UpstreamBadResponse):
        asked(calls, calls.upstream(upstream.url), way)
    assert elsewhere.connections == 0


@CALLED
@pytest.mark.parametrize("location", ["", "\xff\xfe", "http://[", "//", None])
def test_redirect_to_nowhere_is_a_bad_answer(calls, upstream, way, location):
    headers = {} if location is None else {"location": location}
    upstream.enqueue(whole(status=302, headers=headers))
    with pytest.raises(errors.UpstreamBadResponse):
        asked(calls, calls.upstream(upstream.url), way)


# The mock's models that fail before the first event, and what the client is told.
FAULTS = {
    "mock-close": (errors.UpstreamReset, False),
    "mock-reset": (errors.UpstreamReset, False),
    "mock-reset-in-head": (errors.UpstreamReset, True),
    "mock-close-in-head": (errors.UpstreamBadResponse, False),
    "mock-garbage": (errors.UpstreamBadResponse, False),
    "mock-bare-lf": (errors.UpstreamBadResponse, False),
    "mock-long-header": (errors.UpstreamBadResponse, False),
    "mock-many-headers": (errors.UpstreamBadResponse, False),
    "mock-huge-head": (errors.UpstreamBadResponse, False),
    "mock-101": (errors.UpstreamBadResponse, False),
    "mock-length-and-chunks": (errors.UpstreamBadResponse, False),
    "mock-truncated": (errors.UpstreamReset, True),
    "mock-cut-after-0": (errors.UpstreamReset, True),
    "mock-close-after-0": (errors.UpstreamReset, True),
    "mock-bad-chunk-after-0": (errors.UpstreamBadResponse, False),
    "mock-long-chunk-size-after-0": (errors.UpstreamBadResponse, False),
    "mock-html": (errors.UpstreamBadResponse, False),
    "mock-500-html": (errors.UpstreamBadResponse, False),
    "mock-empty": (errors.UpstreamBadResponse, False),
    "mock-204": (errors.UpstreamBadResponse, False),
    "mock-bad-gzip": (errors.UpstreamBadResponse, False),
    "mock-gzip-bomb": (errors.UpstreamBadResponse, False),
    "mock-gzip-nested": (errors.UpstreamBadResponse, False),
    "mock-200-error": (errors.UpstreamError, None),
    "mock-400": (errors.UpstreamRefused, False),
    "mock-400-llama": (errors.UpstreamRefused, False),
    "mock-401": (errors.UpstreamAuthFailed, False),
    "mock-403": (errors.UpstreamAuthFailed, False),
    "mock-429-7": (errors.RateLimited, False),
    "mock-503": (errors.NoHealthyUpstream, False),
}


@CALLED
@pytest.mark.parametrize("model", FAULTS)
def test_fault_before_the_first_event_is_an_error(calls, upstream, way, model):
    kind, began = FAULTS[model]
    upstream.always(fault(model))
    with pytest.raises(errors.GatewayError) as found:
        asked(calls, calls.upstream(upstream.url), way)
    assert isinstance(found.value, kind) and began in (found.value.began, None)
    assert SECRET not in str(found.value.body())


STREAM_FAULTS = {
    "mock-cut-after-3": errors.UpstreamReset,
    "mock-close-after-3": errors.UpstreamReset,
    "mock-end-after-3": errors.UpstreamReset,
    "mock-bad-json-after-3": errors.UpstreamBadResponse,
    "mock-bad-utf8-after-3": errors.UpstreamBadResponse,
    "mock-nan-after-3": errors.UpstreamBadResponse,
    "mock-scalar-after-3": errors.UpstreamBadResponse,
    "mock-error-after-3": errors.UpstreamError,
    "mock-bad-chunk-after-3": errors.UpstreamBadResponse,
    "mock-long-chunk-size-after-3": errors.UpstreamBadResponse,
    "mock-long-line-after-3": errors.UpstreamBadResponse,
    "mock-long-event-after-3": errors.UpstreamBadResponse,
}


@STREAMED
@pytest.mark.parametrize("model", STREAM_FAULTS)
def test_fault_in_the_middle_comes_behind_what_was_good(calls, upstream, endpoint, model):
    upstream.always(fault(model))
    call = calls.call(endpoint, stream=True)
    blocks = []
    with pytest.raises(STREAM_FAULTS[model]):
        for block in calls.upstream(upstream.url).stream(call, "m"):
            blocks.append(block)
    assert len(events(blocks)) == 3
    upstream.wait_idle()


GOOD = ["mock-100", "mock-103", "mock-odd-headers", "mock-unframed", "mock-split-1", "mock-split-7"]


GOOD += ["mock-odd-sse", "mock-gzip", "mock-json", "mock-no-done", "mock-careless"]


@STREAMED
@pytest.mark.parametrize("model", GOOD)
def test_odd_but_legal_answer_is_a_good_stream(calls, upstream, endpoint, model):
    upstream.always(fault(model))
    found = events(asked(calls, calls.upstream(upstream.url), "stream", endpoint))
    assert found[-1] == ("", "[DONE]") and len(found) >= 2


@pytest.mark.parametrize("endpoint", PATHS)
@pytest.mark.parametrize("model", ["mock-100", "mock-103", "mock-odd-headers", "mock-gzip"])
def test_odd_but_legal_answer_is_a_good_whole(calls, upstream, endpoint, model):
    upstream.always(fault(model))
    assert asked(calls, calls.upstream(upstream.url), "whole", endpoint).usage


def test_refusal_of_any_size_keeps_its_status(calls, upstream):
    long = {"detail": [{"msg": "Bad.", "input": "x" * 500_000}]}
    upstream.always(json(long, 422))
    for way in ("whole", "stream"):
        with pytest.raises(errors.UpstreamRefused) as found:
            asked(calls, calls.upstream(upstream.url), way)
        assert (found.value.status, found.value.message) == (422, "Bad.")


def test_refusal_of_streaming_is_told_as_such(calls, upstream):
    upstream.always(fault("mock-no-stream"))
    with pytest.raises(errors.StreamNotSupported):
        asked(calls, calls.upstream(upstream.url), "stream")


@CALLED
@pytest.mark.parametrize("how", [f"Bearer {SECRET}", SECRET, "{address}", "header-secret-12345"])
def test_secrets_that_an_upstream_repeats_are_not_passed_on(calls, upstream, way, how):
    said = f"Bad: {how.format(address=f'127.0.0.1:{upstream.port}')}"
    mock = calls.upstream(upstream.url, headers={"api-key": "header-secret-12345", "x-a": "Bad"})
    told = {"message": said, "type": said, "param": said, "code": said}
    upstream.enqueue(json({"error": told}, 400), json({"error": told}))
    for _ in range(2):
        with pytest.raises(errors.GatewayError) as found:
            asked(calls, mock, way)
        assert said not in str(found.value.body()) and "Bad:" not in str(found.value.body())


@pytest.mark.parametrize(
    "settings, found",
    [
        ({}, {SECRET, "127.0.0.1:1"}),
        ({"api_key": "none"}, {"127.0.0.1:1"}),
        ({"api_key": ""}, {"127.0.0.1:1"}),
        ({"headers": {"x": "Token abcdefgh12345678"}}, {SECRET, "127.0.0.1:1", "abcdefgh12345678"}),
        ({"headers": {"x": "2023-06-01"}}, {SECRET, "127.0.0.1:1"}),
        ({"headers": {"x": ""}}, {SECRET, "127.0.0.1:1"}),
        ({"base_url": "http://vllm/v1"}, {SECRET}),
        ({"base_url": "https://llm.example.com/v1"}, {SECRET, "llm.example.com"}),
    ],
)
def test_secrets_are_what_no_client_should_know_and_no_common_words(settings, found):
    made = configured(**{"url": "http://127.0.0.1:1/v1"})
    made = configured(settings.pop("base_url", made.base_url), **settings)
    assert set(openai.secrets(made)) == found
