"""What an upstream's failure means to the client, and what it never tells."""

from email.utils import formatdate

import orjson
import pytest
from requests import exceptions

from gateway import errors
from gateway.upstreams import faults
from gateway.upstreams.transport import Reset

SECRETS = ("sk-upstream-secret", "10.0.0.5:8000")
NOW = 1_700_000_000


def refused(status, body=b"", headers=(), secrets=SECRETS):
    """Return the error for an answer; `body` is bytes, or an object to write as JSON."""
    body = body if isinstance(body, bytes) else orjson.dumps(body)
    return faults.refusal(status, dict(headers), body, "asked-model", secrets)


@pytest.mark.parametrize(
    "exc, kind, began",
    [
        (exceptions.ConnectTimeout(), errors.UpstreamTimeout, False),
        (exceptions.ReadTimeout(), errors.UpstreamTimeout, False),
        (exceptions.ConnectionError(), errors.UpstreamUnreachable, False),
        (exceptions.SSLError(), errors.UpstreamUnreachable, False),
        (exceptions.ProxyError(), errors.UpstreamUnreachable, False),
        (Reset("x"), errors.UpstreamReset, False),
        (Reset("x", began=True), errors.UpstreamReset, True),
        (exceptions.ChunkedEncodingError(), errors.UpstreamReset, True),
        (exceptions.InvalidHeader(), errors.UpstreamBadResponse, False),
        (exceptions.ContentDecodingError(), errors.UpstreamBadResponse, False),
        (exceptions.InvalidURL(), errors.UpstreamBadResponse, False),
    ],
)
def test_every_exception_of_the_transport_has_a_meaning(exc, kind, began):
    found = faults.of(exc)
    assert type(found) is kind and found.began is began
    assert found.source == "upstream" and found.upstream_status is None
    if kind is errors.UpstreamTimeout:
        timer = "connect" if isinstance(exc, exceptions.ConnectTimeout) else "total"
        assert (found.param, found.retry) == (timer, timer == "connect")


OPENAI = {
    "error": {
        "message": "No.",
        "type": "invalid_request_error",
        "param": "messages[2].role",
        "code": "invalid_value",
    }
}
MEANINGS = [
    (301, errors.UpstreamBadResponse, 502),
    (302, errors.UpstreamBadResponse, 502),
    (307, errors.UpstreamBadResponse, 502),
    (204, errors.UpstreamBadResponse, 502),
    (206, errors.UpstreamBadResponse, 502),
    (400, errors.UpstreamRefused, 400),
    (401, errors.UpstreamAuthFailed, 502),
    (402, errors.UpstreamAuthFailed, 502),
    (403, errors.UpstreamAuthFailed, 502),
    (404, errors.UpstreamRefused, 404),
    (407, errors.UpstreamAuthFailed, 502),
    (408, errors.UpstreamTimeout, 504),
    (409, errors.UpstreamRefused, 409),
    (413, errors.UpstreamRefused, 413),
    (422, errors.UpstreamRefused, 422),
    (429, errors.RateLimited, 429),
    (500, errors.UpstreamBadResponse, 502),
    (502, errors.UpstreamBadResponse, 502),
    (503, errors.NoHealthyUpstream, 503),
    (504, errors.UpstreamBadResponse, 502),
    (529, errors.NoHealthyUpstream, 503),
    (599, errors.UpstreamBadResponse, 502),
]


@pytest.mark.parametrize("status, kind, ours", MEANINGS)
@pytest.mark.parametrize("body", [b"", b"<html>Oops</html>", b'"\xff"', OPENAI])
def test_every_status_has_a_meaning(status, kind, ours, body):
    found = refused(status, body)
    assert type(found) is kind and found.status == ours
    assert found.upstream_status == status and found.source == "upstream"
    shown = found.body()["error"]
    assert list(shown) == ["message", "type", "param", "code"]
    assert shown["message"] and isinstance(shown["code"], str)
    assert "html" not in str(shown).lower()
    assert (shown["message"] == "No.") == (kind is errors.UpstreamRefused and body is OPENAI)


def test_refusal_is_passed_on_with_its_own_words():
    found = refused(422, OPENAI)
    assert found.body() == OPENAI
    assert found.status == 422 and found.retry is False


LLAMA = {"code": 400, "message": "Too long.", "type": "exceed_context_size_error", "n_ctx": 2048}


@pytest.mark.parametrize(
    "body, message, kind, param, code",
    [
        ({"error": LLAMA}, "Too long.", LLAMA["type"], None, "context_length_exceeded"),
        ({"error": "No."}, "No.", "invalid_request_error", None, "bad_request"),
        ({"message": "No.", "code": 400}, "No.", "invalid_request_error", None, "bad_request"),
        ({"detail": "Not Found"}, "Not Found", "invalid_request_error", None, "bad_request"),
        (
            {"detail": [{"loc": ["body"], "msg": "Field required"}]},
            "Field required",
            "invalid_request_error",
            None,
            "bad_request",
        ),
        ({"error": None, "message": "No."}, "No.", "invalid_request_error", None, "bad_request"),
        (
            {"error": {"message": "No.", "type": 5, "param": [], "code": {}}},
            "No.",
            None,
            None,
            None,
        ),
        ({"error": {"message": ["No."]}}, None, None, None, None),
        ({"error": {}}, None, None, None, None),
        ({"detail": []}, None, None, None, None),
        ({"detail": [5]}, None, None, None, None),
        ([], None, None, None, None),
        (b"refused", None, None, None, None),
        (b"", None, None, None, None),
    ],
)
def test_refusal_that_is_not_openais_is_reshaped(body, message, kind, param, code):
    assert refused(400, body).body()["error"] == {
        "message": message or "The upstream refused the request with status 400.",
        "type": kind or "invalid_request_error",
        "param": param,
        "code": code or "bad_request",
    }


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ["message", "type", "param", "code"])
@pytest.mark.parametrize("way", ["refusal", "event", "detail"])
def test_nothing_that_an_upstream_says_tells_a_secret(secret, name, way):
    told = {**OPENAI["error"], name: f"Bad {secret}!"}
    if way == "refusal":
        found = refused(400, {"error": told})
    elif way == "detail":
        found = refused(400, {"detail": f"Bad {secret}!"})
    else:
        found = faults.in_stream(told, "asked-model", SECRETS)
    assert secret not in str(found.body()) and found.message


def test_upstream_without_secrets_keeps_its_words():
    assert refused(400, OPENAI, secrets=()).message == "No."


def test_message_is_cut_to_what_a_client_can_bear():
    assert len(refused(400, {"error": {"message": "x" * 100_000}}).message) == 4000


@pytest.mark.parametrize("told", [{"param": "stream"}, {"code": "stream_not_supported"}])
def test_refusal_of_streaming_is_told_as_such(told):
    found = refused(400, {"error": {"message": "No.", **told}})
    assert isinstance(found, errors.StreamNotSupported)
    assert (found.param, found.upstream_status) == ("stream", 400)


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "-5"}, 1),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "9999"}, 120),
        ({"retry-after": "1e99"}, 120),
        ({"retry-after": "inf"}, 120),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7, 8"}, None),
        ({"retry-after-ms": "2500"}, 2.5),
        ({"retry-after-ms": "10"}, 1),
        ({"retry-after-ms": "2500", "retry-after": "7"}, 2.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": formatdate(NOW + 9999, usegmt=True)}, 120),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 1),
        ({"retry-after": formatdate(NOW + 30)}, 30),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        ({"retry-after": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:50 GMT"}, None),
        ({"retry-after": "Tue, 14 Nov 99999 22:13:50 GMT"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 +" + "9" * 30}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms_and_kept_in_bounds(headers, seconds):
    assert faults.retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize("status", [429, 503, 529])
def test_wait_that_an_upstream_asks_for_is_passed_on(status):
    assert refused(status, headers={"retry-after": "7"}).headers()["retry-after"] == "7"
    assert refused(status).headers()["retry-after-ms"] == "1000"
    date = formatdate(NOW, usegmt=True)
    assert refused(status, headers={"retry-after": date}).retry_after == 1


@pytest.mark.parametrize(
    "told",
    [
        {"code": "insufficient_quota", "type": "insufficient_quota"},
        {"code": "insufficient_quota", "type": "rate_limit_error"},
        {"code": "rate_limit_exceeded", "type": "insufficient_quota"},
        {"code": None, "type": "insufficient_quota"},
        {"code": "billing_not_active", "type": "billing_not_active"},
    ],
)
def test_429_of_an_account_without_money_is_our_fault_and_no_wait_mends_it(told):
    body = {"error": {"message": "You exceeded your current quota.", **told}}
    for found in (refused(429, body), refused(429, body["error"], {"retry-after": "7"})):
        assert isinstance(found, errors.UpstreamAuthFailed)
        assert (found.status, found.code, found.retry) == (502, "upstream_auth_failed", False)
        assert found.upstream_status == 429 and "retry-after" not in found.headers()
        assert "quota" not in str(found.body())


@pytest.mark.parametrize("status", [400, 422])
def test_word_for_money_in_another_refusal_changes_nothing(status):
    found = refused(status, {"error": {"message": "No.", "code": "insufficient_quota"}})
    assert (type(found), found.status) == (errors.UpstreamRefused, status)


@pytest.mark.parametrize("code", [["insufficient_quota"], {"insufficient_quota": 1}, 5, True, None])
def test_429_with_an_odd_code_is_a_rate_limit(code):
    assert isinstance(refused(429, {"error": {"code": code, "type": code}}), errors.RateLimited)


@pytest.mark.parametrize("code", ["400", 399, 600, 400.0, True, None])
def test_code_that_is_no_status_is_none(code):
    found = faults.in_stream({"message": "No.", "code": code}, "asked-model")
    assert type(found) is errors.UpstreamError and found.status == 502


def test_answer_that_was_cut_had_begun():
    assert faults.cut().began and faults.cut().status == 502
