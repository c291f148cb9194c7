"""What goes wrong while chunks go past the call's greenlet, and what must not be taken for one."""

import time
import zlib

import gevent
import pytest
from gevent import socket
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import errors, watch
from gateway.mock import FIN, HANG, RST, answers, raw, stream
from gateway.mock.answers import DONE, LAST_CHUNK, framed, sse
from gateway.upstreams.base import PING
from gateway.upstreams.transport import whole_chunk
from gateway.upstreams.transport.answer import Answer
from gateway.watch import Gone
from tests.upstreams.asking import CHUNKED, SOON
from tests.upstreams.calling import closed_after, timed
from tests.upstreams.test_flow import CHUNKS, STYLES, Client, in_step, sized

ROLE, WORD, *_, STOP, _ = CHUNKS


class Timed(Client):
    """A client that knows when it got what; `pushes` are the times of what was pushed to it."""

    def __init__(self):
        super().__init__()
        self.times, self.pushes = [], []

    def push(self, block):
        self.pushes.append(time.monotonic())
        return super().push(block)

    def add(self, block):
        self.times.append((time.monotonic(), block))
        super().add(block)

    def pings(self):
        return [moment for moment, block in self.times if block is PING]


def words(count, *tail, pause=0.05):
    """Answer with so many words, a pause before each, and then with what else is given."""
    return stream([ROLE, pause, WORD, *[pause, WORD] * count, *tail])


def ended(client, calls, mock):
    """Return the error that ends a stream, and the seconds it came after the last pushed chunk."""
    error, _ = timed(client.read, calls, mock)
    assert len(client.pushes) >= 3
    return error, time.monotonic() - client.pushes[-1]


def test_stream_may_last_for_longer_than_idle_by_pushed_chunks(calls, upstream):
    client = Timed()
    upstream.enqueue(words(12, STOP))
    mock = calls.upstream(upstream.url, {"idle": 0.3, "first_token": 0.3})
    call, took = timed(client.read, calls, mock)
    assert call.relay.done and len(client.pushes) >= 8
    assert 0.5 < call.upstream_seconds < took


def test_silence_after_pushed_chunks_is_measured_from_the_last_one(calls, upstream):
    client = Timed()
    upstream.enqueue(words(8, HANG))
    error, silent = ended(client, calls, calls.upstream(upstream.url, {"idle": 0.3}))
    assert (type(error), error.param) == (errors.UpstreamTimeout, "idle")
    assert 0.3 <= silent < 0.6
    upstream.wait_idle()


@pytest.mark.parametrize("count", [5, 100])
def test_pushed_chunks_do_not_put_off_the_end_of_the_whole(calls, upstream, count):
    client = Timed()
    upstream.enqueue(words(count, HANG))
    mock = calls.upstream(upstream.url, {"idle": 0.4, "stream_total": 0.5})
    began = time.monotonic()
    error, _ = ended(client, calls, mock)
    assert (type(error), error.param) == (errors.UpstreamTimeout, "total")
    assert 0.5 <= time.monotonic() - began < 0.8


@pytest.mark.parametrize("after", [0.6, (0.15, b": x\n\n", 0.45)], ids=["silence", "a comment"])
def test_ping_comes_when_nothing_has_been_pushed_for_a_while(calls, upstream, after):
    client, after = Timed(), after if isinstance(after, tuple) else (after,)
    upstream.enqueue(words(10, *after, STOP))
    client.read(calls, calls.upstream(upstream.url, {"keepalive": 0.3}))
    pings = client.pings()
    assert len(client.pushes) >= 8 and pings
    assert 0.3 <= pings[0] - client.pushes[-1] < 0.5


WAYS = {
    "leave": lambda call, client: call.watch.leave(),
    "close": lambda call, client: client.close(),
    "drain": lambda call, client: call.watch.drain(errors.ServerDraining),
    "drain all": lambda call, client: watch.drain(errors.ServerDraining),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pause", [0.005, 0.05])
def test_wait_ends_for_who_leaves_while_chunks_are_pushed(calls, upstream, way, pause):
    upstream.enqueue(words(int(2 / pause), pause=pause))
    served, other = socket.socketpair()
    with served, other:
        client, call = Client(), calls.call(stream=True, client=served)
        call.push, call.watch.drains = client.push, True
        gevent.spawn_later(0.5, WAYS[way], call, other)
        found, took = timed(list, calls.upstream(upstream.url).stream(call, "m"))
    assert isinstance(found, Gone) and 0.45 <= took < 1.2 and len(client.pushed) >= 3
    assert call.watch.drained is (errors.ServerDraining if "drain" in way else None)
    assert closed_after(upstream.wait_for(1)[0], time.monotonic()) < 0.5


HIDDEN = b'"a"}}],"error":{"message":"no"},"x":[{"y":{"content":"a"'
FAULTS = {
    "reset": [SOON, RST],
    "end": [FIN],
    "a bad chunk size": [b"zz\r\n", SOON, FIN],
    "a chunk with another length": [framed(sse(WORD))[:-2] + b"XX", SOON, FIN],
    "a chunk cut short": [framed(sse(WORD))[:20], FIN],
    "the end of the chunks": [LAST_CHUNK],
    "an error event": [framed(sse({"error": {"message": "no", "code": "bad"}})), HANG],
    "an error event like the chunks before it": [framed(sse(WORD).replace(b'"a"', HIDDEN)), HANG],
    "no JSON": [framed(b"data: {\n\n"), HANG],
    "no UTF-8": [framed(sse(WORD).replace(b'"a"', b'"\xff"')), HANG],
    "HTTP behind a chunk": [framed(sse(WORD)) + b"HTTP/1.1 200 OK\r\n", HANG],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_behind_pushed_chunks_is_what_it_is_without_them(calls, upstream, fault):
    mock, found = calls.upstream(upstream.url), []
    for pushing in (True, False):
        client = Client()
        upstream.enqueue(in_step(client, CHUNKS[:5], FAULTS[fault]))
        error, took = timed(client.read, calls, mock, pushing)
        assert isinstance(error, errors.GatewayError) and took < 2
        told = error.body(), error.status, error.source, getattr(error, "began", None)
        found.append((type(error), told, client.blocks))
        assert len(client.pushed) >= 3 * pushing
    assert found[0] == found[1]
    upstream.wait_idle()


@pytest.mark.parametrize("kind", [ValueError, KeyError])
def test_failure_to_push_is_the_calls_and_not_the_loops(calls, upstream, monkeypatch, kind):
    upstream.enqueue(words(20))
    failed, client = [], Timed()
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *args: failed.append(args))

    def fails(block):
        raise kind("push")

    client.takes = fails
    found, took = timed(client.read, calls, calls.upstream(upstream.url))
    assert type(found) is kind and took < 1
    gevent.sleep(0.1)
    assert failed == [] and len(client.pushes) == 1
    assert closed_after(upstream.requests[0], time.monotonic()) < 0.3


def test_greenlet_that_is_killed_while_chunks_are_pushed_lets_its_connection_go(calls, upstream):
    upstream.enqueue(words(100))
    client = Timed()
    job = gevent.spawn(client.read, calls, calls.upstream(upstream.url))
    gevent.sleep(0.4)
    job.kill(timeout=1)
    assert job.dead and (count := len(client.pushes)) >= 3
    assert closed_after(upstream.requests[0], time.monotonic()) < 0.3
    gevent.sleep(0.1)
    assert len(client.pushes) == count


class Slow(Timed):
    """A client to which each push takes a moment."""

    def push(self, block):
        time.sleep(0.02)
        return super().push(block)


def test_time_of_a_stream_is_its_upstreams_where_chunks_pass(calls, upstream):
    client = Slow()
    upstream.enqueue(in_step(client, [ROLE, *[WORD] * 20], [framed(sse(STOP) + DONE) + LAST_CHUNK]))
    call, took = timed(client.read, calls, calls.upstream(upstream.url))
    assert len(client.pushed) == 19
    assert 19 * 0.02 < call.upstream_seconds <= took


def test_upstream_has_not_worked_for_less_than_no_time_when_a_call_is_killed(calls, upstream):
    client, call = Slow(), calls.call(stream=True)
    upstream.enqueue(in_step(client, [ROLE, *[WORD] * 20], [HANG]))
    call.push = client.push
    blocks = calls.upstream(upstream.url).stream(call, "m")
    job = gevent.spawn(lambda: [client.add(block) for block in blocks])
    while len(client.pushed) < 19:
        gevent.sleep(0.01)
    job.kill(timeout=1)
    assert call.upstream_seconds >= 0


def stored(events):
    """Return the pieces of a gzip body that holds events as they are, each in its own piece."""
    squeeze = zlib.compressobj(level=0, wbits=31)
    for event in events:
        data = squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        before, _, after = data.partition(event)
        yield from (before, event, after)
    yield squeeze.flush()


def test_chunk_of_a_compressed_answer_is_not_pushed_past_its_decompression(calls, upstream):
    events = [sse(chunk) for chunk in CHUNKS] + [DONE]
    packed = {"content-encoding": "gzip", "transfer-encoding": "chunked"}
    steps = [step for piece in stored(events) if piece for step in (0.02, framed(piece))]
    upstream.enqueue(raw([answers.head(headers=packed), *steps, LAST_CHUNK], end=None))
    client = Client()
    call = client.read(calls, calls.upstream(upstream.url), model="echo")
    assert client.blocks == [*events[:-2], DONE] and call.relay.usage.output == 5


def between_chunks(data):
    """Return the body that a parser finds between chunks, if it is there again behind it."""
    parser = Answer()
    parser.feed(CHUNKED + b"1\r\nx\r\n" + data)
    found = parser.take()[1:]
    return found if parser.between and not parser.done and parser.fault is None else None


CANONICAL = st.binary(min_size=1, max_size=40).map(framed)
ODD = st.builds(
    bytes.__add__, st.sampled_from([b"0", b"+", b"0x", b" ", b"_", b"-", b"\n", b"\t"]), CANONICAL
)


@given(st.binary(max_size=40) | CANONICAL | ODD | CANONICAL.map(lambda data: data[:-1]))
@example(b"")
@example(b"+5\r\nhello\r\n")
@example(b"5_0\r\n" + b"x" * 50 + b"\r\n")
@example(b" 5\r\nhello\r\n")
@example(b"5\r\nhello\n\n")
@example(b"5\nhello\r\n")
def test_bytes_that_are_called_a_whole_chunk_are_one_to_the_parser(data):
    body = whole_chunk(data)
    if body:
        assert between_chunks(data) == body


@given(st.integers(1, 70_000), st.booleans())
def test_whole_chunk_is_recognised(size, upper):
    body = bytes(size)
    data = b"%X\r\n%b\r\n" % (size, body) if upper else framed(body)
    assert whole_chunk(data) == body


@pytest.mark.parametrize("data", [LAST_CHUNK, b"-2\r\n"])
def test_bytes_with_no_body_in_them_are_no_whole_chunk(data):
    assert whole_chunk(data) is None


def fed(pieces):
    """Return a parser that has been given these pieces, None if it would not have them."""
    parser = Answer()
    try:
        for piece in [CHUNKED, *pieces]:
            parser.feed(piece)
    except Exception:
        return None
    return parser


PROBE = b"5\r\nprobe\r\n"


@given(st.lists(st.builds(sized, STYLES, st.binary(min_size=1, max_size=9))), st.data())
def test_parser_says_that_it_is_between_chunks_only_where_it_is(frames, data):
    whole, at = b"".join(frames), [0]
    at += sorted(data.draw(st.sets(st.integers(0, len(whole)))) if whole else [])
    pieces = [whole[a:b] for a, b in zip(at, at[1:], strict=False) if a < b]
    parser, then = fed(pieces), fed([*pieces, PROBE])
    whole_ends = {sum(map(len, frames[:count])) for count in range(1, len(frames) + 1)}
    assert parser.between == (at[-1] in whole_ends)
    if parser.between:
        assert then.take() == parser.take() + b"probe" and then.between


@given(
    st.lists(CANONICAL), st.binary(min_size=1, max_size=9), st.sampled_from([b"", b"\n", b"\r\n"])
)
def test_parser_is_between_chunks_behind_no_rubbish(frames, rubbish, end):
    parser = fed([b"".join(frames) + rubbish + end])
    if parser is not None and parser.between and not parser.done and parser.fault is None:
        before, _, after = parser.take(), parser.feed(PROBE), parser.take()
        assert before and after == b"probe"
