"""A request on its way through the doors, and the lean response of the busiest ones."""

from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin


class Visit(Request):
    """Flask's request with what the doors find out about it.

    `services` is the process's; `line` its log line; `key` its API key once that is known.
    """

    services = line = key = None
    admitted = False


def current():
    """Return the visit itself: each look through Flask's proxy costs as much as a small check."""
    return request._get_current_object()


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


class NoSession(dict, SessionMixin):
    """There are no sessions: nothing is ever read from a cookie or set in one."""


class NoSessions(SessionInterface):
    session = NoSession()

    def open_session(self, app, request):
        return self.session

    def is_null_session(self, found):
        return True


class App(Flask):
    """Flask, as an API needs it."""

    request_class = Visit
    session_interface = NoSessions()

    def create_url_adapter(self, request):
        """Match by path and method alone: any Host is served, and none decides anything."""
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind("gateway", path_info=request.path, default_method=request.method)

    def ensure_sync(self, func):
        """Return the view as it is: there are no asynchronous ones to look for."""
        return func
