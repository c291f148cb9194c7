"""Requests that are no HTTP, or two readings of it: refused, told of, and the end of the line."""

import pytest

from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.raw import JSON, Reply, ask, chat, connected, post, request
from tests.raw_client import read_all

pytestmark = pytest.mark.live

GET = "GET /v1/models HTTP/1.1"
POST = "POST /v1/chat/completions HTTP/1.1"
MALFORMED = {
    "no request line": (b"GARBAGE\r\n\r\n", 400, "bad_request"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400, "bad_request"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    "TLS hello": (b"\x16\x03\x01\x02\x00" + b"a" * 200 + b"\r\n\r\n", 400, "bad_request"),
    "lower-case method": (request("get /v1/models HTTP/1.1"), 400, "bad_request"),
    "bytes in the path": (request("GET /v1/\xc3\xa9 HTTP/1.1"), 400, "bad_request"),
    "tab in the path": (request("GET /v1/a\tb HTTP/1.1"), 400, "bad_request"),
    "version 3": (request("GET /v1/models HTTP/3.0"), 505, "bad_request"),
    "long URI": (request(f"GET /{'a' * 5000} HTTP/1.1"), 414, "uri_too_long"),
    "huge header": (request(GET, f"X-A: {'a' * 9000}\r\n"), 431, "headers_too_large"),
    "101 headers": (
        request(GET, "".join(f"X-{n}: a\r\n" for n in range(101))),
        431,
        "headers_too_large",
    ),
    "many large headers": (
        request(GET, "".join(f"X-{n}: {'a' * 8000}\r\n" for n in range(12))),
        431,
        "headers_too_large",
    ),
    "folded header": (request(GET, "X-A: a\r\n b\r\n"), 400, "bad_request"),
    "bare LF": (request(GET).replace(b"\r\n", b"\n"), 400, "bad_request"),
    "NUL in a header": (request(GET, "X-A: a\0b\r\n"), 400, "bad_request"),
    "header name with a space": (request(GET, "X-A : a\r\n"), 400, "bad_request"),
    "header with an underscore": (request(GET, "X_A: a\r\n"), 400, "bad_request"),
    "SCRIPT_NAME": (request("GET /admin HTTP/1.1", "SCRIPT_NAME: /v1\r\n"), 400, "bad_request"),
    "no host": (request(GET, host=""), 400, "bad_request"),
    "two hosts": (request(GET, "Host: other\r\n"), 400, "bad_request"),
    "two content types": (post(chat(), headers=JSON + JSON), 400, "bad_request"),
    "unknown coding": (
        request(POST, f"{JSON}Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        501,
        "bad_request",
    ),
    "gzip without chunks": (
        request(POST, f"{JSON}Transfer-Encoding: gzip\r\n", b"0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "coding identity": (
        request(POST, f"{JSON}Transfer-Encoding: identity\r\n", b"{}"),
        400,
        "bad_request",
    ),
    "coding with a space before its colon": (
        request(POST, f"{JSON}Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "coding behind a vertical tab": (
        request(POST, f"{JSON}Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "bare CR in a header": (request(GET, "X-A: a\rX-B: b\r\n"), 400, "bad_request"),
    "no colon": (request(GET, "X-A\r\n"), 400, "bad_request"),
    "header without a name": (request(GET, ": a\r\n"), 400, "bad_request"),
    "chunked twice": (
        request(POST, f"{JSON}Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "chunks in HTTP/1.0": (
        request(POST[:-1] + "0", f"{JSON}Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        400,
        "bad_request",
    ),
    "length and chunks": (
        post(chat(), headers=f"{JSON}Transfer-Encoding: chunked\r\n"),
        400,
        "bad_request",
    ),
    "two lengths": (post(b"{}", headers=f"{JSON}Content-Length: 2\r\n"), 400, "bad_request"),
    "negative length": (request(POST, f"{JSON}Content-Length: -1\r\n"), 400, "bad_request"),
    "signed length": (request(POST, f"{JSON}Content-Length: +2\r\n", b"{}"), 400, "bad_request"),
    "length of two": (
        request(POST, f"{JSON}Content-Length: 2, 2\r\n", b"{}"),
        400,
        "bad_request",
    ),
    "length with an underscore": (
        request(POST, f"{JSON}Content-Length: 1_0\r\n", b"{}"),
        400,
        "bad_request",
    ),
    "length in other digits": (
        request(POST, f"{JSON}Content-Length: \xb2\r\n", b"{}"),
        400,
        "bad_request",
    ),
    "empty length": (request(POST, f"{JSON}Content-Length:\r\n"), 400, "bad_request"),
    "odd expectation": (post(chat(), headers=f"{JSON}Expect: 200-ok\r\n"), 417, "bad_request"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request_gets_an_error_object_an_id_and_a_log_line(gateway, name):
    data, status, code = MALFORMED[name]
    reply = ask(gateway.port, data)

    assert (reply.status, reply.code) == (status, code)
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["connection"] == "close"
    (line,) = gateway.wait_lines(request_id=reply.headers["x-request-id"])
    assert (line["status"], line["code"], line["end"]) == (status, code, "error")


def test_malformed_request_with_a_long_body_can_still_read_its_answer(gateway):
    reply = ask(gateway.port, post(b"x" * 3_000_000, headers=f"{JSON}Expect: 200-ok\r\n"))

    assert (reply.status, reply.code) == (417, "bad_request")


@pytest.mark.parametrize("name", MALFORMED)
def test_what_follows_a_malformed_request_is_never_answered(gateway, name):
    """Smuggling: a part of one request, or what another client has sent, read as one of its own."""
    data = MALFORMED[name][0].replace(b"Connection: close\r\n", b"")
    follow = request("GET /v1/models/smuggled HTTP/1.1")
    with connected(gateway.port) as sock:
        sock.sendall(data + follow)
        found, _ = read_all(sock, 3)
    assert found.count(b"HTTP/1.1 ") == 1 and b"smuggled" not in found
    assert Reply(found).status == MALFORMED[name][1]
