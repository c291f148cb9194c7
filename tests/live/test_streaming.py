"""Streams on the wire: when each event comes, in what form, and what a client's leaving ends."""

import itertools
import re
import socket
import time

import pytest

from gateway import mock
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.raw import JSON, Reply, ask, chat, connected, pieces, post
from tests.raw_client import events, read_until

pytestmark = pytest.mark.live

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
EVENT = re.compile(rb"(event: [a-z_.]+\n)?data: [^\r\n]+\n\n")
STREAMED = {
    CHAT: (chat(stream=True), mock.bodies.chunks()),
    RESPONSES: (
        {"model": "gpt-test", "input": "Say hi", "stream": True},
        mock.bodies.response_events("Hi"),
    ),
}
SLOW = 0.2


def streamed(gateway, data):
    """Return the head as a Reply, and the (seconds, bytes) of every chunk that came."""
    with connected(gateway.port) as sock:
        sock.sendall(data)
        (_, head), *found = pieces(sock)
    return Reply(head), found


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("path", STREAMED)
def test_event_arrives_when_it_is_sent(gateway, upstream, path, framing):
    body, sent = STREAMED[path]
    upstream.enqueue(mock.stream(sent, delay=SLOW, framing=framing))
    _, found = streamed(gateway, post(body, path))

    # The last event and the [DONE] that follows it are one block of a Responses stream.
    times = [moment for moment, data in found if data]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) >= 6
    assert all(0.1 < gap < 0.4 for gap in gaps), gaps


@pytest.mark.parametrize("path", STREAMED)
def test_first_event_does_not_wait_for_the_second(gateway, upstream, path):
    body, sent = STREAMED[path]
    upstream.enqueue(mock.stream([sent[0], 1.0, *sent[1:]]))
    with connected(gateway.port) as sock:
        sock.sendall(post(body, path))
        upstream.wait_for(upstream.received)
        began = time.monotonic()
        read_until(sock, b"data: ")
        assert time.monotonic() - began < 0.7


def test_client_of_http_1_0_gets_each_event_when_it_is_sent_and_no_chunks(gateway, upstream):
    upstream.enqueue(mock.stream(mock.bodies.chunks(), delay=SLOW))
    times, found = [], b""
    with connected(gateway.port) as sock:
        sock.sendall(post(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        while data := sock.recv(65536):
            times.append(time.monotonic())
            found += data

    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) >= 6 and all(0.1 < gap < 0.4 for gap in gaps[:6]), gaps
    reply = Reply(found)
    assert "transfer-encoding" not in reply.headers and reply.headers["connection"] == "close"
    assert EVENT.sub(b"", reply.body) == b"" and reply.body.endswith(b"data: [DONE]\n\n")


def test_connection_goes_on_after_a_stream(gateway):
    keep = post(chat(stream=True)).replace(b"Connection: close\r\n", b"")
    with connected(gateway.port) as sock:
        for _ in range(3):
            sock.sendall(keep)
            (_, head), *found = pieces(sock)
            assert Reply(head).headers["connection"] == "keep-alive"
            assert found[-2][1].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", STREAMED)
def test_head_of_a_stream_says_that_nothing_may_buffer_it(gateway, path):
    head, _ = streamed(gateway, post(STREAMED[path][0], path))

    assert head.status == 200
    assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert head.headers["cache-control"] == "no-cache"
    assert head.headers["x-accel-buffering"] == "no"
    assert head.headers["x-gateway-upstream"] == "mock"
    assert head.headers["x-request-id"].startswith("req_")
    assert "content-length" not in head.headers


@pytest.mark.parametrize("model", ["gpt-test", "mock-odd-sse", "mock-split-1", "mock-split-7",
                                   "mock-gzip", "mock-unframed", "mock-no-done",
                                   "mock-careless", "mock-json"])  # fmt: skip
@pytest.mark.parametrize("path", STREAMED)
def test_stream_goes_out_in_whole_events_of_one_form(gateway, path, model):
    _, found = streamed(gateway, post({**STREAMED[path][0], "model": model}, path))

    *blocks, last = [data for _, data in found]
    assert last == b""
    for block in blocks:
        assert EVENT.sub(b"", block) == b""  # nothing but whole events
        for event in EVENT.finditer(block):
            named = b'"type":"%s"' % event[1][7:-1] if event[1] else b""
            assert named in event[0].replace(b'": "', b'":"')
    joined = b"".join(blocks)
    assert joined.count(b"[DONE]") == 1 and joined.endswith(b"data: [DONE]\n\n")
    assert (b"event: " in joined) == (path == RESPONSES)


def test_unusual_but_legal_stream_says_the_same_as_a_usual_one(gateway):
    def said(model):
        _, found = streamed(gateway, post(chat(model, stream=True), CHAT))
        chunks = events(b"".join(data for _, data in found))[:-1]
        return [chunk["choices"] for chunk in chunks]

    assert said("mock-odd-sse") == said("mock-split-1") == said("gpt-test")


def test_comment_and_fields_of_the_upstream_stay_there(gateway, upstream):
    chunk = mock.bodies.chunks()[1]
    odd = b": ping\r\nid: 7\r\nretry: 1\r\ndata: %s\r\n\r\n" % mock.answers.dumps(chunk)
    end = mock.bodies.chunks()[-1]
    upstream.enqueue(mock.stream([odd, b": ping\n\n", end]))
    _, found = streamed(gateway, post(chat(stream=True)))

    joined = b"".join(data for _, data in found)
    assert b"ping" not in joined and b"retry" not in joined and b"id: 7" not in joined
    assert len(events(joined)) == 3


def test_utf_8_split_between_reads_comes_out_whole(gateway, upstream):
    upstream.enqueue(mock.stream(mock.bodies.chunks("Zoë 🙂 日本"), split=1))
    _, found = streamed(gateway, post(chat(stream=True)))

    *chunks, done = events(b"".join(data for _, data in found))
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert (text, done) == ("Zoë 🙂 日本", "[DONE]")


def test_chunk_that_the_upstream_sends_is_untouched_but_for_its_model(gateway, upstream):
    odd = b'{ "id" : "x","model":"upstream-model", "choices":[], "future": 1.0e2 }'
    upstream.enqueue(mock.stream([b"data: %s\n\n" % odd, *mock.bodies.chunks()]))
    _, found = streamed(gateway, post(chat(stream=True)))

    expected = b"data: %s\n\n" % odd.replace(b"upstream-model", b"gpt-test")
    assert found[0][1].startswith(expected)


@pytest.mark.parametrize("model", ["mock-cut-after-3", "mock-error-after-3", "mock-stall-after-3"])
def test_broken_chat_ends_in_one_error_event_and_no_done(gateway, model):
    reply = ask(gateway.port, post(chat(model, stream=True)))

    *chunks, last = events(reply.body)
    assert reply.status == 200 and b"[DONE]" not in reply.body
    assert len(chunks) == 3 and not any("error" in chunk for chunk in chunks)
    assert list(last["error"]) == ["message", "type", "param", "code"]


@pytest.mark.parametrize("model", ["mock-cut-after-5", "mock-stall-after-5", "mock-error-after-5"])
def test_broken_response_ends_in_its_failed_event_and_done(gateway, model):
    reply = ask(gateway.port, post({**STREAMED[RESPONSES][0], "model": model}, RESPONSES))

    *_, failed, done = events(reply.body)
    assert (failed["type"], done) == ("response.failed", "[DONE]")
    assert b"event: response.failed\ndata: " in reply.body


@pytest.mark.parametrize("path", STREAMED)
def test_fault_before_the_first_event_is_an_ordinary_error(gateway, path):
    reply = ask(gateway.port, post({**STREAMED[path][0], "model": "mock-400"}, path))

    assert (reply.status, reply.code) == (400, "mock")


LEAVING = {
    "whole, before the first byte": (CHAT, chat("mock-hang"), None),
    "whole, in the middle of the head": (CHAT, chat("mock-stall-in-head"), None),
    "whole, in the middle of the body": (CHAT, chat("mock-stall-after-1"), None),
    "embeddings, before the first byte": (EMBEDDINGS, {"model": "mock-hang", "input": "a"}, None),
    "stream, before the first byte": (CHAT, chat("mock-hang", stream=True), None),
    "stream, in the middle of the head": (CHAT, chat("mock-stall-in-head", stream=True), None),
    "stream, before the first event": (CHAT, chat("mock-stall-after-0", stream=True), None),
    "stream, silent in the middle": (CHAT, chat("mock-stall-after-2", stream=True), b"data: "),
    "stream, flowing": (CHAT, chat("mock-endless-50", stream=True), b"data: "),
    "response, before the first byte": (
        RESPONSES, {"model": "mock-hang", "input": "a", "stream": True}, None,
    ),
    "response, silent in the middle": (
        RESPONSES, {"model": "mock-stall-after-5", "input": "a", "stream": True}, b"delta",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAVING)
def test_client_that_leaves_closes_the_upstream_within_a_second(gateway, upstream, name):
    path, body, mark = LEAVING[name]
    count, number = upstream.received + 1, f"leaving-{list(LEAVING).index(name)}"
    with connected(gateway.port) as sock:
        sock.sendall(post(body, path, f"{JSON}X-Client-Request-Id: {number}\r\n"))
        asked = upstream.wait_for(count)[-1]
        if mark:
            read_until(sock, mark)
        else:
            time.sleep(0.1)
        assert not asked.closed.is_set()
        left = time.monotonic()

    assert asked.closed.wait(3), "the upstream was not closed"
    assert asked.closed_at - left < 1
    (line,) = gateway.wait_lines(client_request_id=number)
    assert (line["status"], line["end"]) == (200 if mark else 499, "cancelled")
    assert line["stream"] is bool(body.get("stream"))


def test_client_that_resets_counts_as_gone_too(gateway, upstream):
    count = upstream.received + 1
    with connected(gateway.port) as sock:
        sock.sendall(post(chat("mock-hang")))
        asked = upstream.wait_for(count)[-1]
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    assert asked.closed.wait(1)


def test_nothing_is_left_in_flight_when_everybody_has_left(gateway):
    deadline = time.monotonic() + 3
    while gateway.metrics()["gateway_in_flight"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
