"""Any server that speaks OpenAI's API: sends a call, gives back its answer or stream."""

import functools
import time
from urllib.parse import urlsplit

import orjson
import requests
from requests import exceptions

from gateway import errors, watch
from gateway.upstreams import faults
from gateway.upstreams.base import NO_HEADERS, PING, Whole
from gateway.upstreams.dialects import spoken
from gateway.upstreams.relay import LARGEST_ANSWER
from gateway.upstreams.transport import Adapter

AGENT = "klintero-gateway"
# What a wait for an upstream may raise of others' exceptions; faults.of() translates them.
FOREIGN = (watch.Late, exceptions.RequestException, UnicodeError)
TELLING = 16  # characters from which on the value of a configured header may be a secret


class OpenAI:
    """One configured upstream; `settings` is its table of the configuration."""

    def __init__(self, settings):
        self.name, self.timeouts = settings.name, settings.timeouts
        self.endpoints, self.streams = frozenset(settings.endpoints), settings.stream
        self.stateful, self.secrets = settings.stateful, secrets(settings)
        self.max_in_flight = settings.max_in_flight
        self.base_url = settings.base_url
        self.headers = headers(settings)
        self.given = {name.lower() for name in settings.headers}  # by the configuration, which wins
        self.session = session(settings)

    def whole(self, call, model):
        """Return the answer to a call that does not stream, as a Whole."""
        dialect = self.begin(call)
        deadline = call.clock() + self.timeouts.total
        body = dialect.body(call, model, call.stateful)
        request = self.request("POST", dialect.PATH, body, passed=call.passed)
        call.sent = len(request.body)
        reply = self.spend(call, self.send(request), deadline, "total")
        if reply.status_code != 200:
            raise self.refusal(call, reply.status_code, reply.headers, reply.content)
        return Whole(*dialect.whole(call, reply.content, call.stateful))

    def stream(self, call, model):
        """Yield blocks of whole events, and PING when a keepalive is due.

        Raises GatewayError. Closing the generator closes the call to the upstream.
        """
        dialect = self.begin(call)
        began = call.clock()
        relay = call.relay = dialect.Relay(call)
        body = dialect.body(call, model, call.stateful)
        request = self.request("POST", dialect.PATH, body, "text/event-stream", call.passed)
        call.sent = len(request.body)
        total = (began + self.timeouts.stream_total, "total")
        first = min((began + self.timeouts.first_token, "first_token"), total)
        wire = self.spend(call, self.send(request, stream=True), *first).raw
        del body, request  # the wire has what is to be sent, and as long as it may be sent again
        try:
            yield from self.read(call, wire, relay, first, total)
        finally:
            wire.release() if relay.done else wire.close()

    def models(self):
        """Return the ids of the models that the upstream lists."""
        guard = watch.Watch()
        try:
            request = self.request("GET", "/models", None)
            deadline = time.monotonic() + 2 * self.timeouts.connect
            reply = guard.call(self.send(request), deadline=deadline)
        except FOREIGN as exc:
            raise faults.of(exc) from exc
        finally:
            guard.close()
        if reply.status_code != 200:
            raise faults.refusal(reply.status_code, reply.headers, b"", "", self.secrets)
        return listed(reply.content)

    def begin(self, call):
        """Return the dialect for a call; what is translated is never kept by the upstream."""
        native = call.endpoint in self.endpoints
        # A response whose id was given out before it was made cannot have the upstream's.
        call.stateful = self.stateful and native and call.response_id is None
        call.secrets = self.secrets
        return spoken(self, call.endpoint)

    def read(self, call, wire, relay, first, total):
        """Yield what an opened stream gives; `first` and `total` are (deadline, timer)."""
        yield from self.pausing(call, wire.head, *first)
        reading = functools.partial(wire.read, LARGEST_ANSWER)
        if wire.status != 200:
            body = yield from self.pausing(call, reading, *first)
            raise self.refusal(call, wire.status, wire.headers, body)
        if "json" in wire.headers.get("content-type", "").lower():
            yield relay.whole((yield from self.pausing(call, reading, *first)))
        else:
            yield from self.relayed(call, wire, relay, first, total)

    def relayed(self, call, wire, relay, first, total):
        """Yield the blocks of a stream until it is done, broken or too late."""
        limit, clock = first, call.clock
        idle, keepalive = self.timeouts.idle, self.timeouts.keepalive
        while not relay.done:
            # What pausing() does, without a generator of its own for every chunk.
            try:
                data = self.spend(call, wire.read1, *limit, call.spoke + keepalive)
            except watch.Pause:
                yield PING
                call.spoke = clock()
                continue
            seen = relay.events
            block = relay.take(data) if data else relay.end()
            if block:
                yield block
                call.spoke = clock()
            if relay.error:
                raise relay.error
            if relay.events > seen:
                later = clock() + idle
                limit = (later, "idle") if later < total[0] else total

    def pausing(self, call, function, deadline, timer):
        """Wait for a function, yielding PING whenever the client should hear something."""
        while True:
            try:
                pause = call.spoke + self.timeouts.keepalive
                return self.spend(call, function, deadline, timer, pause)
            except watch.Pause:
                yield PING
                call.spoke = call.clock()

    def spend(self, call, function, deadline, timer, pause=watch.FOREVER):
        """Wait for a function; its time is the upstream's, and what fails is said in our words."""
        began = call.clock()
        try:
            return call.watch.call(function, deadline=deadline, timer=timer, pause=pause)
        except FOREIGN as exc:
            raise faults.of(exc) from exc
        finally:
            call.upstream_seconds += call.clock() - began

    def send(self, request, stream=False):
        return functools.partial(self.session.send, request, stream=stream)

    def request(self, method, path, payload, accept="application/json", passed=NO_HEADERS):
        # Prepared by hand: requests' own preparing costs three times the whole hop.
        request = requests.PreparedRequest()
        request.method, request.url = method, self.base_url + path
        request.hooks = {"response": []}
        request.headers = {**self.headers, "Accept": accept}
        for name, value in passed.items():
            if name.lower() not in self.given:
                request.headers[name] = value
        if payload is not None:
            request.body = orjson.dumps(payload)
            request.headers["Content-Length"] = str(len(request.body))
        return request

    def refusal(self, call, status, headers, body):
        return faults.refusal(status, headers, body, call.model, self.secrets)

    def close(self):
        self.session.close()


def headers(settings):
    """Return the headers of every request; what is configured takes the place of our own."""
    found = {
        "User-Agent": AGENT,
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
    }
    if settings.api_key:
        found["Authorization"] = f"Bearer {settings.api_key}"
    given = {name.lower() for name in settings.headers}
    kept = {name: value for name, value in found.items() if name.lower() not in given}
    return {**kept, **settings.headers}


def secrets(settings):
    """Return what no client may read in an upstream's words: its keys and its address."""
    found = {settings.api_key, *(value.split()[-1] for value in settings.headers.values() if value)}
    found = {text for text in found if len(text) >= (8 if text == settings.api_key else TELLING)}
    address = urlsplit(settings.base_url).netloc
    if "." in address or ":" in address:  # a bare name may be any word
        found.add(address)
    return tuple(found - {""})


def session(settings):
    """Return a session that keeps to itself: no environment, no redirects."""
    found = Session()
    found.trust_env = False
    adapter = Adapter(settings.timeouts.connect, ca_file=settings.ca_file, proxy=settings.proxy)
    for prefix in ("http://", "https://"):
        found.mount(prefix, adapter)
    return found


class Session(requests.Session):
    """requests' session without its memory: an answer leaves no cookie and leads nowhere else."""

    def send(self, request, **how):
        """Send through the mounted adapter, and follow nothing."""
        return self.get_adapter(request.url).send(request, **how)


def listed(body):
    """Return the ids in a list of models."""
    try:
        return [model["id"] for model in orjson.loads(body)["data"] if type(model["id"]) is str]
    except (orjson.JSONDecodeError, TypeError, KeyError) as exc:
        raise errors.UpstreamBadResponse() from exc
