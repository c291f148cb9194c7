"""The one log line of each request: begun first, written when the last byte is out."""

import os
import re
import time
from functools import partial

from gateway.endpoints.visit import current
from gateway.logs import Line
from gateway.metrics import tally

SANE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def begin(visit):
    """Give the request its id and its line."""
    environ = visit.environ
    client = environ.get("HTTP_X_CLIENT_REQUEST_ID")
    line = visit.line = Line(
        f"req_{os.urandom(16).hex()}",
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        client if client and SANE.fullmatch(client) else None,
    )
    endpoint = visit.endpoint
    if endpoint is not None:  # "v1.chat.create" is the endpoint chat
        line.endpoint = endpoint.removeprefix("v1.").partition(".")[0]


def answer(visit, response):
    """Put the id and the time it took on every answer, and write the line when it is over."""
    line = visit.line
    line.status = response.status_code
    took = round((time.monotonic() - line.started) * 1000)
    response.headers["x-request-id"] = line.request_id
    response.headers["openai-processing-ms"] = str(took or 1)
    visit.ticket.write(response.headers)
    if line.endpoint != "health":
        response.call_on_close(partial(write, visit.services.lines, line))


def abandon(visit):
    """Write the line of a request that was given up before it had an answer."""
    line = visit.line
    if line is not None and line.status is None:
        line.status, line.end = 499, "cancelled"
        write(visit.services.lines, line)


def failed(error):
    """Note the code of an error that goes out."""
    line = current().line
    if line is not None:
        line.code = error.code
        line.end = "cancelled" if error.status == 499 else "error"


def write(lines, line):
    """Write the line and count the request."""
    tally.answered(line)
    lines.add("error" if line.status >= 500 else "info", line.fields(time.monotonic()))
