"""A request on its way through the doors, and the lean response of the busiest ones."""

from functools import cached_property

from flask import Request, Response
from flask.globals import _cv_request
from werkzeug.datastructures import EnvironHeaders

from gateway.limits import NO_TICKET


class Visit(Request):
    """Flask's request with what the doors find out about it.

    `services` is the process's; `line` its log line; `key` its API key once that is known, `ticket`
    what it takes of that one's limits, `size` the bytes of its body, `held` those that are held
    against the worker's room for bodies.
    """

    services = line = key = None
    ticket = NO_TICKET
    admitted = False
    size = held = 0
    scheme, root_path = "http", ""

    def __init__(self, environ, populate_request=False, shallow=False):
        # Not werkzeug's own, which prepares a dozen things that hardly any request is asked for.
        self.environ, self.shallow = environ, shallow
        self.method = environ["REQUEST_METHOD"].upper()
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        self.path = "/" + path.lstrip("/")

    @cached_property
    def headers(self):
        return EnvironHeaders(self.environ)

    @cached_property
    def query_string(self):
        return self.environ.get("QUERY_STRING", "").encode("latin-1")

    @cached_property
    def remote_addr(self):
        return self.environ.get("REMOTE_ADDR")

    @cached_property
    def server(self):
        return self.environ["SERVER_NAME"], self.environ["SERVER_PORT"]


def current():
    """Return the visit itself: each look through Flask's proxy costs as much as a small check."""
    return _cv_request.get().request


class Pairs(list):
    """Response headers as WSGI takes them, with the one way of adding that we use."""

    def __setitem__(self, name, value):
        self.append((name, value))

    def update(self, found):
        self.extend(found.items())


class Lean(Response):
    """A 200 whose headers are a plain list; `blocks` is an iterable of bytes."""

    def __init__(self, blocks, headers):
        # Flask's own constructor parses and normalises what is known to be right here.
        self._status, self._status_code = "200 OK", 200
        self.headers, self.response = Pairs(headers), blocks
        self.direct_passthrough = False
        self._on_close = []

    def __call__(self, environ, start_response):
        start_response(self._status, self.headers)
        return self

    def __iter__(self):
        return iter(self.response)
