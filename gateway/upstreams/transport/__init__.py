"""The transport adapter that requests' sessions send through: gevent sockets and llhttp.

It exists for its faults first (requests' own adapter takes an answer cut in its head for an
empty 200) and its price second. It raises requests' exceptions only. Whole answers look like any
other `requests.Response`. A streamed send returns as soon as the request is written: `reply.raw` is
then a `Wire`, whose `head()` waits for the status, so that the caller can stop waiting and go on.
"""

import ssl
from urllib.parse import urlsplit

import certifi
import gevent.ssl
import requests
from requests import exceptions
from requests.adapters import BaseAdapter

from gateway.upstreams.transport.answer import Reset
from gateway.upstreams.transport.connections import Pool
from gateway.upstreams.transport.wire import Wire

LARGEST_ANSWER = 256 * 1024 * 1024

__all__ = ["Adapter", "Reset", "Wire"]


class Reply(requests.Response):
    """A Response without the cookie jar and dictionaries that requests' constructor builds."""

    _content, _content_consumed, _next = False, False, None
    encoding, reason, history, raw, cookies = None, None, (), None, {}

    def __init__(self):
        pass


class Adapter(BaseAdapter):
    """Mounted on a session; `connect` and `idle` are seconds, `context` is for https."""

    def __init__(self, connect=5.0, idle=50.0, ca_file=None):
        super().__init__()
        self.connect, self.idle, self.ca_file = connect, idle, ca_file
        self.pools, self.starts = {}, {}

    def start_of(self, url):
        """Return the pool for a URL and the first two lines of a request to it."""
        found = self.starts.get(url)
        if found is None:
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            host = parts.netloc.rpartition("@")[2]
            lines = f"{target} HTTP/1.1\r\nHost: {host}\r\n"
            found = self.starts[url] = (self.pool(parts), lines)
        return found

    def pool(self, parts):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        key = (parts.scheme, parts.hostname, port)
        if key not in self.pools:
            context = trust(self.ca_file) if parts.scheme == "https" else None
            self.pools[key] = Pool(*key, self.connect, self.idle, context)
        return self.pools[key]

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        """Send a prepared request; see the module's docstring for what `stream` means here."""
        pool, lines = self.start_of(request.url)
        head = f"{request.method} {lines}" + "".join(
            [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        )
        if head.count("\n") != len(request.headers) + 2 or head.count("\r") != head.count("\n"):
            raise exceptions.InvalidHeader("line break in a header")
        wire = Wire(pool, f"{head}\r\n".encode("latin-1") + (request.body or b""))
        reply = Reply()
        reply.raw, reply.url, reply.request, reply.connection = wire, request.url, request, self
        reply.status_code, reply.headers = 0, {}
        try:
            wire.send()
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
    """Return a TLS context that checks certificates and names."""
    # Named by its module, because outside of gunicorn nothing is patched.
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file or certifi.where())
    return context


def finish(reply, wire):
    """Read the whole answer into the reply."""
    wire.head()
    reply._content, reply._content_consumed = wire.read(LARGEST_ANSWER), True
    reply.status_code, reply.headers = wire.status, wire.headers
    wire.release()
