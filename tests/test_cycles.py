"""What a call has held is free when the call is over, without a look for cycles of references.

Such looks may be thousands of requests apart, and what was asked may be megabytes.
"""

import gc
import weakref

import pytest

from gateway import errors, watch
from gateway.exchange import Exchange
from gateway.logs import Line
from gateway.metrics import tally
from gateway.turns import NO_TURN
from gateway.upstreams.dialects import chat, responses
from gateway.upstreams.transport.answer import Answer


class Guard:
    drained = None

    def close(self):
        pass


class Recorder:
    def add(self, row):
        pass


class Router:
    """Streams by a real relay, which is what knows the call."""

    def __init__(self, dialect, error=None):
        self.dialect, self.error = dialect, error

    def stream(self, call, key):
        call.relay = self.dialect.Relay(call)
        if self.error is not None:
            raise self.error()
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"


@pytest.fixture(autouse=True)
def no_looks():
    gc.disable()
    yield
    gc.enable()
    for histogram in (tally.overhead, tally.duration, tally.first_token, tally.tokens):
        histogram.values.clear()


def begun(router):
    payload = {"model": "m", "stream": True, "messages": [], "input": "a"}
    line = Line("req_1", "POST", "/")
    return Exchange(router, Recorder(), "chat", payload, Guard(), line, turn=NO_TURN)


@pytest.mark.parametrize("error", [errors.UpstreamReset, watch.Gone])
def test_a_stream_that_never_began_holds_nothing_of_its_call(error):
    exchange = begun(Router(chat, error))
    with pytest.raises(errors.GatewayError) as found:
        exchange.run()
    del found
    call = weakref.ref(exchange.call)
    del exchange
    assert call() is None


@pytest.mark.parametrize("dialect", [chat, responses])
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_stream_that_is_over_holds_nothing_of_its_call(dialect, taken):
    exchange = begun(Router(dialect))
    reply = exchange.run()
    blocks = iter(reply)
    for _ in range(taken):
        next(blocks)
    blocks.close()
    reply.close()
    call = weakref.ref(exchange.call)
    del exchange, reply, blocks
    assert call() is None


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (HEAD + b"content-length: 2\r\n\r\n{}", False),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", False),
        (HEAD + b"\r\n{}", True),  # until the upstream closes
    ],
)
def test_an_answer_that_is_over_lets_its_parser_go(data, ends):
    answer = Answer()
    answer.feed(data)
    if ends:
        answer.end()
    assert answer.done and answer.take() == b"{}" and answer.parser is None
    answer.feed(b"more")
    assert answer.dirty
