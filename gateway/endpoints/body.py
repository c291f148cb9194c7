"""Reads a request's body: whole, short, chunked, slow or too large, and tells them apart."""

import threading
from functools import partial
from operator import methodcaller

from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, ParseException

from gateway import errors, watch
from gateway.aside import aside
from gateway.endpoints import access, admission
from gateway.endpoints.visit import current
from gateway.heads import Whole
from gateway.schemas import strict_json

LARGE = 64 * 1024  # bytes of a body that is judged aside: the largest takes most of a second
_turn = threading.Lock()  # one at a time: each more would slow the hub down further


def load(schema):
    """Return the request's JSON body, checked by a schema, its model known."""
    visit = current()
    check_headers(visit.environ)
    data = read(visit.environ, visit.services.settings, partial(admission.hold, visit))
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
    if error is None:
        return result
    try:
        raise error
    finally:
        del error, found


def tried(function, found):
    """Return (result, None) or (None, exception): what leaves a native thread is printed.

    An error is without its traceback: where that leads back to the error itself, the whole body
    would stay until the next look for such cycles, which may be thousands of requests away.
    """
    try:
        return function(found), None
    except errors.GatewayError as exc:
        return None, exc.with_traceback(None)
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


def read(environ, settings, hold):
    """Return the whole body. Raises what the contract says for each way to send it wrongly.

    `hold(size, left)` is asked before each piece of a large one, and may raise.
    """
    limit = int(settings.server.max_body_mb * 1024 * 1024)
    length = int(environ.get("CONTENT_LENGTH") or -1)
    if length > limit:
        raise errors.RequestTooLarge(limit)
    if length < 0 and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    stream = environ["wsgi.input"]
    if type(stream) is Whole and length <= LARGE:
        return stream.read()
    size = length if length >= 0 else limit + 1
    small = size <= LARGE
    take = methodcaller("read", size) if small else partial(pieces, size, length, hold)
    data = receive(take, stream, settings.timeouts.body)
    if len(data) > limit:
        raise errors.RequestTooLarge(limit)
    if length >= 0 and len(data) != length:
        raise errors.InvalidRequest("The body is shorter than its Content-Length.")
    return data


def pieces(size, length, hold, stream):
    """Return up to `size` bytes, each piece held before it is read; a first one need not be."""
    found, taken = [], 0
    while taken < size:
        if taken or length > 0:
            hold(min(LARGE, size - taken), max(length - taken - LARGE, 0))
        piece = stream.read(min(LARGE, size - taken))
        found.append(piece)
        taken += len(piece)
        if len(piece) < LARGE:
            break
    return b"".join(found)


def receive(take, stream, seconds):
    try:
        with watch.limit(seconds, errors.RequestTimeout()):
            return take(stream)
    except LimitRequestHeaders as exc:
        raise errors.HeadersTooLarge() from exc
    except NoMoreData as exc:
        raise errors.InvalidRequest("The body ended too early.") from exc
    except ParseException as exc:
        raise errors.InvalidRequest("The body's chunks are malformed.") from exc
    except OSError as exc:
        raise errors.ClientGone() from exc
