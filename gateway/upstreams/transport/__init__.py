"""The transport adapter for requests' sessions: sockets that gevent's loop waits for, and llhttp.

It exists for its faults first (requests' own adapter takes an answer cut in its head for an
empty 200) and its price second. It raises requests' exceptions only. Whole answers look like any
other `requests.Response`. A streamed send returns as soon as there is a connection: `reply.raw` is
then a `Wire`, whose `head()` writes the request and waits for the status, so that the caller can
stop waiting and go on.
"""

import ssl
from urllib.parse import urlsplit

import certifi
import gevent.ssl
import requests
from requests import exceptions
from requests.adapters import BaseAdapter

from gateway.upstreams.transport.answer import Reset, whole_chunk
from gateway.upstreams.transport.connections import Pool
from gateway.upstreams.transport.routes import Direct, Proxied, login
from gateway.upstreams.transport.wire import Wire

LARGEST_ANSWER = 256 * 1024 * 1024

__all__ = ["Adapter", "Request", "Reset", "Wire", "whole_chunk"]


class Request(requests.PreparedRequest):
    """A PreparedRequest without what requests' constructor builds.

    `sent` is how many bytes of its body an upstream may have got: none before it is connected to.
    """

    sent = 0
    method, url, headers, body, hooks = None, None, None, None, {"response": ()}
    _cookies, _body_position = None, None

    __init__ = object.__init__


class Reply(requests.Response):
    """A Response without the cookie jar and dictionaries that requests' constructor builds."""

    _content, _content_consumed, _next = False, False, None
    encoding, reason, history, raw, cookies = None, None, (), None, {}

    __init__ = object.__init__


class Adapter(BaseAdapter):
    """Mounted on a session; `connect` and `idle` are seconds, `proxy` is the URL of one."""

    def __init__(self, connect=5.0, idle=50.0, ca_file=None, proxy=None):
        super().__init__()
        self.connect, self.idle, self.ca_file, self.proxy = connect, idle, ca_file, proxy
        self.pools, self.starts = {}, {}

    def start_of(self, url):
        """Return the pool for a URL and the first lines of a request to it, without the method."""
        found = self.starts.get(url)
        if found is None:
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            host = parts.netloc.rpartition("@")[2]
            pool = self.pool(parts)
            found = self.starts[url] = (pool, pool.route.opening(host, target))
        return found

    def pool(self, parts):
        key = (parts.scheme, parts.netloc)
        if key not in self.pools:
            self.pools[key] = Pool(self.route(parts), self.connect, self.idle)
        return self.pools[key]

    def route(self, parts):
        """Return how the host in a parsed URL is reached."""
        target = self.direct(parts)
        if not self.proxy:
            return target
        proxy = urlsplit(self.proxy)
        return Proxied(self.direct(proxy), target, login(proxy))

    def direct(self, parts):
        if parts.scheme == "https":
            return Direct(parts.hostname, parts.port or 443, trust(self.ca_file))
        return Direct(parts.hostname, parts.port or 80, None)

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        """Send a prepared request; see the module's docstring for what `stream` means here."""
        pool, lines = self.start_of(request.url)
        head = f"{request.method} {lines}" + "".join(
            [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        )
        breaks = lines.count("\n") + len(request.headers)
        if head.count("\n") != breaks or head.count("\r") != breaks:
            raise exceptions.InvalidHeader("line break in a header")
        wire = Wire(pool, f"{head}\r\n".encode("latin-1") + (request.body or b""))
        reply = Reply()
        reply.raw, reply.url, reply.request, reply.connection = wire, request.url, request, self
        reply.status_code, reply.headers = 0, {}
        try:
            wire.open()
            request.sent = len(request.body or b"")
            if not stream:
                finish(reply, wire)
        except BaseException:
            wire.close()
            raise
        return reply

    def close(self):
        for pool in self.pools.values():
            pool.close()


def trust(ca_file):
    """Return a TLS context that checks certificates and names. Raises requests' SSLError."""
    # Named by its module, because outside of gunicorn nothing is patched.
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_file or certifi.where())
    except OSError as exc:  # it could be read when the configuration was
        raise exceptions.SSLError(f"the certificates to check by cannot be read: {exc}") from exc
    return context


def finish(reply, wire):
    """Read the whole answer into the reply."""
    wire.head()
    reply._content, reply._content_consumed = wire.read(LARGEST_ANSWER), True
    reply.status_code, reply.headers = wire.status, wire.headers
    wire.release()
