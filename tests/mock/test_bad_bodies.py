"""Faults that are a whole reply: its status, its headers, its kind."""

import gzip
import re

import pytest
import requests

from tests.raw_client import CHAT, exchange


def test_gzip_faults_are_what_they_say(upstream):
    bomb = exchange(upstream, {**CHAT, "model": "mock-gzip-bomb"})[0].partition(b"\r\n\r\n")[2]
    bad = exchange(upstream, {**CHAT, "model": "mock-bad-gzip"})[0].partition(b"\r\n\r\n")[2]
    head, _, nested = exchange(upstream, {**CHAT, "model": "mock-gzip-nested"})[0].partition(
        b"\r\n\r\n"
    )
    for _ in range(6):
        nested = gzip.decompress(nested)

    assert len(bomb) < 1_000_000 and len(gzip.decompress(bomb)) == 200 << 20
    assert bad.startswith(b"{")
    assert head.count(b"gzip") == 6 and nested.startswith(b"{")


@pytest.mark.parametrize(
    ("model", "status", "header", "body"),
    [
        ("mock-html", 200, ("content-type", "text/html; charset=utf-8"), b"<!doctype html>"),
        ("mock-500-html", 500, ("content-type", "text/html; charset=utf-8"), b"<!doctype html>"),
        ("mock-empty", 200, ("content-length", "0"), b""),
        ("mock-204", 204, ("content-length", None), b""),
        ("mock-200-error", 200, ("content-type", "application/json"), b'{"error":{"message":'),
        ("mock-302", 302, ("location", "http://127.0.0.2:9/v1/chat/completions"), b""),
        ("mock-307", 307, ("location", "http://127.0.0.2:9/v1/chat/completions"), b""),
        ("mock-429", 429, ("retry-after", "7"), b'"code":"rate_limit_exceeded"'),
        ("mock-429-9999", 429, ("retry-after", "9999"), b'"type":"rate_limit_error"'),
        ("mock-429-garbage", 429, ("retry-after", "soon"), b""),
        ("mock-429-bare", 429, ("retry-after", None), b""),
        ("mock-quota", 429, ("retry-after", None), b'"code":"insufficient_quota"'),
        ("mock-401", 401, ("content-type", "application/json"), b"sk-canary"),
        ("mock-403", 403, ("content-type", "application/json"), b"sk-canary"),
        ("mock-400", 400, ("content-type", "application/json"), b'"param":null'),
        ("mock-400-llama", 400, ("content-type", "application/json"), b'"code":400'),
        ("mock-400-detail", 400, ("content-type", "application/json"), b'{"detail":[{'),
        ("mock-context-length", 400, ("allow", None), b'"code":"context_length_exceeded"'),
        ("mock-500", 500, ("content-type", "application/json"), b'"type":"server_error"'),
        ("mock-503", 503, ("content-type", "application/json"), b'"server_is_overloaded"'),
        ("mock-529", 529, ("content-type", "application/json"), b'"overloaded_error"'),
    ],
)
def test_whole_faults(upstream, model, status, header, body):
    reply = requests.post(
        f"{upstream.url}/chat/completions",
        json={**CHAT, "model": model},
        headers={"authorization": "Bearer sk-canary"},
        allow_redirects=False,
    )

    assert reply.status_code == status
    assert reply.headers.get(header[0]) == header[1]
    assert body in reply.content


def test_retry_after_may_be_a_date(upstream):
    reply = requests.post(
        f"{upstream.url}/chat/completions", json={**CHAT, "model": "mock-429-date"}
    )

    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", reply.headers["retry-after"])


def test_the_other_kind_than_asked_for(upstream):
    whole = exchange(upstream, {**CHAT, "model": "mock-json", "stream": True})[0]
    stream = exchange(upstream, {**CHAT, "model": "mock-sse"})[0]

    assert b'"object":"chat.completion"' in whole
    assert b"text/event-stream" in stream and b"[DONE]" in stream


def test_no_stream_refuses_streams_alone(upstream):
    assert (
        b'"param":"stream"'
        in exchange(upstream, {**CHAT, "model": "mock-no-stream", "stream": True})[0]
    )
    assert b"Say hi" in exchange(upstream, {**CHAT, "model": "mock-no-stream"})[0]


def test_flaky_fails_evenly(upstream):
    with requests.Session() as session:
        asked = {**CHAT, "model": "mock-flaky-25"}
        url = f"{upstream.url}/chat/completions"
        found = [session.post(url, json=asked).status_code for _ in range(40)]

    assert found.count(503) == 10
    assert 503 in found[:5]
