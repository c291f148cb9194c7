"""What turns an error into a response, and the one handler that does it for the app."""

import logging

import orjson
from flask import Response, request
from werkzeug import exceptions

from gateway import errors

log = logging.getLogger("gateway")


def reply(error):
    """Turn a GatewayError into a Flask response."""
    return Response(
        orjson.dumps(error.body()),
        status=error.status,
        headers=error.headers(),
        content_type="application/json",
    )


def from_werkzeug(error):
    """Say in our words what the framework found wrong with a request."""
    if isinstance(error, exceptions.NotFound):
        return errors.UnknownURL(f"Invalid URL ({request.method} {request.path})")
    if isinstance(error, exceptions.MethodNotAllowed):
        return errors.MethodNotAllowed(request.method, request.path, error.valid_methods or ())
    found = errors.InvalidRequest() if error.code and error.code < 500 else errors.InternalError()
    found.status = error.code or 500
    return found


def register(app, seen=lambda error: None):
    """Give the app its one handler; `seen` is told of every error that goes out."""

    @app.errorhandler(Exception)
    def handle(error):
        if isinstance(error, exceptions.HTTPException):
            error = from_werkzeug(error)
        elif not isinstance(error, errors.GatewayError):
            log.error("unhandled error", exc_info=error)
            error = errors.InternalError()
        seen(error)
        return reply(error)
