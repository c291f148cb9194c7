import inspect
import re

import pytest

from gateway import errors, failures

# What a class needs to be made where it takes more than a message.
ARGUMENTS = {
    "MissingParameter": ("messages",),
    "UnknownParameter": ("api_base",),
    "EndpointNotSupported": ("m", "/v1/embeddings"),
    "StreamNotSupported": ("m",),
    "ModelNotFound": ("m",),
    "MethodNotAllowed": ("GET", "/v1/x", {"POST", "DELETE"}),
    "RequestTooLarge": (100,),
    "UpstreamTimeout": ("connect",),
    "UpstreamRefused": (422, "The upstream's words."),
}
# Status, type, code and whether the SDKs are to try again.
CONTRACT = """
400 invalid_request_error invalid_json                 false InvalidJSON
400 invalid_request_error endpoint_not_supported       false EndpointNotSupported
400 invalid_request_error invalid_type                 false InvalidType
400 invalid_request_error invalid_value                false InvalidValue
400 invalid_request_error missing_required_parameter   false MissingParameter
400 invalid_request_error unknown_parameter            false UnknownParameter
400 invalid_request_error unsupported_parameter        false UnsupportedParameter
400 invalid_request_error stream_not_supported         false StreamNotSupported
400 invalid_request_error bad_request                  false InvalidRequest
401 invalid_request_error invalid_api_key              false InvalidKey
403 permission_error      endpoint_not_allowed         false EndpointNotAllowed
404 invalid_request_error model_not_found              false ModelNotFound
404 invalid_request_error job_not_found                false JobNotFound
404 invalid_request_error response_not_found           false ResponseNotFound
404 invalid_request_error unknown_url                  false UnknownURL
405 invalid_request_error method_not_allowed           false MethodNotAllowed
408 invalid_request_error request_timeout              false RequestTimeout
409 invalid_request_error idempotency_key_reused       false IdempotencyKeyReused
413 invalid_request_error request_too_large            false RequestTooLarge
414 invalid_request_error uri_too_long                 false URITooLong
415 invalid_request_error unsupported_content_type     false UnsupportedContentType
415 invalid_request_error unsupported_content_encoding false UnsupportedContentEncoding
431 invalid_request_error headers_too_large            false HeadersTooLarge
429 rate_limit_error      rate_limit_exceeded          true  RateLimited
429 rate_limit_error      concurrency_limit_exceeded   true  ConcurrencyLimited
429 rate_limit_error      job_queue_full               true  JobQueueFull
429 rate_limit_error      rate_limit_exceeded          false RequestBeyondLimit
429 insufficient_quota    insufficient_quota           false InsufficientQuota
500 server_error          internal_error               true  InternalError
502 upstream_error        upstream_unreachable         true  UpstreamUnreachable
502 upstream_error        upstream_reset               true  UpstreamReset
502 upstream_error        upstream_bad_response        true  UpstreamBadResponse
502 upstream_error        upstream_auth_failed         false UpstreamAuthFailed
503 server_error          server_overloaded            true  ServerOverloaded
503 server_error          server_draining              true  ServerDraining
503 server_error          no_healthy_upstream          true  NoHealthyUpstream
503 server_error          dependency_unavailable       true  DependencyUnavailable
504 timeout_error         upstream_timeout             true  UpstreamTimeout
"""
ROWS = [line.split() for line in CONTRACT.split("\n") if line]
CLASSES = {
    name: found
    for name, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.GatewayError)
}


def made(name):
    return CLASSES[name](*ARGUMENTS.get(name, ()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[-1])
def test_class_is_the_contract_s_row(row):
    status, type, code, retry, name = row
    error = made(name)

    assert (error.status, error.type, error.code) == (int(status), type, code)
    assert error.headers()["x-should-retry"] == retry
    assert ("retry-after" in error.headers()) == (
        error.status == 503 or (error.status == 429 and retry == "true")
    )


def test_every_class_is_in_the_contract_or_named_as_an_exception():
    apart = {"GatewayError", "Unavailable", "UpstreamError", "UpstreamRefused", "ClientGone"}
    of_jobs = {"WorkerLost", "JobExpired", "JobCancelled"}  # what a job says, never an answer
    of_joined = {"CallLost"}  # a job's code, but of a call
    assert set(CLASSES) - {row[-1] for row in ROWS} == apart | of_jobs | of_joined


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_is_an_openai_error_object(name):
    error = made(name)
    body = error.body()

    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert isinstance(body["error"]["code"], str) and body["error"]["code"]
    assert body["error"]["message"] if name != "UnknownURL" else True
    assert error.headers()["x-gateway-error-source"] in ("gateway", "upstream")
    assert str(error) == error.message


def test_tree_in_the_docstring_is_the_tree_of_classes():
    drawn = re.findall(r"^[ │├└─]*([A-Z]\w+) +(\d+)", errors.__doc__, re.M)
    found = {name: getattr(made(name), "status", None) for name in CLASSES}
    found.pop("GatewayError")
    refused = found.pop("UpstreamRefused")

    assert {name: int(status) for name, status in drawn if name != "UpstreamRefused"} == found
    assert refused == 422 and "UpstreamRefused" in errors.__doc__


def test_delay_is_said_in_seconds_and_milliseconds_rounded_up():
    headers = errors.RateLimited(retry_after=1.2345).headers()
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1235")
    headers = errors.ServerOverloaded().headers()
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "1000")


@pytest.mark.parametrize(
    ("timer", "retry"),
    [("connect", "true"), ("first_token", "false"), ("idle", "false"), ("total", "false")],
)
def test_timeout_names_its_timer_and_only_one_in_connecting_is_worth_a_retry(timer, retry):
    error = errors.UpstreamTimeout(timer)
    assert error.body()["error"]["param"] == timer
    assert error.headers()["x-should-retry"] == retry


def test_method_not_allowed_names_the_others_in_order():
    assert made("MethodNotAllowed").headers()["allow"] == "DELETE, POST"


def test_refusal_keeps_the_upstream_s_own_words():
    error = errors.UpstreamRefused(418, "No tea.", "teapot_error", "cup", "no_tea")
    assert (error.status, error.body()["error"]) == (
        418,
        {"message": "No tea.", "type": "teapot_error", "param": "cup", "code": "no_tea"},
    )
    assert error.headers()["x-gateway-error-source"] == "upstream"


def test_key_error_asks_for_a_bearer_token():
    assert made("InvalidKey").headers()["www-authenticate"] == "Bearer"


def test_reply_is_json_and_says_what_was_tried():
    error = made("UpstreamReset")
    error.routed = {"x-gateway-attempts": "a:429,b:reset"}
    response = failures.reply(error)

    assert (response.status_code, response.content_type) == (502, "application/json")
    assert response.headers["x-gateway-attempts"] == "a:429,b:reset"
    assert response.json == error.body()
