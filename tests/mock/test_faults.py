"""Every fault is what its line in the list says, to the byte."""

import json
import re
import zlib
from itertools import islice
from types import SimpleNamespace

import pytest
import requests

from gateway import mock
from gateway.mock import FIN, RST, fault
from gateway.mock.request import Request
from tests.raw_client import CHAT, asking, connected, dechunked, events, exchange, read_until
from tests.upstream import FAULT_ROWS

SILENCE = 0.3


def streamed(upstream, model, silence=5):
    return exchange(upstream, {**CHAT, "model": model, "stream": True}, silence)


@pytest.mark.parametrize(
    ("model", "data", "end"),
    [
        ("mock-close", b"", "FIN"),
        ("mock-reset", b"", "RST"),
        ("mock-hang", b"", "open"),
        ("mock-close-in-head", b"x-half", "FIN"),
        ("mock-reset-in-head", b"x-half", "RST"),
        ("mock-stall-in-head", b"x-half", "open"),
        ("mock-garbage", b"220 mock ESMTP ready\r\n\r\n", "FIN"),
        ("mock-101", b"upgrade: mock\r\n\r\n", "open"),
        ("mock-truncated", b'content-length: 100\r\n\r\n{"id":', "FIN"),
        ("mock-cut-after-0", b"\r\n\r\n", "RST"),
        ("mock-close-after-0", b"\r\n\r\n", "FIN"),
        ("mock-end-after-0", b"\r\n\r\n0\r\n\r\n", "FIN"),
        ("mock-stall-after-0", b"\r\n\r\n", "open"),
        ("mock-stall-after-done", b"[DONE]\n\n\r\n", "open"),
        ("mock-unframed", b"\n\ndata: [DONE]\n\n", "FIN"),
        ("mock-bad-chunk-after-0", b"\r\n\r\nzz\r\n0\r\n\r\n", "FIN"),
        ("mock-long-chunk-size-after-0", b"00001\r\na\r\n0\r\n\r\n", "FIN"),
        ("mock-unfinished-event", b"data: [DONE]\n\r\n0\r\n\r\n", "FIN"),
        ("mock-length-and-chunks", b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "FIN"),
        ("mock-400-text", b"\r\n\r\nrefused", "FIN"),
    ],
)
def test_faults_end_as_they_say(upstream, model, data, end):
    found, how = streamed(upstream, model, SILENCE if end == "open" else 5)

    assert found.endswith(data) if data else found == b""
    assert how == end


@pytest.mark.parametrize("kind", ["cut", "close", "end", "stall", "bad-chunk", "error"])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_n_events_come_before_the_fault(upstream, kind, count):
    found, _ = streamed(upstream, f"mock-{kind}-after-{count}", SILENCE if kind == "stall" else 5)

    right = [event for event in events(found) if "choices" in event]
    assert len(right) == count
    assert b"[DONE]" not in found


@pytest.mark.parametrize("kind", ["cut", "close", "end", "stall"])
def test_faults_in_the_middle_cut_whole_answers_in_half(upstream, kind):
    silence = SILENCE if kind == "stall" else 5

    data, how = exchange(upstream, {**CHAT, "model": f"mock-{kind}-after-3"}, silence)

    assert how == {"cut": "RST", "stall": "open"}.get(kind, "FIN")
    assert b"application/json" in data and b'"id":"chatcmpl-1"' in data and b'"usage"' not in data


@pytest.mark.parametrize(
    ("model", "piece"),
    [
        ("mock-bad-json-after-2", b'data: {"choices": [\n\n'),
        ("mock-bad-utf8-after-2", b"\xff\xfe"),
        ("mock-nan-after-2", b"NaN"),
        ("mock-scalar-after-2", b"data: 42\n\n"),
    ],
)
def test_garbage_stands_among_right_events(upstream, model, piece):
    _, body = dechunked(streamed(upstream, model)[0])

    before, _, rest = body.partition(piece)
    assert before.count(b"data: {") >= 2
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("model", "path", "error"),
    [
        ("mock-error-after-1", "/v1/chat/completions", b'data: {"error":{"message":"The mock'),
        ("mock-error-after-1", "/v1/responses", b'event: error\ndata: {"type":"error","code"'),
    ],
)
def test_an_error_event_ends_the_stream(upstream, model, path, error):
    asked = {**CHAT, "model": model, "input": "hi", "stream": True}

    _, body = dechunked(exchange(upstream, asked, path=path)[0])

    assert body.count(b"\n\n") == 2
    assert body.split(b"\n\n")[1].startswith(error)


@pytest.mark.parametrize(
    ("model", "least", "most_lines"),
    [("mock-long-line-after-1", 64 << 20, 5), ("mock-long-event-after-1", 32 << 20, 40_000)],
)
def test_long_lines_and_events_are_as_long_as_they_say(upstream, model, least, most_lines):
    _, body = dechunked(streamed(upstream, model)[0])

    assert len(body) > least and body.count(b"\n") < most_lines


@pytest.mark.parametrize(
    ("model", "size", "lines"),
    [
        ("mock-long-header", 70_000, 5),
        ("mock-many-headers", 1_000, 200),
        ("mock-huge-head", 1_000_000, 20),
    ],
)
def test_heads_are_as_long_as_they_say(upstream, model, size, lines):
    head = exchange(upstream, {**CHAT, "model": model})[0].partition(b"\r\n\r\n")[0]

    assert len(head) > size and head.count(b"\r\n") >= lines - 1


def test_odd_heads(upstream):
    def head(model):
        return exchange(upstream, {**CHAT, "model": model})[0]

    assert b"\r" not in head("mock-bare-lf").partition(b"\n\n")[0]
    assert b"\r\nx-folded: one\r\n two\r\n\r\n" in head("mock-folded-head")
    assert head("mock-odd-headers").count(b"set-cookie: ") == 2
    assert head("mock-100").startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert re.match(rb"HTTP/1.1 103 Early Hints\r\nlink: .*\r\n\r\nHTTP/1.1 200", head("mock-103"))


@pytest.mark.parametrize("model", ["mock-endless-100", "mock-drip-head", "mock-pings-after-1"])
def test_endless_faults_go_on(upstream, model):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": model, "stream": True}))
        read_until(sock, b"\r\n")
        for _ in range(3):
            assert sock.recv(65536)


def test_a_slow_head_is_a_right_answer(upstream):
    reply = requests.post(
        f"{upstream.url}/chat/completions", json={**CHAT, "model": "mock-slow-head"}
    )

    assert reply.json()["choices"][0]["message"]["content"] == "Say hi"
    assert reply.elapsed.total_seconds() > 0.3


def test_a_trickle_comes_byte_by_byte(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": "mock-trickle", "stream": True}))
        read_until(sock, b"\r\n\r\n")
        assert [len(sock.recv(100)) for _ in range(3)] == [1, 1, 1]


def test_odd_events_are_the_same_events(upstream):
    _, body = dechunked(streamed(upstream, "mock-odd-sse")[0])

    lines = re.split(rb"\r\n|\r|\n", body.removeprefix(b"\xef\xbb\xbf"))
    data = [
        b"".join(re.findall(rb"^data: ?(.*)$", part, re.M))
        for part in b"\n".join(lines).split(b"\n\n")
    ]
    found = [piece for piece in data if piece]
    assert [json.loads(piece)["object"] for piece in found[:-1]] == ["chat.completion.chunk"] * 4
    assert found[-1] == b"[DONE]"


def test_streams_without_data_hold_no_event(upstream):
    assert events(streamed(upstream, "mock-no-data")[0]) == []


def test_gzip_streams_unpack_event_by_event(upstream):
    head, body = dechunked(streamed(upstream, "mock-gzip")[0])

    assert b"content-encoding: gzip" in head
    assert zlib.decompressobj(wbits=31).decompress(body).endswith(b"data: [DONE]\n\n")


def test_careless_responses_repeat_created_and_have_no_numbers(upstream):
    asked = {"model": "mock-careless", "input": "hi", "stream": True}

    _, body = dechunked(exchange(upstream, asked, path="/v1/responses")[0])

    found = events(body)
    assert [event["type"] for event in found[:2]] == ["response.created"] * 2
    assert not any("sequence_number" in event for event in found)
    assert found[-1]["type"] == "response.completed"


def test_every_fault_can_be_made_and_is_described():
    described = mock.describe().splitlines()

    assert len(described) == len(mock.FAULTS)
    for name, row, line in zip(mock.examples(), mock.FAULTS, described, strict=True):
        assert callable(fault(name))
        assert line.startswith(row.name) and line.endswith(row.effect)


@pytest.mark.parametrize("name", mock.examples())
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize("stream", [True, False])
def test_every_fault_is_a_script_on_every_endpoint(name, path, stream):
    body = json.dumps({**CHAT, "input": "Say hi", "stream": stream}).encode()
    asked = Request(SimpleNamespace(sent=0), ("POST", path, "HTTP/1.1"), [], body)

    steps = list(islice(fault(name)(asked), 100))

    assert steps
    assert all(isinstance(step, (bytes, int, float)) or step in (FIN, RST) for step in steps)


def test_every_table_row_names_real_faults():
    for names in FAULT_ROWS.values():
        assert all(callable(fault(name)) for name in names)


def test_unknown_faults_are_key_errors():
    with pytest.raises(KeyError):
        fault("mock-nope")
