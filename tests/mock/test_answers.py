"""Queued answers: given in turn, in the framing and at the pace that they say."""

import time

import requests

from gateway import mock
from gateway.mock import FIN, bodies
from tests.raw_client import (
    CHAT,
    asking,
    connected,
    dechunked,
    events,
    exchange,
    read_all,
    read_until,
)


def test_queued_answers_are_given_in_turn_and_then_the_default(upstream):
    upstream.enqueue(mock.json({"a": 1}), mock.chat("Bye"))

    with requests.Session() as session:
        replies = [session.post(f"{upstream.url}/chat/completions", json=CHAT) for _ in range(3)]

    assert replies[0].json() == {"a": 1}
    texts = [reply.json()["choices"][0]["message"]["content"] for reply in replies[1:]]
    assert texts == ["Bye", "Say hi"]
    assert upstream.connections == 1


def test_an_answer_for_a_path_waits_for_it(upstream):
    upstream.enqueue(mock.error(503, "busy"), path="/chat/completions")
    upstream.always(mock.models(["only"]), path="/models")

    assert requests.get(f"{upstream.url}/models").json() == bodies.models(["only"])
    assert requests.post(f"{upstream.url}/chat/completions", json=CHAT).status_code == 503
    assert requests.post(f"{upstream.url}/chat/completions", json=CHAT).status_code == 200


def test_always_is_given_until_taken_back(upstream):
    url = f"{upstream.url}/chat/completions"

    upstream.always(mock.error(500, "no"))
    assert [requests.post(url, json=CHAT).status_code for _ in range(2)] == [500, 500]

    upstream.always(None)
    assert requests.post(url, json=CHAT).status_code == 200


def test_a_queued_chat_streams_where_a_stream_is_asked_for(upstream):
    upstream.enqueue(mock.chat("Bye now", split=3))

    _, body = dechunked(exchange(upstream, {**CHAT, "stream": True})[0])

    assert [event["choices"][0]["delta"].get("content") for event in events(body)[1:3]] == [
        "Bye",
        " now",
    ]


def test_split_cuts_chunks_across_events(upstream):
    upstream.enqueue(mock.stream(["ab", "c"], split=5, done=False))

    data, _ = exchange(upstream, CHAT)

    chunks = b"5\r\ndata:\r\n5\r\n ab\n\n\r\n5\r\ndata:\r\n4\r\n c\n\n\r\n0\r\n\r\n"
    assert data.partition(b"\r\n\r\n")[2] == chunks


def test_close_framing_sends_the_bytes_alone_and_a_fin(upstream):
    upstream.enqueue(mock.stream([{"a": 1}, b": raw\n\n"], framing="close"))

    with connected(upstream) as sock:
        sock.sendall(asking())
        data, end = read_all(sock)

    head, _, body = data.partition(b"\r\n\r\n")
    assert b"connection: close" in head and b"transfer-encoding" not in head
    assert (body, end) == (b'data: {"a":1}\n\n: raw\n\ndata: [DONE]\n\n', "FIN")


def test_an_http_1_0_client_gets_no_chunks(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        data, end = read_all(sock)

    assert b"chunked" not in data
    assert data.endswith(b"\n\ndata: [DONE]\n\n") and end == "FIN"


def test_pauses_and_endings_may_stand_among_events(upstream):
    upstream.enqueue(mock.stream(["a", 0.1, "b", FIN, "never"]))

    began = time.monotonic()
    data, end = exchange(upstream, CHAT)

    assert time.monotonic() - began >= 0.1
    assert data.endswith(b"9\r\ndata: b\n\n\r\n")
    assert end == "FIN"


def test_delay_keeps_events_apart(upstream):
    upstream.enqueue(mock.stream(["a", "b"], delay=0.15))

    with connected(upstream) as sock:
        sock.sendall(asking())
        read_until(sock, b"data: a")
        began = time.monotonic()
        read_until(sock, b"data: b")

    assert 0.1 < time.monotonic() - began < 1


def test_hang_can_be_followed_by_an_answer(upstream):
    upstream.enqueue(mock.hang(0.1, then=mock.chat("late")))

    began = time.monotonic()
    assert b"late" in exchange(upstream, CHAT)[0]
    assert time.monotonic() - began >= 0.1


def test_headers_are_written_as_they_are(upstream):
    pairs = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    upstream.enqueue(mock.json({}, 201, pairs))

    data, _ = exchange(upstream, CHAT)

    assert data.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in data


def test_greetings_are_played_before_anything_is_read(upstream):
    upstream.greet(b"SSH-2.0-mock\r\n", FIN)

    with connected(upstream) as sock:
        assert read_all(sock) == (b"SSH-2.0-mock\r\n", "FIN")
    with connected(upstream) as sock:
        sock.sendall(asking())
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
