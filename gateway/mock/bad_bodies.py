"""Faults that are a whole reply of a wrong kind: statuses, types, broken and huge bodies."""

import gzip
import struct
import zlib
from email.utils import formatdate
from functools import cache, reduce
from time import time

from gateway.mock.answers import error, json, raw, redirect, whole
from gateway.mock.openai import CHAT, STREAMED, content, reply

ELSEWHERE = "http://127.0.0.2:9/v1/chat/completions"
HTML = b"<!doctype html><title>mock</title><h1>The mock is not here</h1>"
TRUNCATED = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"id":'
)
LENGTH_AND_CHUNKS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n"
    b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
)
GZIP_HEAD = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
LAST_BLOCK = b"\x03\x00"
LLAMA = {"error": {"code": 400, "message": "The mock refuses.", "type": "invalid_request_error"}}
LONG_CONTEXT = (
    "This model's maximum context length is 8192 tokens. However, your messages have more."
)
STATUSES = {
    408: ("timeout_error", "request_timeout"),
    409: ("invalid_request_error", "conflict"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    529: ("overloaded_error", "overloaded"),
}


def status(n):
    """Return the answer for a status: an error in OpenAI's envelope, or None for other numbers."""
    if n in {401, 402, 403}:
        return denied(n)
    if n == 429:
        return limited(7)
    if not 400 <= n <= 599:
        return None
    default = ("server_error", "internal_error") if n >= 500 else ("invalid_request_error", "mock")
    type, code = STATUSES.get(n, default)
    return error(n, f"The mock answers {n}.", type, None, code)


def denied(status):
    """Refuse the key and repeat it, as some servers do."""

    def answer(request):
        key = request.headers.get("authorization", "no key").removeprefix("Bearer ")
        text = f"Incorrect API key provided: {key}."
        return error(status, text, code="invalid_api_key")(request)

    return answer


def limited(retry_after, code="rate_limit_exceeded"):
    """Answer 429; `retry_after` is written as it is, and left out if None."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return error(429, "Rate limit reached.", "rate_limit_error", None, code, headers)


def limited_until(seconds):
    """Answer 429 whose Retry-After is a date some seconds away."""
    return lambda request: limited(formatdate(time() + seconds, usegmt=True))(request)


def no_stream(request):
    if request.fields.get("stream") is not True:
        return reply()(request)
    text = "Streaming is not supported for this model."
    return error(400, text, param="stream", code="unsupported_value")(request)


def wrong_kind(request):
    """Stream where a whole answer was asked for."""
    form = request.path if request.path in STREAMED else CHAT
    return reply(form=form, as_stream=True)(request)


@cache
def bomb(megabytes=200):
    """Return so many megabytes of spaces as gzip: one block, packed once and repeated."""
    block = b" " * (1 << 20)
    squeeze = zlib.compressobj(9, wbits=-15)
    packed = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    checksum = reduce(lambda found, _: zlib.crc32(block, found), range(megabytes), 0)
    end = struct.pack("<II", checksum, megabytes << 20)
    return GZIP_HEAD + packed * megabytes + LAST_BLOCK + end


def packed(change, encoding="gzip"):
    """Answer with a body that `change` has packed, under the content type that was asked for."""

    def answer(request):
        kind, pieces = content(request, as_stream=False)
        asked, _ = content(request)
        yield from whole(change(pieces[0]), asked, headers={"content-encoding": encoding})(request)

    return answer


def nested(body):
    for _ in range(6):
        body = gzip.compress(body)
    return body


def html(status):
    return lambda: whole(HTML, "text/html; charset=utf-8", status)


def flaky(percent):
    """Answer 503 to so many of a hundred calls, evenly spread over them."""

    def answer(request):
        fails = request.number * percent % 100 < percent
        yield from (status(503) if fails else reply())(request)

    return answer


ROWS = [
    ("mock-html", "answers 200 with HTML", html(200)),
    ("mock-500-html", "answers 500 with HTML", html(500)),
    ("mock-empty", "answers 200 with no body", lambda: whole()),
    ("mock-204", "answers 204", lambda: whole(status=204, content_type=None)),
    ("mock-truncated", "promises 100 bytes and closes after 6", lambda: raw([TRUNCATED])),
    (
        "mock-length-and-chunks",
        "sends both Content-Length and chunks",
        lambda: raw([LENGTH_AND_CHUNKS], end=None),
    ),
    (
        "mock-json",
        "answers whole, even where a stream is asked for",
        lambda: reply(as_stream=False),
    ),
    ("mock-sse", "streams, even where a whole answer is asked for", lambda: wrong_kind),
    (
        "mock-200-error",
        "answers 200 with an error object",
        lambda: json({"error": {"message": "The mock failed.", "type": "server_error"}}),
    ),
    ("mock-bad-gzip", "says gzip and sends none", lambda: packed(bytes)),
    ("mock-gzip-bomb", "sends 200 MB in 200 KB of gzip", lambda: packed(lambda body: bomb())),
    (
        "mock-gzip-nested",
        "packs its body six times",
        lambda: packed(nested, ", ".join(["gzip"] * 6)),
    ),
    ("mock-301", "redirects elsewhere", lambda: redirect(ELSEWHERE, 301)),
    ("mock-302", "redirects elsewhere", lambda: redirect(ELSEWHERE, 302)),
    ("mock-307", "redirects elsewhere, asking to post again", lambda: redirect(ELSEWHERE, 307)),
    (
        "mock-400-llama",
        "answers 400 as llama.cpp does, with a number as code",
        lambda: json(LLAMA, 400),
    ),
    (
        "mock-400-detail",
        "answers 400 as FastAPI does",
        lambda: json({"detail": [{"loc": ["body"], "msg": "The mock refuses."}]}, 400),
    ),
    ("mock-400-text", "answers 400 in plain text", lambda: whole(b"refused", "text/plain", 400)),
    (
        "mock-context-length",
        "answers 400 context_length_exceeded",
        lambda: error(400, LONG_CONTEXT, param="messages", code="context_length_exceeded"),
    ),
    ("mock-no-stream", "answers 400 about `stream` where one is asked for", lambda: no_stream),
    ("mock-429-N", "answers 429 with Retry-After: N", limited),
    ("mock-429-date", "answers 429, Retry-After a date 5 s away", lambda: limited_until(5)),
    ("mock-429-garbage", "answers 429, Retry-After: soon", lambda: limited("soon")),
    ("mock-429-bare", "answers 429 without Retry-After", lambda: limited(None)),
    (
        "mock-quota",
        "answers 429 insufficient_quota",
        lambda: limited(None, "insufficient_quota"),
    ),
    ("mock-flaky-N", "answers 503 to N of 100 calls, else rightly", flaky),
    ("mock-N", "answers status N, 400-599: 401 repeats the key, 429 says 7 s", status),
]
