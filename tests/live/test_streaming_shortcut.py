"""Streams whose chunks go from socket to socket, through real gunicorn: the client sees no seam.

The gateway here writes down, in its log, what became of each block that was offered to its client
at once: `took` it, took a `part`, or `left` it.
"""

import itertools
import random
import socket
import sys
import time

import pytest

from gateway import mock
from gateway.mock.answers import DONE, sse
from tests.live.raw import JSON, Reply, ask, chat, connected, pieces, post
from tests.live.twice import ask as ask_again
from tests.live.twice import chunks, name, rows, wait_for, wait_kept
from tests.raw_client import read_all, read_until
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

WORDS = " ".join(f"word{number}" for number in range(40))
PACE = 0.005
TELLING = """
import os
from gateway.answer import Answer
from gunicorn.app.wsgiapp import run

def push(self, block, kept=Answer.push):
    took = kept(self, block)
    os.write(2, b"took\\n" if took else b"part\\n" if self.ahead else b"left\\n")
    return took

Answer.push = push
run()
"""
ROW = (
    "select status, end, usage_source, input_tokens, output_tokens from usage where request_id = ?"
)
numbers = itertools.count()


@pytest.fixture(scope="module", name="upstream")
def scripted():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module", name="gateway")
def telling(tmp_path_factory, upstream):
    path = write_config(tmp_path_factory.mktemp("gateway"), upstream.url)
    with Gateway(path, command=[sys.executable, "-c", TELLING]) as running:
        yield running
        assert not [line for line in running.log() if "exception" in line]
        assert "Traceback" not in running.log_path.read_text()


@pytest.fixture(name="pushes")
def pushed_since(gateway):
    """Return a function that counts what has become of blocks since the test began."""
    before = gateway.log_path.stat().st_size

    def count(what):
        return gateway.log_path.read_bytes()[before:].split(b"\n").count(what)

    return count


def told(sent, usage=False):
    """Return the bytes that a client of gpt-test gets of these chunks."""
    wanted = [chunk for chunk in sent if usage or chunk["choices"]]
    return b"".join(sse({**chunk, "model": "gpt-test"}) for chunk in wanted) + DONE


def named():
    """Return a client's own id for a request, and the request's headers with it."""
    found = f"shortcut-{next(numbers)}"
    return found, f"{JSON}X-Client-Request-Id: {found}\r\n"


def large(count):
    """Return chunks with large texts, no two of them alike."""
    rand = random.Random(7)
    role, one, *_, stop = mock.bodies.chunks("one")
    texts = [f"{number} " + "é" * rand.randrange(12_000) for number in range(count)]
    choice = one["choices"][0]
    some = [{**one, "choices": [{**choice, "delta": {"content": text}}]} for text in texts]
    return [role, one, *some, stop]


def test_client_that_stops_reading_for_a_second_gets_every_byte_in_order(gateway, upstream, pushes):
    sent = large(1200)
    upstream.enqueue(mock.stream(sent, delay=0.001))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", gateway.port))
        sock.sendall(post(chat(stream=True)))
        first = read_until(sock, b"20 ")
        time.sleep(1)
        rest, end = read_all(sock, 10)
    assert end == "FIN" and Reply(first + rest).body == told(sent)
    assert pushes(b"took") > 10 and pushes(b"part") > 0


def test_many_clients_that_read_now_and_then_get_every_byte_in_order(gateway, upstream, pushes):
    sent = large(300)
    socks = []
    for _ in range(6):
        upstream.enqueue(mock.stream(sent, delay=0.001))
        sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        sock.sendall(post(chat(stream=True)))
        socks.append((sock, bytearray()))
    reading = list(socks)
    while reading:
        for sock, found in list(reading):
            data = sock.recv(100_000)
            found += data
            if not data:
                reading.remove((sock, found))
        time.sleep(0.002)
    for sock, found in socks:
        sock.close()
        assert Reply(bytes(found)).body == told(sent)
    assert pushes(b"took") > 10


def test_line_and_row_of_a_pushed_stream_are_right(gateway, upstream, pushes):
    client_id, headers = named()
    sent = mock.bodies.chunks(WORDS, asked=7, include_usage=True)
    upstream.enqueue(mock.stream(sent, delay=PACE))
    reply = ask(gateway.port, post(chat(stream=True), headers=headers))
    assert reply.body == told(sent) and pushes(b"took") >= 30
    (line,) = gateway.wait_lines(client_request_id=client_id)
    assert (line["status"], line["end"], line["stream"]) == (200, "ok", True)
    assert (line["input_tokens"], line["output_tokens"]) == (7, 40)
    assert 0 < line["ttft_ms"] < line["total_ms"]
    assert 0 <= line["upstream_ms"] <= line["total_ms"]
    assert line["upstream_ms"] >= 40 * PACE * 1000 * 0.8
    found = wait_for(lambda: rows(gateway, ROW, line["request_id"]))
    assert found == [(200, "ok", "upstream", 7, 40)]


def test_client_that_asks_for_usage_gets_it_behind_pushed_chunks(gateway, upstream, pushes):
    sent = mock.bodies.chunks(WORDS, include_usage=True)
    upstream.enqueue(mock.stream(sent, delay=PACE))
    body = chat(stream=True, stream_options={"include_usage": True})
    assert ask(gateway.port, post(body)).body == told(sent, usage=True)
    assert pushes(b"took") >= 30


def test_client_that_leaves_while_chunks_are_pushed_cancels_the_call(gateway, upstream, pushes):
    client_id, headers = named()
    upstream.enqueue(mock.stream(mock.bodies.chunks(WORDS * 40), delay=PACE))
    with connected(gateway.port) as sock:
        sock.sendall(post(chat(stream=True), headers=headers))
        seen = read_until(sock, b"word20")
    left = time.monotonic()
    asked = upstream.requests[-1]
    assert asked.closed.wait(2) and asked.closed_at - left < 1
    (line,) = gateway.wait_lines(client_request_id=client_id)
    assert (line["status"], line["end"]) == (200, "cancelled")
    assert line["ttft_ms"] is not None and 0 <= line["upstream_ms"] <= line["total_ms"]
    [(status, end, source, _, output)] = wait_for(lambda: rows(gateway, ROW, line["request_id"]))
    assert (status, end, source) == (200, "cancelled", "estimated")
    assert seen.count(b"data: ") <= output <= pushes(b"took") + 20


def test_replay_of_a_stream_is_its_first_answer(gateway, upstream, pushes):
    key, sent = name(), chunks(WORDS)
    upstream.enqueue(mock.stream(sent, delay=PACE))
    first = ask_again(gateway, key, stream=True)
    wait_kept(gateway, key)
    again = ask_again(gateway, key, stream=True)
    assert first.body == again.body == told(sent)
    assert again.headers["idempotent-replayed"] == "true" and pushes(b"took") == 0


def test_client_of_http_1_0_gets_the_stream_without_the_shortcut(gateway, upstream, pushes):
    sent = mock.bodies.chunks(WORDS)
    upstream.enqueue(mock.stream(sent, delay=PACE))
    with connected(gateway.port) as sock:
        sock.sendall(post(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        found, end = read_all(sock)
    reply = Reply(found)
    assert end == "FIN" and "transfer-encoding" not in reply.headers
    assert reply.body == told(sent) and pushes(b"took") == 0 < pushes(b"left")


def test_connections_on_both_sides_go_on_after_pushed_streams(gateway, upstream, pushes):
    keep = post(chat(stream=True)).replace(b"Connection: close\r\n", b"")
    sent = mock.bodies.chunks(WORDS)
    with connected(gateway.port) as sock:
        for _ in range(3):
            upstream.enqueue(lambda request: at_last(mock.stream(sent, delay=PACE)(request)))
            sock.sendall(keep)
            _, *found = pieces(sock)
            assert b"".join(data for _, data in found) == told(sent)
    assert pushes(b"took") >= 3 * 30
    assert len({request.connection.number for request in upstream.requests[-3:]}) == 1


def at_last(steps):
    """Send the last event together with the end of the answer, as servers do that end at once."""
    *first, done, end = steps
    yield from (*first, done + end)


def test_upstream_that_breaks_off_behind_pushed_chunks_is_told_of(gateway, upstream, pushes):
    client_id, headers = named()
    sent = mock.bodies.chunks(WORDS)[:-1]
    upstream.enqueue(mock.stream([*sent, 0.05, mock.RST], delay=PACE))
    reply = ask(gateway.port, post(chat(stream=True), headers=headers))
    assert reply.body.startswith(told(sent).removesuffix(DONE))
    assert b'"error":{' in reply.body and b"[DONE]" not in reply.body
    (line,) = gateway.wait_lines(client_request_id=client_id)
    assert (line["status"], line["end"]) == (200, "error") and pushes(b"took") >= 30
