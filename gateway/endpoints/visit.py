"""A request on its way through the doors, and the lean response of the busiest ones."""

from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.routing import MapAdapter

from gateway.limits import NO_TICKET


class Visit(Request):
    """Flask's request with what the doors find out about it.

    `services` is the process's; `line` its log line; `key` its API key once that is known, `ticket`
    what it takes of that one's limits, `size` the bytes of its body.
    """

    services = line = key = None
    ticket = NO_TICKET
    admitted = False
    size = 0


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


class Place(MapAdapter):
    """Where a path leads; those without variables are few, and kept in `places`."""

    def __init__(self, map, path, method, places):
        super().__init__(map, "gateway", "/", map.default_subdomain, "http", path, method)
        self.places, self.rule = places, None

    def match(self, *args, **kwargs):
        if args or kwargs != {"return_rule": True}:
            return super().match(*args, **kwargs)  # not the request's own, but what is allowed here
        if self.rule is not None:
            return self.rule, {}
        rule, values = super().match(return_rule=True)
        if not values:
            self.rule = rule
            self.places[self.path_info, self.default_method] = self
        return rule, values


class App(Flask):
    """Flask, as an API needs it."""

    request_class = Visit
    session_interface = NoSessions()

    def __init__(self, *args, **kwargs):
        self.places = {}
        super().__init__(*args, **kwargs)

    def create_url_adapter(self, request):
        """Match by path and method alone: any Host is served, and none decides anything."""
        if request is None:
            return super().create_url_adapter(request)
        found = self.places.get((request.path, request.method))
        return found or Place(self.url_map, request.path, request.method, self.places)

    def ensure_sync(self, func):
        """Return the view as it is: there are no asynchronous ones to look for."""
        return func
