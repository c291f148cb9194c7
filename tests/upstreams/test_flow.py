"""Chunks that go past the call's greenlet: those which do, and what they change, which is nothing.

However an upstream's bytes are cut, and whatever the client's side takes, the client gets what it
would have got without that way, and so does the rest of the gateway.
"""

import gc
import json
import socket
import threading
import weakref

import gevent
import orjson
import pytest
from gevent import socket as gsocket
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import errors
from gateway.config import Timeouts
from gateway.mock import answers, bodies
from gateway.mock.answers import DONE, LAST_CHUNK, encoded, framed, sse
from gateway.upstreams.base import Call
from gateway.upstreams.dialects import chat
from gateway.upstreams.flow import Flow
from gateway.upstreams.transport import Wire
from gateway.upstreams.transport.connections import Connection, Plain
from gateway.watch import Watch
from tests.upstreams.asking import CHUNKED, LENGTH, OK
from tests.upstreams.calling import TIMERS
from tests.upstreams.test_patterns import Unlearned

HEAD = answers.head(headers={"content-type": "text/event-stream", "transfer-encoding": "chunked"})
CHUNKS = bodies.chunks("a b c d e", include_usage=True)  # role, five words, end, usage
COUNTED = framed(sse(CHUNKS[-1]) + DONE) + LAST_CHUNK


class Client:
    """What a stream's blocks come to: pushed ones if `takes(block)` says so, else yielded ones."""

    def __init__(self, takes=lambda block: True):
        self.takes, self.blocks, self.pushed = takes, [], []
        self.came = threading.Semaphore(0)

    def push(self, block):
        if not self.takes(block):
            return False
        self.pushed.append(block)
        self.add(block)
        return True

    def add(self, block):
        self.blocks.append(block)
        self.came.release()

    def read(self, calls, mock, pushing=True, **fields):
        """Make a streamed call and take all it gives; return the call."""
        call = calls.call(stream=True, **fields)
        call.push = self.push if pushing else None
        for block in mock.stream(call, "upstream-model"):
            self.add(block)
        return call


def in_step(client, events, tail, head=HEAD):
    """Answer with each event when the client has got the one before it, then with some steps."""

    def answer(request):
        yield head
        for event in events:
            yield framed(encoded(event))
            client.came.acquire(timeout=2)
        yield from tail

    return answer


@pytest.mark.parametrize("model", ["echo", "asked-model"])
def test_chunk_like_those_before_it_is_pushed_and_not_yielded(calls, upstream, model):
    client = Client()
    upstream.enqueue(in_step(client, CHUNKS[:-1], [COUNTED]))
    client.read(calls, calls.upstream(upstream.url), model=model)
    told = [sse({**chunk, "model": model}) for chunk in CHUNKS[:-1]]
    assert client.blocks == [*told, DONE]
    assert client.pushed == told[2:-1]


@pytest.mark.parametrize("takes", [lambda block: True, lambda block: b" d" in block])
def test_call_knows_of_a_pushed_stream_what_it_knows_of_another(calls, upstream, takes):
    mock, found = calls.upstream(upstream.url), []
    for pushing in (True, False):
        client = Client(takes)
        upstream.enqueue(in_step(client, CHUNKS[:-1], [COUNTED]))
        call = client.read(calls, mock, pushing)
        relay = call.relay
        known = relay.events, relay.said, relay.usage, relay.done, relay.finished
        found.append((client.blocks, *known))
    assert found[0] == found[1] and call.relay.usage.output == 5
    assert call.relay.said == len("a b c d e")
    assert upstream.connections == 1


def test_refused_chunk_is_yielded_and_the_next_one_pushed_again(calls, upstream):
    client = Client(lambda block: b" c" not in block)
    upstream.enqueue(in_step(client, CHUNKS[:-1], [COUNTED]))
    client.read(calls, calls.upstream(upstream.url))
    told = [sse({**chunk, "model": "asked-model"}) for chunk in CHUNKS[:-1]]
    assert client.blocks == [*told, DONE] and client.pushed == [told[2], *told[4:-1]]


def test_pushed_call_is_free_once_it_is_over_without_a_look_for_cycles(calls, upstream):
    client, mock = Client(), calls.upstream(upstream.url)
    upstream.enqueue(in_step(client, CHUNKS[:-1], [COUNTED]))
    gc.disable()
    try:
        call = weakref.ref(client.read(calls, mock))
        call().relay = None
        gevent.sleep(0)
        assert client.pushed and call() is None
    finally:
        gc.enable()


def test_response_is_never_pushed(calls, upstream):
    client, events = Client(), bodies.response_events("a b c d e")
    upstream.enqueue(in_step(client, events[:-1], [framed(encoded(events[-1])) + LAST_CHUNK]))
    call = calls.call("responses", stream=True)
    call.push = client.push
    for block in calls.upstream(upstream.url).stream(call, "m"):
        client.add(block)
    assert client.pushed == [] and call.relay.done


def test_connection_that_may_hold_bytes_back_gives_them_all_to_the_call():
    ours, theirs = gsocket.socketpair()
    with ours, theirs:
        theirs.sendall(b"5\r\nhello\r\n")
        assert Connection(ours).recv(100, None.__getattribute__) == b"5\r\nhello\r\n"


class OneLine:
    """A pool of the one connection that a test has made."""

    def __init__(self, connection):
        self.connection, self.kept = connection, False

    def take(self):
        return self.connection

    def put(self, connection):
        self.kept = True


class Fed:
    """A socket that receives each piece by itself, then the end."""

    def __init__(self, pieces):
        self.sock, self.other = socket.socketpair()
        self.sock.setblocking(False)
        self.pieces = iter(pieces)
        self.fileno, self.send = self.sock.fileno, self.sock.send
        self.go_on()

    def go_on(self):
        piece = next(self.pieces, None)
        self.other.sendall(piece) if piece is not None else self.other.close()

    def recv(self, size):
        data = self.sock.recv(size)
        self.go_on()
        return data

    def close(self):
        self.sock.close()
        self.other.close()


def flowing(pieces, push=None, made=chat.Relay):
    """Return all that becomes of an answer which comes in these pieces; `made` makes its relay."""
    connection = Plain(Fed(pieces))
    pool = OneLine(connection)
    call = Call("chat", {"model": "asked", "messages": [], "stream": True}, Watch())
    relay, blocks, error = made(call), [], None
    wire = Wire(pool, b"GET / HTTP/1.1\r\n\r\n")
    wire.open()
    call.push = push and (lambda block: push() and blocks.append(block) is None)
    try:
        opened = lambda deadline, timer: (wire, relay)  # noqa: E731
        for block in Flow(call, Timeouts(**TIMERS)).blocks(opened, None):
            blocks.append(block)
    except errors.GatewayError as exc:
        error = (type(exc), exc.code, exc.param, getattr(exc, "began", None))
    finally:
        call.watch.close()
        connection.close()
    return blocks, error, pool.kept, relay.events, relay.usage, relay.done, relay.finished


def event(text, model="other", filler=None, end=b"\n\n"):
    """Return a chunk's event with a text, bytes as they are, in place of its own."""
    choice = {"index": 0, "delta": {"content": "@"}, "finish_reason": None}
    shape = {"id": "c", "model": model, "choices": [choice]}
    if filler is not None:
        shape["obfuscation"] = filler
    return b"data: " + orjson.dumps(shape).replace(b"@", text) + end


def sized(style, data):
    """Return an HTTP chunk in one of the forms that its first line may have."""
    return style % len(data) + b"\r\n" + data + b"\r\n"


def spelled(text):
    return json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")


WORDS = st.text("abc é語🙂", max_size=6).map(str.encode)
TEXTS = st.text().map(spelled) | st.binary()
ODD_STYLES = [b"%X", b"%04x", b"%x;a=b", b'%x;a="b c"', b"0%x"]
STYLES = st.sampled_from([b"%x"] * 40 + ODD_STYLES)
STOP = b'data: {"model":"other","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = (
    b'data: {"model":"other","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}\n\n'
)
ERROR = b'data: {"error":{"message":"no","code":"x"}}\n\n'
ENDS = st.sampled_from([[STOP, USAGE, DONE]] * 3 + [[DONE], [STOP], [ERROR], [b"data: {\n\n"], []])
ODD_CUTS = [(), (0, 1), (0, 3), *[(at,) for at in range(-4, 6)]]
SHIFTS = [st.just((0,)), st.sampled_from([*[(0,)] * 40, *ODD_CUTS]), st.sampled_from(ODD_CUTS)]


@st.composite
def event_lists(draw):
    """Draw a stream's events: chunks that are mostly alike, and an end."""
    model, filler = draw(st.sampled_from(["asked", "other"])), draw(st.booleans())
    ends = st.sampled_from(draw(st.sampled_from([[b"\n\n"], [b"\n\n"], [b"\r\n\r\n", b"\n\n"]])))
    texts = draw(st.sampled_from([WORDS, WORDS, WORDS | TEXTS]))
    found = []
    for text in draw(st.lists(texts, min_size=4, max_size=12)):
        fill = draw(st.text("xyz1", max_size=4)) if filler else None
        found.append(event(text, model, fill, draw(ends)))
    return found + draw(ENDS)


@st.composite
def answers_in_pieces(draw):
    """Draw an answer, as the pieces in which it is received."""
    events, framing = draw(event_lists()), draw(st.sampled_from(["chunks"] * 4 + ["length", "end"]))
    if framing == "chunks":
        frames = [CHUNKED, *[sized(draw(STYLES), data) for data in events]]
        frames.append(
            draw(st.sampled_from([LAST_CHUNK, b"0\r\nx: y\r\n\r\n", b"zz\r\n", b"5\r\nx"]))
        )
    else:
        length = b"%d" % sum(map(len, events))
        frames = [OK + b"\r\n" if framing == "end" else LENGTH.replace(b"100", length), *events]
    data, cuts, at = b"".join(frames), {0}, 0
    shifts = draw(st.sampled_from([*SHIFTS, SHIFTS[1]]))
    for frame in frames:
        at += len(frame)
        cuts.update(at + shift for shift in draw(shifts))
    cuts = sorted(cut for cut in cuts if 0 <= cut < len(data))
    return [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=True)]


PLAIN = [CHUNKED, *[framed(event(text)) for text in (b"a", b"b", b"c", b"d", b"e")],
         framed(STOP), framed(USAGE + DONE) + LAST_CHUNK]  # fmt: skip
EVERY = 2**64 - 1


@settings(max_examples=500, deadline=None, database=None)
@given(pieces=answers_in_pieces(), mask=st.just(EVERY) | st.integers(0, EVERY))
@example(pieces=PLAIN, mask=EVERY)
@example(pieces=[*PLAIN[:4], PLAIN[4][:1], PLAIN[4][1:], *PLAIN[5:]], mask=EVERY)
@example(pieces=[*PLAIN[:4], PLAIN[4] + b"4", PLAIN[5][1:], *PLAIN[6:]], mask=EVERY)
@example(pieces=[*PLAIN[:4], b"ff\r\n", PLAIN[4], *PLAIN[5:]], mask=EVERY)
@example(pieces=[*PLAIN[:3], framed(event(b"x")[:9]), PLAIN[4], *PLAIN[5:]], mask=EVERY)
@example(pieces=[*PLAIN[:4], framed(event(b"x", end=b"\r")), *PLAIN[5:]], mask=EVERY)
def test_stream_is_the_same_however_its_bytes_come_and_are_taken(pieces, mask):
    turns = iter(range(64))
    found = flowing(pieces, lambda: mask >> next(turns) & 1)
    assert found == flowing(pieces) == flowing(pieces, made=Unlearned)


def test_chunks_that_come_one_by_one_are_pushed_by_the_same_measure():
    pushed = []
    blocks, *_ = flowing(PLAIN, lambda: pushed.append(1) or True)
    assert len(pushed) == 3 and len(blocks) == 7
