"""Flask, less what an API never uses: that would be a tenth of what a small request costs."""

from flask import Flask, Response
from flask.ctx import AppContext, RequestContext
from flask.globals import _cv_app, _cv_request
from flask.sessions import SessionMixin
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter

from gateway.endpoints.visit import Visit, current


class NoSession(dict, SessionMixin):
    """There are no sessions: nothing is ever read from a cookie or set in one."""


NO_SESSION = NoSession()


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
    """Answers requests as Flask does, with its routes, blueprints and error handlers.

    There are no signals, no sessions, no `g`, no hooks of single blueprints, and what the app's own
    hooks before a request return is not looked at. `absent` holds what is no wrong method but an
    unknown path all the same: pairs of a method and a pattern of paths.
    """

    request_class = Visit

    def __init__(self, *args, **kwargs):
        self.places, self.absent = {}, []
        super().__init__(*args, **kwargs)
        self.context = AppContext(self)  # of all requests, so it can hold nothing of a single one
        self.context.g = None

    def wsgi_app(self, environ, start_response):
        """Answer one request."""
        visit = Visit(environ)
        context = RequestContext(self, environ, visit, NO_SESSION)
        tokens = _cv_app.set(self.context), _cv_request.set(context)
        try:
            try:
                context.match_request()
                response = self.full_dispatch_request()
            except Exception as exc:
                response = self.handle_exception(exc)
            return response(environ, start_response)
        finally:
            for function in self.teardown_request_funcs[None]:
                function(None)
            _cv_request.reset(tokens[1])
            _cv_app.reset(tokens[0])

    def full_dispatch_request(self):
        """Return the response to the current request, an error's too."""
        try:
            for function in self.before_request_funcs[None]:
                function()
            response = self.dispatch_request()
        except Exception as exc:
            response = self.handle_user_exception(exc)
        if not isinstance(response, Response):
            response = self.make_response(response)
        for function in self.after_request_funcs[None]:
            response = function(response)
        return response

    def dispatch_request(self):
        """Return what the view of the current request returns."""
        visit = current()
        if visit.routing_exception is not None:
            self.raise_routing_exception(visit)
        rule = visit.url_rule
        if visit.method == "OPTIONS" and rule.provide_automatic_options:
            return self.make_default_options_response()
        return self.view_functions[rule.endpoint](**visit.view_args)

    def raise_routing_exception(self, visit):
        """Raise what is wrong with a path or its method."""
        error = visit.routing_exception
        if isinstance(error, MethodNotAllowed):
            for method, paths in self.absent:
                if method == visit.method and paths.fullmatch(visit.path):
                    raise NotFound()
        raise error

    def create_url_adapter(self, request):
        """Match by path and method alone: any Host is served, and none decides anything."""
        if request is None:
            return super().create_url_adapter(request)
        found = self.places.get((request.path, request.method))
        return found or Place(self.url_map, request.path, request.method, self.places)

    def ensure_sync(self, func):
        """Return the view as it is: there are no asynchronous ones to look for."""
        return func
