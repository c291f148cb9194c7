"""One client call as upstreams see it, and what they give back."""

import math
import time
from typing import NamedTuple

from gateway.tokens import Usage

PING = b""  # in a stream of blocks: nothing has come, but a keepalive is due


class Call:
    """What a client has asked for, and what has become known of it on the way.

    `payload` is the checked body, `model` the id asked for, `watch` guards every wait. An upstream
    sets `stateful` and `secrets` to its own while it is tried, and `relay` once it streams.
    """

    def __init__(self, endpoint, payload, watch, clock=time.monotonic):
        self.endpoint, self.payload, self.watch, self.clock = endpoint, payload, watch, clock
        self.model = payload["model"]
        self.stream = payload.get("stream") is True
        self.started = self.spoke = clock()  # `spoke`: when the client was last sent something
        self.stateful, self.secrets, self.relay = False, (), None
        self.upstream = self.upstream_model = None  # names of the one that answers
        self.attempts = []  # "upstream:outcome", one a try
        self.upstream_seconds = 0.0
        self.sent = 0  # bytes of the body that was sent to the upstream
        self.deadline = math.inf  # monotonic seconds after which the client no longer waits


class Whole(NamedTuple):
    """A whole answer, ready for the client."""

    body: bytes
    usage: Usage | None
