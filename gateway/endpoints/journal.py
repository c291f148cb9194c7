"""The one log line of each request: begun first, written when the last byte is out."""

import logging
import re
import secrets
import time

from flask import g, request

from gateway import metrics
from gateway.logs import Line

log = logging.getLogger("gateway")

SANE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def begin():
    """Give the request its id and its line."""
    environ = request.environ
    client = environ.get("HTTP_X_CLIENT_REQUEST_ID", "")
    g.line = Line(
        f"req_{secrets.token_hex(16)}",
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        client if SANE.fullmatch(client) else None,
    )
    if request.endpoint is not None:  # "v1.chat.create" is the endpoint chat
        g.line.endpoint = request.endpoint.removeprefix("v1.").partition(".")[0]


def answer(response):
    """Put the id and the time it took on every answer, and write the line when it is over."""
    line = g.line
    line.status = response.status_code
    response.headers["x-request-id"] = line.request_id
    took = (time.monotonic() - line.started) * 1000
    response.headers["openai-processing-ms"] = str(max(round(took), 1))
    if request.endpoint is None or not request.endpoint.startswith("health."):
        response.call_on_close(lambda: write(line))
    return response


def abandon(exc):
    """Write the line of a request that was given up before it had an answer."""
    line = g.get("line")
    if line is not None and line.status is None:
        line.status, line.end = 499, "cancelled"
        write(line)


def failed(error):
    """Note the code of an error that goes out."""
    line = g.get("line")
    if line is not None:
        line.code = error.code
        line.end = "cancelled" if error.status == 499 else "error"


def write(line):
    """Write the line and count the request."""
    endpoint, label = line.endpoint or "other", line.label or "other"
    metrics.requests.labels(endpoint, label, line.status).inc()
    level = logging.ERROR if line.status >= 500 else logging.INFO
    log.log(level, "request", extra={"fields": line.fields(time.monotonic())})
