import io
import json
import struct

import pytest
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkSize,
    LimitRequestHeaders,
    NoMoreData,
)

from tests.endpoints.refused import refused

CHAT = "/v1/chat/completions"
GOOD = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say hi"}]}
BODY = json.dumps(GOOD).encode()


def send(client, data, content_type="application/json", **how):
    return client.post(CHAT, data=data, content_type=content_type, **how)


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b'{"a": 1,}', b"{}{}", b"{}//x", b'{"a": 01}', b'{"a": "\x01"}',
        b"{'a': 1}", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e400}',
        b'{"a": %s}' % (b"9" * 21), b'{"a": %s}' % (b"9" * 4301), b'{"a": 1, "a": 1}',
        b'{"a": %s}' % (b"[" * 250 + b"]" * 250), b"[" * 100_000, b'{"a":' * 100_000,
        b"\xef\xbb\xbf" + BODY, BODY.decode().encode("utf-16"), BODY.decode().encode("utf-32"),
        b'{"a": "\xff"}', b'{"a": "\xc0\x80"}', b'{"a": "\xed\xa0\x80"}', b'{"a": "\\ud800"}',
        b"[]", b"null", b'"x"', b"1", b"true", b'{"a": [%s]}' % (b"1," * 250_000 + b"1"),
    ],
)  # fmt: skip
def test_what_is_no_strict_json_object_is_invalid_json(client, data):
    error = refused(send(client, data), 400, "invalid_json")

    assert error["message"].startswith("We could not parse the JSON body of your request")


@pytest.mark.parametrize("text", ["\u0000", "𝄞", "\\ud834\\udd1e", "\u2028", "é", "💩" * 1000])
def test_any_other_text_reaches_the_upstream_as_it_is(client, upstream, text):
    body = {**GOOD, "messages": [{"role": "user", "content": text}]}
    assert send(client, json.dumps(body)).status_code == 200
    assert send(client, json.dumps(body, ensure_ascii=False).encode()).status_code == 200

    assert [asked.json["messages"] for asked in upstream.requests[-2:]] == [body["messages"]] * 2


@pytest.mark.parametrize("line", ["12,34,abc\n", '{"k": ["v", {}]},\\', "," * 10])
def test_message_full_of_commas_and_brackets_reaches_the_upstream(client, upstream, line):
    text = line * (780_000 // len(json.dumps(line)))
    body = {**GOOD, "messages": [{"role": "user", "content": text}]}
    assert send(client, json.dumps(body)).status_code == 200

    assert upstream.requests[-1].json["messages"] == body["messages"]


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/vnd.api+json", "application/json; charset=latin-1", "json", "*/*",
     "application/json, application/json"],
)  # fmt: skip
def test_other_content_type_is_415(client, kind):
    refused(send(client, BODY, kind), 415, "unsupported_content_type")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "APPLICATION/JSON", "application/json;charset=utf-8",
     'application/json; charset="UTF-8"', "application/json; charset=utf8",
     "application/json;", "application/json; profile=x"],
)  # fmt: skip
def test_json_in_utf_8_is_read_however_it_is_called(client, kind):
    assert send(client, BODY, kind).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, identity", "x"])
def test_compressed_body_is_415(client, coding):
    answer = send(client, BODY, headers={"Content-Encoding": coding})
    refused(answer, 415, "unsupported_content_encoding")


def test_model_that_is_not_there_is_told_before_anything_else(client):
    for model in ("", None):
        error = refused(
            send(client, json.dumps({"model": model, "messages": 5})),
            400, "missing_required_parameter", "model",
        )  # fmt: skip
        assert error["message"] == "you must provide a model parameter"
    refused(send(client, b"{}"), 400, "missing_required_parameter", "model")
    refused(send(client, b'{"model": 5}'), 400, "invalid_type", "model")
    refused(send(client, b'{"model": "nope", "messages": 5}'), 404, "model_not_found", "model")


def test_model_s_name_cannot_break_the_answer(client):
    for name in ("../../x", "a\nb", "x" * 5000, "<script>", "mock-\x00", "\u202e"):
        answer = send(client, json.dumps({**GOOD, "model": name}))
        refused(answer, 404, "model_not_found", "model")
        assert len(answer.data) < 2000


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "options"])
def test_method_is_checked_before_the_body(client, method):
    answer = getattr(client, method)(CHAT, data=b"{bad", content_type="text/plain")
    error = refused(answer, 405, "method_not_allowed")

    assert answer.headers["allow"] == "POST"
    assert error["message"] == (
        f"Not allowed to {method.upper()} on {CHAT}. "
        "(HINT: Perhaps you meant to use a different HTTP method?)"
    )


def test_type_then_size_then_json_are_checked_in_that_order(client):
    large = b"x" * (1024 * 1024 + 1)
    refused(send(client, large, "text/plain"), 415, "unsupported_content_type")
    refused(send(client, large), 413, "request_too_large")
    refused(send(client, large[:-1]), 400, "invalid_json")


def test_body_just_at_the_limit_is_read(client):
    assert send(client, BODY.ljust(1024 * 1024)).status_code == 200


class Raising(io.BytesIO):
    """A body whose reading fails in one of gunicorn's ways."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def read(self, *size):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidChunkSize(b"zz"), 400, "bad_request"),
        (ChunkMissingTerminator(b"x"), 400, "bad_request"),
        (NoMoreData(), 400, "bad_request"),
        (LimitRequestHeaders("trailers"), 431, "headers_too_large"),
    ],
)
def test_broken_chunks_are_the_client_s_fault(client, error, status, code):
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": Raising(error)}
    answer = client.post(CHAT, content_type="application/json", environ_overrides=headers)
    refused(answer, status, code)


def test_body_shorter_than_its_length_is_refused(client):
    answer = send(client, BODY, environ_overrides={"CONTENT_LENGTH": str(len(BODY) + 1)})
    refused(answer, 400, "bad_request")


def test_chunked_body_above_the_limit_is_413_and_not_cut(client):
    body = io.BytesIO(BODY.ljust(1024 * 1024) + b"garbage")
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": body}
    answer = client.post(CHAT, content_type="application/json", environ_overrides=headers)
    refused(answer, 413, "request_too_large")


def test_client_that_leaves_while_it_sends_is_noted_as_gone(client, lines):
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": Raising(ConnectionResetError())}
    client.post(CHAT, content_type="application/json", environ_overrides=headers).close()

    assert [(line["status"], line["end"]) for line in lines] == [(499, "cancelled")]


@pytest.mark.parametrize("name", ["api_base", "base_url", "api_key", "api_version",
                                  "custom_llm_provider", "extra_headers"])  # fmt: skip
def test_parameter_that_would_steer_the_connection_is_refused(client, upstream, name):
    count = upstream.received
    refused(send(client, json.dumps({**GOOD, name: "x"})), 400, "unknown_parameter", name)
    assert upstream.received == count


def test_what_was_checked_is_what_is_sent(client, upstream):
    odd = BODY.replace(b", ", b" ,\n\t").replace(b"hi", b"\\u0068i")
    send(client, odd)

    assert upstream.requests[-1].body == (
        b'{"model":"upstream-model","messages":[{"role":"user","content":"Say hi"}]}'
    )
    sent = upstream.requests[-1].headers
    assert sent["content-type"] == "application/json"
    assert sent["authorization"] == "Bearer sk-upstream-secret"


def test_numbers_reach_the_upstream_as_they_were(client, upstream):
    body = {**GOOD, "temperature": 0.1, "seed": 2**62, "future": [1.5, -0.0, 2**64 - 1, 1e300]}
    send(client, json.dumps(body))

    assert upstream.requests[-1].json["future"] == body["future"]
    assert struct.pack("d", upstream.requests[-1].json["future"][1]) == struct.pack("d", -0.0)
