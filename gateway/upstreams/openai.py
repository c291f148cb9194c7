"""Any server that speaks OpenAI's API: sends a call, gives back its answer or stream."""

import functools
import time

import orjson
import requests
from requests import exceptions
from requests.adapters import HTTPAdapter

from gateway import errors, watch
from gateway.upstreams import faults
from gateway.upstreams.base import PING, Whole
from gateway.upstreams.dialects import DIALECTS
from gateway.upstreams.proxied import ProxiedWire
from gateway.upstreams.relay import LARGEST_ANSWER
from gateway.upstreams.transport import Adapter

AGENT = "klintero-gateway"


class OpenAI:
    """One configured upstream; `settings` is its table of the configuration."""

    def __init__(self, settings):
        self.name, self.timeouts = settings.name, settings.timeouts
        self.endpoints, self.streams = frozenset(settings.endpoints), settings.stream
        self.stateful, self.secret = settings.stateful, settings.api_key
        self.max_in_flight = settings.max_in_flight
        self.base_url = settings.base_url
        self.headers = {
            "User-Agent": AGENT,
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self.secret}"} if self.secret else {}),
            **settings.headers,
        }
        self.proxied = bool(settings.proxy)
        self.session = session(settings)
        self.how = {
            "allow_redirects": False,
            "verify": settings.ca_file or True,
            "proxies": {"http": settings.proxy, "https": settings.proxy} if self.proxied else {},
        }

    def whole(self, call, model):
        """Return the answer to a call that does not stream, as a Whole."""
        dialect = self.begin(call)
        deadline = call.clock() + self.timeouts.total
        request = self.request("POST", dialect.PATH, dialect.body(call, model, self.stateful))
        call.sent = len(request.body)
        reply = self.spend(call, self.send(request), deadline, "total")
        if reply.status_code != 200:
            raise self.refusal(call, reply.status_code, reply.headers, reply.content)
        return Whole(*dialect.whole(call, reply.content, self.stateful))

    def stream(self, call, model):
        """Yield blocks of whole events, and PING when a keepalive is due.

        Raises GatewayError. Closing the generator closes the call to the upstream.
        """
        dialect = self.begin(call)
        began = call.clock()
        relay = call.relay = dialect.Relay(call)
        request = self.request(
            "POST", dialect.PATH, dialect.body(call, model, self.stateful), "text/event-stream"
        )
        call.sent = len(request.body)
        first = began + self.timeouts.first_token
        total = began + self.timeouts.stream_total
        wire = self.open(call, request, *min((first, "first_token"), (total, "total")))
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
            reply = self.wait(guard, self.send(request), deadline, "total")
        finally:
            guard.close()
        if reply.status_code != 200:
            raise faults.refusal(reply.status_code, reply.headers, b"", "", self.secret)
        return listed(reply.content)

    def begin(self, call):
        call.stateful, call.secret = self.stateful, self.secret
        return DIALECTS[call.endpoint]

    def read(self, call, wire, relay, first, total):
        """Yield what an opened stream gives."""
        yield from self.pausing(call, wire.head, *min((first, "first_token"), (total, "total")))
        if wire.status != 200:
            body = yield from self.pausing(
                call, functools.partial(wire.read, faults.LARGEST_REFUSAL), first, "first_token"
            )
            raise self.refusal(call, wire.status, wire.headers, body)
        if "json" in wire.headers.get("content-type", ""):
            reading = functools.partial(wire.read, LARGEST_ANSWER)
            yield relay.whole((yield from self.pausing(call, reading, total, "total")))
            return
        yield from self.relayed(call, wire, relay, first, total)

    def relayed(self, call, wire, relay, first, total):
        """Yield the blocks of a stream until it is done, broken or too late."""
        limit, timer = min((first, "first_token"), (total, "total"))
        while not relay.done:
            data = yield from self.pausing(call, wire.read1, limit, timer)
            seen = relay.events
            block = relay.take(data) if data else relay.end()
            now = call.clock()
            if relay.events > seen:
                limit, timer = min((now + self.timeouts.idle, "idle"), (total, "total"))
            elif now >= limit:
                raise errors.UpstreamTimeout(timer)  # bytes came all the time, but no event
            if block:
                yield block
                call.spoke = call.clock()
            if relay.error:
                raise relay.error

    def pausing(self, call, function, deadline, timer):
        """Wait for a function, yielding PING whenever the client should hear something."""
        while True:
            try:
                pause = call.spoke + self.timeouts.keepalive
                return self.spend(call, function, deadline, timer, pause)
            except watch.Pause:
                yield PING
                call.spoke = call.clock()

    def spend(self, call, *waiting):
        """Wait, and count the time as the upstream's."""
        began = call.clock()
        try:
            return self.wait(call.watch, *waiting)
        finally:
            call.upstream_seconds += call.clock() - began

    def wait(self, guard, function, deadline, timer, pause=watch.FOREVER):
        """Wait for a function, saying in our words what went wrong."""
        try:
            return guard.call(function, deadline=deadline, timer=timer, pause=pause)
        except watch.Late as exc:
            raise errors.UpstreamTimeout(exc.timer) from None
        except (exceptions.RequestException, UnicodeError) as exc:
            raise faults.of(exc) from exc

    def open(self, call, request, deadline, timer):
        """Write the request of a stream and return its wire."""
        reply = self.spend(call, self.send(request, stream=True), deadline, timer)
        return ProxiedWire(reply) if self.proxied else reply.raw

    def send(self, request, stream=False):
        timeout = (self.timeouts.connect, self.timeouts.stream_total)
        return functools.partial(
            self.session.send, request, stream=stream, timeout=timeout, **self.how
        )

    def request(self, method, path, payload, accept="application/json"):
        # Prepared by hand: requests' own preparing costs three times the whole hop.
        request = requests.PreparedRequest()
        request.method, request.url = method, self.base_url + path
        request.hooks = {"response": []}
        request.headers = {**self.headers, "Accept": accept}
        if payload is not None:
            request.body = orjson.dumps(payload)
            request.headers["Content-Length"] = str(len(request.body))
        return request

    def refusal(self, call, status, headers, body):
        return faults.refusal(status, headers, body, call.model, self.secret)

    def close(self):
        self.session.close()


def session(settings):
    """Return a session that keeps to itself: no cookies, no environment, no redirects."""
    found = requests.Session()
    found.trust_env = False
    found.cookies.set_policy(NoCookies())
    if settings.proxy:
        adapter = HTTPAdapter(pool_maxsize=100)
    else:
        adapter = Adapter(settings.timeouts.connect, ca_file=settings.ca_file)
    for prefix in ("http://", "https://"):
        found.mount(prefix, adapter)
    return found


class NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):
    """What one client's answer sets must not go out with another client's call."""

    def set_ok(self, cookie, request):
        return False

    return_ok = set_ok


def listed(body):
    """Return the ids in a list of models."""
    try:
        return [model["id"] for model in orjson.loads(body)["data"] if type(model["id"]) is str]
    except (orjson.JSONDecodeError, TypeError, KeyError) as exc:
        raise errors.UpstreamBadResponse() from exc
