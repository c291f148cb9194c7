"""GET /openapi.json and /docs, on the API's listener and without a key: nothing is told of here.

They are made when they are first asked for, beside the calls that go on meanwhile.
"""

import hashlib
from functools import cache

import orjson
from flask import Blueprint, Response, request

from gateway import errors
from gateway.aside import aside
from gateway.endpoints.access import on_ops_listener
from gateway.endpoints.visit import current

bp = Blueprint("description", __name__)

HEADERS = {
    "cache-control": "public, max-age=300",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


@bp.get("/openapi.json")
def openapi():
    """Describe the API to programs."""
    return answered(written)


@bp.get("/docs")
def docs():
    """Describe the API to people."""
    return answered(page)


@cache
def written():
    """Return the document as bytes with its headers."""
    from gateway.description.document import document

    return tagged(orjson.dumps(document()), "application/json")


@cache
def page():
    """Return the page as bytes with its headers."""
    from gateway.description.page import page

    data, policy = page()
    found = tagged(data, "text/html; charset=utf-8")
    return found[0], {**found[1], "content-security-policy": policy}


def tagged(data, kind):
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return data, {**HEADERS, "content-type": kind, "etag": tag}


def answered(make):
    if on_ops_listener(current()):
        raise errors.UnknownURL(f"Invalid URL ({request.method} {request.path})")
    data, headers = make() if make.cache_info().currsize else aside(make)
    found = Response(data, headers=headers).make_conditional(request)
    found.headers.pop("date", None)  # the server writes one into every answer
    return found
