"""/v1/jobs: calls that are made later; and the answer to the request that makes one."""

import re

import orjson
from flask import Blueprint, Response, request

from gateway import errors, watch
from gateway.endpoints import paging
from gateway.endpoints.preferences import preferences
from gateway.endpoints.visit import current
from gateway.jobs.store import nothing
from gateway.jobs.view import POLL_MS, ended, shown
from gateway.schemas import wording
from gateway.services import services
from gateway.upstreams.base import Call

bp = Blueprint("jobs", __name__)

LONGEST = 60  # seconds that a poll may wait
SOON = 1.5  # seconds that a cancel waits for the job's worker
SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@bp.get("/jobs")
def index():
    """List the key's jobs; the bodies of their results are told one by one."""
    asked = request.args
    most, order = paging.limit(asked.get("limit")), paging.order(asked)
    found = services.jobs.page(current().key.id, most, asked.get("after"), order)
    if found is None:
        raise paging.no_item(asked["after"], "after")
    rows, more = found
    return written(paging.listed([shown(row) for row in rows], more))


@bp.get("/jobs/<id>")
def show(id):
    """Show a job, at once or when it has ended."""
    seconds = patience(request.args, current().environ.get("HTTP_PREFER"))
    row = found(services.jobs.get, id)
    if seconds and not ended(row):
        wait(id, seconds)
        row = found(services.jobs.get, id)
    return told(row)


@bp.post("/jobs/<id>/cancel")
def cancel(id):
    """Cancel a job that has not ended."""
    row = found(services.jobs.cancel, id)
    if not ended(row):
        wait(id, SOON)
        row = found(services.jobs.get, id)
    return told(row)


def accept(visit, endpoint, payload, keep=None):
    """Queue a checked payload and answer with the job; `visit` is all there is of the request.

    `keep(connection, response)` runs in the transaction that queues it.
    """
    services = visit.services
    call = Call(endpoint, {**payload, "stream": False}, None)
    services.router.candidates(call, visit.key.id)  # What nobody can answer is refused.
    row = services.jobs.add(
        visit.key.id, endpoint, payload, visit.line.request_id, also=keeping(keep, accepted)
    )
    services.worker.poke()
    return accepted(row)


def keeping(keep, answer):
    """Return what keeps `answer(row)` in the transaction that adds the row of a job."""
    return (lambda connection, row: keep(connection, answer(row))) if keep else nothing


def accepted(row):
    """Return the answer to a call that was queued."""
    response = told(row, 202)
    response.headers["location"] = f"/v1/jobs/{row.id}"
    response.headers["preference-applied"] = "respond-async"
    return response


def found(look, id):
    """Return what the caller's jobs have of this id. Raises JobNotFound."""
    row = look(current().key.id, id)
    if row is None:
        raise errors.JobNotFound(f"No job with id '{wording.shown(id)}' found.")
    return row


def patience(asked, header):
    """Return the seconds that a poll is to wait. Raises InvalidValue."""
    given = asked.get("wait")
    if given is None and header is not None:
        given = preferences(header).get("wait")
    if given is None:
        return 0
    if not SECONDS.fullmatch(given):
        said = wording.shown(given)
        raise errors.InvalidValue(f"Invalid 'wait': '{said}' is no number of seconds.", "wait")
    return min(float(given), LONGEST)


def wait(id, seconds):
    """Wait for a job to end, but not for longer than its client is there."""
    guard = watch.Watch(current().environ.get("gunicorn.socket"))
    try:
        services.waiting.wait(id, seconds, guard.call)
    except watch.Gone:
        raise errors.ClientGone() from None
    finally:
        guard.close()


def told(row, status=200):
    response = written(shown(row), status)
    if not ended(row):
        response.headers["openai-poll-after-ms"] = str(POLL_MS)
    return response


def written(value, status=200):
    data = orjson.dumps(value)
    headers = {"content-length": str(len(data))}
    return Response(data, status, headers, content_type="application/json")
