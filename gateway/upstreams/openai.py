"""Any server that speaks OpenAI's API: sends a call, gives back its answer or stream."""

import functools
import time
from urllib.parse import urlsplit

import orjson
import requests

from gateway import errors, watch
from gateway.upstreams import faults
from gateway.upstreams.base import NO_HEADERS, Whole
from gateway.upstreams.dialects import spoken
from gateway.upstreams.flow import Flow
from gateway.upstreams.transport import Adapter, Request

AGENT = "klintero-gateway"
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
        # Sent to without the session, which would keep cookies and follow redirects.
        self.adapter = self.session.get_adapter(self.base_url)

    def whole(self, call, model):
        """Return the answer to a call that does not stream, as a Whole."""
        dialect = self.begin(call)
        deadline = call.bound(self.timeouts.total)
        body = dialect.body(call, model)
        request = self.request("POST", dialect.PATH, body, passed=call.passed)
        try:
            reply = self.spend(call, self.send(request), deadline, "total")
        finally:
            call.sent = request.sent
        if reply.status_code != 200:
            raise self.refusal(call, reply.status_code, reply.headers, reply.content)
        return Whole(*dialect.whole(call, reply.content))

    def stream(self, call, model):
        """Yield blocks of whole events, and PING when a keepalive is due.

        Raises GatewayError. Closing the generator closes the call to the upstream.
        """
        open = functools.partial(self.open, call, model)
        return Flow(call, self.timeouts).blocks(open, functools.partial(self.refusal, call))

    def open(self, call, model, deadline, timer):
        """Return the wire of a call that streams, which is still to be sent, and its relay."""
        dialect = self.begin(call)
        relay = call.relay = dialect.Relay(call)
        body = dialect.body(call, model)
        request = self.request("POST", dialect.PATH, body, "text/event-stream", call.passed)
        wire = self.spend(call, self.send(request, stream=True), deadline, timer).raw
        call.sent = request.sent
        return wire, relay

    def models(self):
        """Return the ids of the models that the upstream lists."""
        guard = watch.Watch()
        try:
            request = self.request("GET", "/models", None)
            deadline = time.monotonic() + 2 * self.timeouts.connect
            reply = guard.call(self.send(request), deadline=deadline)
        except faults.FOREIGN as exc:
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

    def spend(self, call, function, deadline, timer, pause=watch.FOREVER):
        """Wait for a function; its time is the upstream's, and what fails is said in our words."""
        began = call.clock()
        try:
            return call.watch.call(function, deadline=deadline, timer=timer, pause=pause)
        except faults.FOREIGN as exc:
            raise faults.of(exc) from exc
        finally:
            call.upstream_seconds += call.clock() - began

    def send(self, request, stream=False):
        return functools.partial(self.adapter.send, request, stream=stream)

    def request(self, method, path, payload, accept="application/json", passed=NO_HEADERS):
        # Prepared by hand: requests' own preparing costs three times the whole hop.
        request = Request()
        request.method, request.url = method, self.base_url + path
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
    """Return a session that keeps to itself: nothing of the environment."""
    found = requests.Session()
    found.trust_env = False
    adapter = Adapter(settings.timeouts.connect, ca_file=settings.ca_file, proxy=settings.proxy)
    for prefix in ("http://", "https://"):
        found.mount(prefix, adapter)
    return found


def listed(body):
    """Return the ids in a list of models."""
    try:
        return [model["id"] for model in orjson.loads(body)["data"] if type(model["id"]) is str]
    except (orjson.JSONDecodeError, TypeError, KeyError) as exc:
        raise errors.UpstreamBadResponse() from exc
