"""What an exchange tells its ticket at each of its ends."""

import pytest

from gateway import errors, watch
from gateway.config.shape import Price
from gateway.exchange import Exchange
from gateway.logs import Line
from gateway.tokens import Usage
from gateway.upstreams.base import Whole

COUNTED = Usage(input=3, output=5)


class Guard:
    drained = None

    def close(self):
        pass


class Ticket:
    """Notes what it is asked; refuses with an error that is given."""

    def __init__(self, refusal=None):
        self.refusal, self.reserved, self.settled = refusal, [], []

    def reserve(self, call):
        self.reserved.append(call)
        if self.refusal:
            raise self.refusal

    def settle(self, *told):
        self.settled.append(told)


class Router:
    def __init__(self, end, sent):
        self.end, self.sent, self.asked = end, sent, 0

    def whole(self, call, key):
        self.asked += 1
        call.sent, call.price = self.sent, Price(input=1, output=4)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


def run(end, sent=400, ticket=None):
    """Run an exchange to its end and return its ticket and router."""
    ticket, router = ticket or Ticket(), Router(end, sent)
    recorder = type("Recorder", (), {"add": lambda self, row: None})()
    line = Line("req_1", "POST", "/v1/chat/completions")
    payload = {"model": "m", "messages": []}
    exchange = Exchange(router, recorder, "chat", payload, Guard(), line, ticket=ticket)
    try:
        exchange.run()
    except errors.GatewayError:
        pass
    exchange.settle(end="cancelled")
    return ticket, router


def began():
    error = errors.UpstreamReset()
    error.began = True
    return error


@pytest.mark.parametrize(
    ("end", "sent", "told"),
    [
        (Whole(b"{}", COUNTED), 400, (COUNTED, 23_000, True)),
        (Whole(b"{}", None), 400, (None, None, True)),
        (watch.Gone(), 400, (None, None, True)),
        (watch.Gone(), 0, (None, None, False)),
        (began(), 400, (None, None, True)),
        (errors.UpstreamReset(), 400, (None, None, False)),
        (errors.UpstreamRefused(400, "no"), 400, (None, None, False)),
        (errors.ServerOverloaded(), 0, (None, None, False)),
    ],
    ids=repr,
)
def test_ticket_is_settled_once_with_what_became_of_the_call(end, sent, told):
    ticket, _ = run(end, sent)
    assert ticket.settled == [told]
    assert len(ticket.reserved) == 1


def test_call_that_its_ticket_refuses_is_sent_nowhere():
    ticket, router = run(None, ticket=Ticket(errors.InsufficientQuota()))
    assert router.asked == 0
    assert ticket.settled == [(None, None, False)]
