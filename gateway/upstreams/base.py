"""One client call as upstreams see it, and what they give back."""

import math
import time
from typing import NamedTuple

from gateway.tokens import Usage

PING = b""  # in a stream of blocks: nothing has come, but a keepalive is due


class Call:
    """What a client has asked for, and what has become known of it on the way.

    `asked` is the checked body, `payload` the same with the turns before it in place of
    `previous_response_id`, `model` the id asked for, `watch` guards every wait. `keep(response)` is
    called with a Response that has ended before its client hears of that; it stores it where
    `store` says so, and sets its `store` to what has become of that. An upstream sets `stateful`
    and `secrets` to its own while it is tried, and `relay` once it streams.
    """

    def __init__(self, endpoint, payload, watch, clock=time.monotonic):
        self.endpoint, self.payload, self.watch, self.clock = endpoint, payload, watch, clock
        self.asked, self.store, self.keep = payload, False, unkept
        self.model = payload["model"]
        self.stream = payload.get("stream") is True
        self.started = self.spoke = clock()  # `spoke`: when the client was last sent something
        self.stateful, self.secrets, self.relay = False, (), None
        self.upstream = self.upstream_model = None  # names of the one that answers
        self.attempts = []  # "upstream:outcome", one a try
        self.upstream_seconds = 0.0
        self.sent = 0  # bytes of the body that was sent to the upstream
        self.deadline = math.inf  # monotonic seconds after which the client no longer waits


def unkept(response):
    """Say that a response is not stored."""
    response["store"] = False


class Whole(NamedTuple):
    """A whole answer, ready for the client."""

    body: bytes
    usage: Usage | None
