"""What becomes of a job: the end that its row gets."""

from typing import NamedTuple

import orjson

from gateway import errors

# What the status of a Response makes of its job; any other has completed.
OF_RESPONSE = {"incomplete": "incomplete", "failed": "failed"}


class Ended(NamedTuple):
    """A job's end: its status, the HTTP status of the answer, and its body as JSON or its error.

    `usage` is the usage object of the body.
    """

    status: str
    http: int | None = None
    body: bytes | None = None
    error: dict | None = None
    usage: dict | None = None


class Back(NamedTuple):
    """A job that is to be queued again, and to wait some seconds there."""

    wait: float = 0


CANCELLED = Ended("cancelled")


def failed(error):
    """Return the end of a job that an error has ended, which is told as a client would hear it."""
    return Ended("failed", error.status, error=error.body()["error"])


def answered(endpoint, body):
    """Return the end of a job whose call was answered with a whole body."""
    found = orjson.loads(body)
    used = found.get("usage")
    status = OF_RESPONSE.get(str(found.get("status")), "completed")
    if endpoint != "responses" or status == "completed":
        return Ended("completed", 200, body, usage=used)
    if status == "failed":
        return failed(reported(found.get("error")))._replace(usage=used)
    return Ended(status, 200, body, usage=used)


def reported(found):
    """Return the error that a failed Response tells of."""
    found = found if isinstance(found, dict) else {}
    texts = {name: found[name] for name in ("message", "code") if isinstance(found.get(name), str)}
    return errors.UpstreamError(texts.get("message"), code=texts.get("code"))
