"""What stands in for upstreams, clients and time, so that routing is tested without either."""

from types import SimpleNamespace

from gateway import config, errors, watch
from gateway.routing.catalogue import Catalogue
from gateway.routing.router import Router
from gateway.routing.tries import Tries
from gateway.upstreams import faults
from gateway.upstreams.base import PING, Call, Whole

ANSWER = Whole(b"{}", None)
STREAM = [b"1", b"2"]
START = 1000.0


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


class Guard:
    """A Watch whose waits take no time; its client leaves at `gone_at`."""

    def __init__(self, clock, gone_at=float("inf")):
        self.clock, self.gone_at, self.sleeps = clock, gone_at, []
        self.busy = lambda: None  # what others do meanwhile
        self.early = 0.0

    def sleep(self, seconds, pause=float("inf")):
        self.sleeps.append(seconds)
        # Timers count from when their loop last looked at the clock, so they may end early.
        end = min(self.clock.now + max(seconds - self.early, 0), pause)
        self.clock.now = max(self.clock.now, end)
        self.busy()
        if self.clock.now >= self.gone_at:
            raise watch.Gone
        if end == pause:
            raise watch.Pause


class Upstream:
    """Gives the answers that are queued, else `always`: an answer, an error, or blocks.

    `seconds` is what a try takes, `calls` holds the (time, model) of each.
    """

    def __init__(self, name, *answers, always=ANSWER, seconds=0.0, **how):
        self.name, self.answers, self.always, self.seconds = name, list(answers), always, seconds
        self.endpoints = frozenset(how.get("endpoints", ("chat", "responses", "embeddings")))
        self.streams, self.stateful = how.get("streams", True), how.get("stateful", False)
        self.max_in_flight = how.get("max_in_flight", 0)
        self.calls, self.closed = [], 0
        self.seen = lambda: None  # called while a try is on

    def next(self, call, model):
        self.calls.append((call.clock(), model))
        self.seen()
        call.clock.now += self.seconds
        answer = self.answers.pop(0) if self.answers else self.always
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def whole(self, call, model):
        return self.next(call, model)

    def stream(self, call, model):
        try:
            answer = self.next(call, model)
            for block in STREAM if answer is ANSWER else answer:
                if isinstance(block, BaseException):
                    raise block
                yield block
                if block is PING:
                    call.spoke = call.clock()
        finally:
            self.closed += 1


def answered(status, **headers):
    """Return the error that an upstream's answer with this status becomes."""
    headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return faults.refusal(status, headers, b"", "m")


def reset(began=False):
    error = errors.UpstreamReset()
    error.began = began
    return error


def model(id, *targets, fallbacks=()):
    """Return a configured model; a target is a name, or (name, weight, priority)."""
    rows = [(t, 1, 0) if isinstance(t, str) else t for t in targets]
    found = tuple(config.Target(name, id, weight, priority) for name, weight, priority in rows)
    return config.Model(id, found, fallbacks)


def router(*upstreams, models=None, rand=lambda: 0.5, **retry):
    """Return a router in front of upstreams, in this order for the model `m` if none is given."""
    if models is None:
        models = [model("m", *((up.name, 1, rank) for rank, up in enumerate(upstreams)))]
    tables = [SimpleNamespace(name=up.name, discover=False) for up in upstreams]
    settings = SimpleNamespace(
        models={found.id: found for found in models}, upstreams={t.name: t for t in tables}
    )
    catalogue = Catalogue(settings, {up.name: up for up in upstreams})
    return Router(catalogue, config.Retry(**retry), 15, rand)


def call(clock, endpoint="chat", model="m", guard=None, **payload):
    messages = {"messages": [{"role": "user", "content": "Hello"}]} if endpoint == "chat" else {}
    payload = {"model": model, **messages, **payload}
    return Call(endpoint, payload, guard or Guard(clock), clock)


def played(tries, clock, *script):
    """Play tries that fail with these errors (None: an answer); return whose they were."""
    found = []
    for error in script:
        found.append(tries.begin().upstream.name)
        try:
            if error is None:
                tries.succeeded()
                return found
            clock.now += tries.failed(error)
        finally:
            tries.end()
    return found


def start(*upstreams, clock=None, **retry):
    clock = clock or Clock()
    desk = router(*upstreams, **retry)
    asked = call(clock)
    return desk, Tries(desk, asked, desk.candidates(asked)), asked, clock


def three():
    return Upstream("a"), Upstream("b"), Upstream("c")


def asked(desk, clock=None, **how):
    """Make a whole call; return the call, and the answer or the error that its client gets."""
    made = call(clock or Clock(), **how)
    try:
        return made, desk.whole(made, "key_1")
    except errors.GatewayError as error:
        return made, error
    finally:
        assert not +desk.load


def streamed(desk, clock=None, **how):
    """Read a stream; return the call, its blocks, and the error that ended it or None."""
    made = call(clock or Clock(), stream=True, **how)
    blocks = []
    try:
        for block in desk.stream(made, "key_1"):
            blocks.append(block)
    except errors.GatewayError as error:
        return made, blocks, error
    finally:
        assert not +desk.load
    return made, blocks, None
