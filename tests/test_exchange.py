import itertools
import logging

import pytest

from gateway import errors, sse, watch
from gateway.exchange import Exchange, StreamReply, WholeReply, routed
from gateway.logs import Line
from gateway.metrics import tally
from gateway.tokens import Usage
from gateway.upstreams.base import PING, Call, Whole

ANSWER = Whole(b'{"object": "chat.completion"}', Usage(input=3, output=5))
PAYLOAD = {"model": "m", "messages": []}


class Guard:
    closed, drained = 0, None

    def close(self):
        self.closed += 1


class Relay:
    """What an upstream leaves in the call: what was counted, and the words for a fault."""

    def __init__(self, usage=None, events=0):
        self.usage, self.events = usage, events

    def fail(self, error):
        return f"failed: {error.code}".encode()


class Router:
    """Gives what a test has scripted: a Whole, blocks, or an exception to raise in their place."""

    def __init__(self, *script, relay=None, attempts=()):
        self.script, self.relay, self.attempts = script, relay, attempts
        self.closed = 0

    def prepare(self, call):
        call.upstream, call.upstream_model = "mock", "upstream-model"
        call.attempts.extend(self.attempts)
        call.relay, call.sent = self.relay, 400

    def whole(self, call, key):
        self.prepare(call)
        if isinstance(self.script[0], BaseException):
            raise self.script[0]
        return self.script[0]

    def stream(self, call, key):
        self.prepare(call)
        try:
            for step in self.script:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.closed += 1


class Tried:
    """One exchange over a scripted router, and everything that it writes down."""

    def __init__(self, *script, stream=False, **how):
        self.router, self.rows, self.guard = Router(*script, **how), [], Guard()
        self.line = Line("req_1", "POST", "/v1/chat/completions", clock=lambda: 99.0)
        self.line.label = "m"
        self.recorder = type("Recorder", (), {"add": lambda _, row: self.rows.append(row)})()
        self.before = tally.in_flight
        clock = itertools.count(100.0)
        self.exchange = Exchange(
            self.router, self.recorder, "chat", {**PAYLOAD, "stream": stream},
            self.guard, self.line, clock=lambda: next(clock),
        )  # fmt: skip

    def settled_once(self, status, end, code=None):
        (row,) = self.rows
        assert (row["status"], row["end"], row["code"]) == (status, end, code)
        assert (self.line.end, self.line.code) == (end, code)
        assert self.guard.closed == 1
        assert tally.in_flight == self.before
        return row


@pytest.fixture(autouse=True)
def quiet_tally(monkeypatch):
    yield
    for histogram in (tally.overhead, tally.duration, tally.first_token, tally.tokens):
        histogram.values.clear()


def test_whole_answer_is_settled_with_what_it_used():
    tried = Tried(ANSWER)
    reply = tried.exchange.run()

    assert isinstance(reply, WholeReply) and reply.body == ANSWER.body
    row = tried.settled_once(200, "ok")
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (3, 5, "upstream")
    assert (row["upstream"], tried.line.upstream) == ("mock", "mock")


def test_whole_answer_without_a_count_has_none():
    tried = Tried(Whole(b"{}", None))
    tried.exchange.run()

    row = tried.settled_once(200, "ok")
    assert (row["input_tokens"], row["usage_source"]) == (None, "absent")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "raised", "status", "end", "code"),
    [
        (errors.UpstreamReset(), errors.UpstreamReset, 502, "error", "upstream_reset"),
        (errors.ModelNotFound("m"), errors.ModelNotFound, 404, "error", "model_not_found"),
        (errors.UpstreamTimeout("total"), errors.UpstreamTimeout, 504, "error", "upstream_timeout"),
        (ZeroDivisionError(), ZeroDivisionError, 500, "error", "internal_error"),
        (watch.Gone(), errors.ClientGone, 499, "cancelled", "client_closed_request"),
    ],
)
def test_fault_before_anything_is_sent_is_raised_and_settled(
    stream, error, raised, status, end, code
):
    tried = Tried(error, stream=stream, attempts=["a:429", "b:reset"])
    with pytest.raises(raised) as caught:
        tried.exchange.run()

    tried.settled_once(status, end, code)
    if end == "error" and raised is not ZeroDivisionError:
        assert caught.value.routed["x-gateway-attempts"] == "a:429,b:reset"
        assert caught.value.headers()["x-gateway-upstream"] == "mock"


def test_stream_takes_its_first_block_before_the_reply_is_made():
    tried = Tried(b"one", b"two", stream=True)
    reply = tried.exchange.run()

    assert isinstance(reply, StreamReply) and reply.answered
    assert tried.rows == [] and tally.in_flight == tried.before + 1
    assert list(reply) == [b"one", b"two"]
    reply.close()
    tried.settled_once(200, "ok")


def test_stream_is_settled_once_however_often_it_is_closed():
    tried = Tried(b"one", relay=Relay(Usage(input=1, output=2), events=3), stream=True)
    reply = tried.exchange.run()
    list(reply)
    for _ in range(3):
        reply.close()
    tried.exchange.settle(error=errors.InternalError())

    row = tried.settled_once(200, "ok")
    assert (row["input_tokens"], row["output_tokens"], row["usage_source"]) == (1, 2, "upstream")


def test_stream_that_nobody_began_to_read_is_closed_and_cancelled():
    tried = Tried(b"one", b"two", relay=Relay(events=1), stream=True)
    reply = tried.exchange.run()
    reply.close()

    tried.settled_once(200, "cancelled")
    assert tried.router.closed == 1


def test_stream_that_is_left_in_the_middle_is_cancelled_and_what_was_used_is_estimated():
    tried = Tried(b"one", b"two", b"three", relay=Relay(events=7), stream=True)
    reply = tried.exchange.run()
    reading = iter(reply)
    assert next(reading) == b"one"
    reading.close()
    reply.close()

    row = tried.settled_once(200, "cancelled")
    assert (row["input_tokens"], row["output_tokens"]) == (100, 7)  # 400 bytes, 7 chunks
    assert row["usage_source"] == "estimated"
    assert tried.router.closed == 1


def test_client_that_leaves_during_a_wait_ends_the_stream_without_a_word():
    tried = Tried(b"one", watch.Gone(), stream=True)
    reply = tried.exchange.run()

    assert list(reply) == [b"one"]
    reply.close()
    tried.settled_once(200, "cancelled")


def test_fault_in_the_middle_is_said_in_the_stream_s_own_words():
    tried = Tried(b"one", errors.UpstreamReset(), relay=Relay(events=1), stream=True)
    reply = tried.exchange.run()

    assert list(reply) == [b"one", b"failed: upstream_reset"]
    reply.close()
    tried.settled_once(200, "error", "upstream_reset")


def test_fault_of_ours_in_the_middle_tells_the_client_nothing(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    tried = Tried(b"one", ValueError("CANARY"), relay=Relay(events=1), stream=True)
    reply = tried.exchange.run()

    assert list(reply) == [b"one", b"failed: internal_error"]
    reply.close()
    tried.settled_once(200, "error", "internal_error")
    assert [record.getMessage() for record in caplog.records] == ["stream failed"]


def test_ping_is_a_comment_and_commits_without_an_upstream():
    tried = Tried(PING, PING, b"one", stream=True)
    reply = tried.exchange.run()

    assert not reply.answered
    assert list(reply) == [sse.KEEPALIVE, sse.KEEPALIVE, b"one"]
    reply.close()
    tried.settled_once(200, "ok")


def test_first_token_is_timed_by_the_first_block_and_not_by_a_ping():
    tried = Tried(PING, b"one", b"two", stream=True)
    reading = iter(tried.exchange.run())
    next(reading)
    assert tried.line.ttft is None
    next(reading)
    first = tried.line.ttft
    next(reading)
    assert first is not None and tried.line.ttft == first


def test_attempts_are_told_where_there_was_more_than_one():
    call = Call("chat", PAYLOAD, Guard())
    assert routed(call) == {}
    call.upstream, call.upstream_model, call.attempts = "b", "ünï/x:y@z\r\n", ["b:200"]
    assert routed(call) == {
        "x-gateway-upstream": "b",
        "x-gateway-model": "%C3%BCn%C3%AF/x:y@z%0D%0A",
    }
    call.attempts = ["a:429", "b:200"]
    assert routed(call)["x-gateway-attempts"] == "a:429,b:200"


def test_duration_and_tokens_are_measured_by_endpoint_and_configured_model():
    tried = Tried(ANSWER)
    tried.exchange.run()

    assert len(tally.duration.values["chat", "m"]) == 1
    assert tally.tokens.values["chat", "m", "input"] == [3]
    assert tally.tokens.values["chat", "m", "output"] == [5]


@pytest.mark.parametrize("stream", [False, True])
def test_call_that_a_drain_has_ended_is_an_error_that_is_told(stream):
    tried = Tried(watch.Gone(), stream=stream)
    tried.guard.drained = errors.ServerDraining
    with pytest.raises(errors.ServerDraining):
        tried.exchange.run()
    tried.settled_once(503, "error", "server_draining")


def test_stream_that_a_drain_has_ended_says_so():
    tried = Tried(b"one", watch.Gone(), stream=True, relay=Relay())
    tried.guard.drained = errors.ServerDraining
    reply = tried.exchange.run()
    assert list(reply) == [b"one", b"failed: server_draining"]
    reply.close()
    tried.settled_once(200, "error", "server_draining")
