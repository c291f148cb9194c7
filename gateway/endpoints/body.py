"""Reads a request's body: whole, short, chunked, slow or too large, and tells them apart."""

import threading

from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, ParseException

from gateway import errors, watch
from gateway.aside import aside
from gateway.endpoints import access
from gateway.endpoints.visit import current
from gateway.schemas import strict_json

LARGE = 64 * 1024  # bytes of a body that is judged aside: the largest takes most of a second
_turn = threading.Lock()  # one at a time: each more would slow the hub down further


def load(schema):
    """Return the request's JSON body, checked by a schema, its model known."""
    visit = current()
    check_headers(visit.environ)
    data = read(visit.environ, visit.services.settings)
    visit.size = len(data)
    body = judged(strict_json.parse, data, visit.size)
    route = access.find(visit, schema.model_of(body))
    visit.line.model, visit.line.label = route.model, route.label
    judged(schema.check, body, visit.size)
    return body


def judged(function, found, size):
    """Return what a function finds of a body; other clients' streams go on meanwhile."""
    if size < LARGE:
        return function(found)
    with _turn:
        result, error = aside(tried, function, found)
    if error is not None:
        raise error
    return result


def tried(function, found):
    """Return (result, None) or (None, exception): what leaves a native thread is printed."""
    try:
        return function(found), None
    except Exception as exc:
        return None, exc


def check_headers(environ):
    """Raise for a body that is not plain JSON in UTF-8."""
    if environ.get("CONTENT_TYPE") != "application/json":
        check_type(environ)
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise errors.UnsupportedContentEncoding()
    if environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() != "chunked":
        raise errors.UnsupportedContentEncoding()


def check_type(environ):
    kind, *parameters = environ.get("CONTENT_TYPE", "").lower().split(";")
    if kind.strip() != "application/json":
        raise errors.UnsupportedContentType()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8"):
            raise errors.UnsupportedContentType()


def read(environ, settings):
    """Return the whole body. Raises what the contract says for each way to send it wrongly."""
    limit = int(settings.server.max_body_mb * 1024 * 1024)
    length = int(environ.get("CONTENT_LENGTH") or -1)
    if length > limit:
        raise errors.RequestTooLarge(limit)
    if length < 0 and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    data = receive(
        environ["wsgi.input"], length if length >= 0 else limit + 1, settings.timeouts.body
    )
    if len(data) > limit:
        raise errors.RequestTooLarge(limit)
    if length >= 0 and len(data) != length:
        raise errors.InvalidRequest("The body is shorter than its Content-Length.")
    return data


def receive(stream, size, seconds):
    try:
        with watch.limit(seconds, errors.RequestTimeout()):
            return stream.read(size)
    except LimitRequestHeaders as exc:
        raise errors.HeadersTooLarge() from exc
    except NoMoreData as exc:
        raise errors.InvalidRequest("The body ended too early.") from exc
    except ParseException as exc:
        raise errors.InvalidRequest("The body's chunks are malformed.") from exc
    except OSError as exc:
        raise errors.ClientGone() from exc
