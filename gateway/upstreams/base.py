"""One client call as upstreams see it, and what they give back."""

import math
import time
from typing import NamedTuple

from gateway.tokens import Usage

NO_HEADERS = {}
PING = b""  # in a stream of blocks: nothing has come, but a keepalive is due


def streams(endpoint, payload):
    """Tell whether a call is to be answered with a stream.

    Embeddings have none: there `stream` is one of the parameters that are passed on.
    """
    return endpoint != "embeddings" and payload.get("stream") is True


class Call:
    """What a client has asked for, and what has become known of it on the way.

    `asked` is the checked body, `payload` the same with the turns before it in place of
    `previous_response_id`, `model` the id asked for, `watch` guards every wait. `keep(response)` is
    called with a Response that has ended before its client hears of that; it stores it where
    `store` says so, and sets its `store` to what has become of that. `response_id` is the id that
    its Response gets where that is decided beforehand. An upstream sets `stateful` and `secrets` to
    its own while it is tried, and `relay` once it streams. `push(block)`, where there is one, sends
    a block to the client at once, from the hub too, or leaves it (False) to be yielded.
    """

    def __init__(self, endpoint, payload, watch, clock=time.monotonic):
        self.endpoint, self.payload, self.watch, self.clock = endpoint, payload, watch, clock
        self.asked, self.store, self.keep = payload, False, unkept
        self.model = payload["model"]
        self.response_id = self.push = None
        self.stream = streams(endpoint, payload)
        self.started = self.spoke = clock()  # `spoke`: when the client was last sent something
        self.stateful, self.secrets, self.relay = False, (), None
        self.upstream = self.upstream_model = None  # names of the one that answers
        self.passed = NO_HEADERS  # the client's headers that go on to upstreams
        self.price = None  # what its model costs, where that is configured
        self.attempts = []  # "upstream:outcome", one a try
        self.upstream_seconds = 0.0
        self.size = 0  # bytes of the body that the client has sent
        self.sent = 0  # bytes of the body that was sent to the upstream
        self.said = None  # bytes of text in an answer that came whole and that nobody has counted
        self.deadline = math.inf  # monotonic seconds after which the client no longer waits
        self.end = -math.inf  # ... after which all its tries together have taken too long
        self.hurried = False  # the tries before this one have left it less than half of its time

    def bound(self, seconds):
        """Return when a try of an upstream that allows so many seconds is over.

        All tries together have as long as the most patient of their upstreams allows for one.
        """
        now = self.clock()
        self.end = max(self.end, self.started + seconds)
        self.hurried = self.end - now < seconds / 2
        return min(now + seconds, self.end)


def unkept(response):
    """Say that a response is not stored."""
    response["store"] = False


class Whole(NamedTuple):
    """A whole answer, ready for the client."""

    body: bytes
    usage: Usage | None
