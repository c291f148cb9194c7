"""Background responses: accepted, looked at, cancelled and deleted."""

import contextlib
from functools import partial

import orjson

from gateway import errors, stored, turns
from gateway.endpoints import jobs
from gateway.endpoints.visit import current
from gateway.jobs.background import born, last, unfinished
from gateway.jobs.statements import QUEUED
from gateway.jobs.view import POLL_MS, ended
from gateway.schemas import wording
from gateway.services import services
from gateway.translate.response import new_id
from gateway.upstreams.base import Call
from gateway.upstreams.dialects.responses import remembered


def check(payload):
    """Raise for a background response that is not to be stored."""
    if payload.get("store") is False:
        raise errors.InvalidValue(
            "Background responses are stored: 'store' must be true or left out.", "store"
        )


def accept(visit, payload, keep=None):
    """Queue a checked payload and answer with its Response; `visit` is all there is of the request.

    What nobody can answer is refused, and so is what builds on what is not here.
    `keep(connection, response)` runs in the transaction that queues it.
    """
    services, key = visit.services, visit.key.id
    services.router.candidates(Call("responses", {**payload, "stream": False}, None), key)
    build(services, key, payload)
    payload = {**payload, "store": True}
    kept = jobs.keeping(keep, partial(accepted, payload=payload))

    def also(connection, row):
        services.background.begin(connection, row, payload)
        kept(connection, row)

    row = services.jobs.add(
        key,
        "responses",
        payload,
        visit.line.request_id,
        background=True,
        id=new_id(),
        also=also,
    )
    services.worker.poke()
    return accepted(row, payload)


def accepted(row, payload):
    """Return the answer to a call that was queued."""
    return told(born(row, payload, QUEUED))


def build(services, key, payload):
    """Raise ResponseNotFound or InvalidValue for a payload that builds on what is not there."""
    previous = payload.get("previous_response_id")
    if previous is not None and services.stored.get(key, previous) is None:
        unfinished(services.jobs, key, previous)
        remembered(payload)
    remembered({"conversation": payload.get("conversation")})


def job_of(id, look=None):
    """Return the row of the job that is a background response of the caller's, or None."""
    row = (look or services.jobs.get)(current().key.id, id) if stored.FORM.fullmatch(id) else None
    return row if row is not None and row.background else None


def show(id):
    """Answer with a Response, whether or not it has ended. Raises ResponseNotFound."""
    key = current().key.id
    found = services.stored.get(key, id)
    if found is not None:
        return told(found)
    row = job_of(id)
    if row is None:
        raise missing(id)
    if not ended(row):
        payload = services.jobs.asked(key, id)
        if payload is not None:
            return told(born(row, payload, row.status))
    return told(services.stored.get(key, id) or answered(row))


def items(id):
    """Return what a response that was not stored is made from. Raises ResponseNotFound."""
    key, row = current().key.id, job_of(id)
    if row is not None and ended(row):
        found = services.stored.items(key, id)  # It may have ended since somebody looked.
        if found is not None:
            return found
        answered(row)
    payload = services.jobs.asked(key, id) if row else None
    if payload is None:
        raise missing(id)
    previous = payload.get("previous_response_id")
    before = previous and services.stored.history(key, previous)
    return [*(before.items if before else ()), *turns.listed(payload.get("input"))]


def answered(row):
    """Return the Response of a job that has ended and that is not stored. Raises ResponseNotFound.

    The job has it where it was too large to be stored; any other has run out or was deleted.
    """
    found = row.result and last(orjson.loads(row.result), row.status)
    if not found or spent(row) or not too_large(row, found):
        raise missing(row.id)
    return found


def spent(row):
    """Tell whether the Response of a job that has ended would not be kept any more."""
    return services.stored.clock() >= row.completed_at + services.stored.seconds


def too_large(row, found):
    added = turns.asked(services.jobs.asked(row.key, row.id) or {})
    return services.stored.row(row.key, found, added)["size"] > stored.LARGEST


def cancel(id):
    """Cancel a background response, and answer with it; one that has ended stays as it is."""
    row = job_of(id, services.jobs.cancel)
    if row is None:
        if services.stored.get(current().key.id, id) is None:
            raise missing(id)
        raise errors.InvalidValue("Cannot cancel a synchronous response.")
    if not ended(row):
        jobs.wait(id, jobs.SOON)
    return show(id)


def delete(id):
    """Delete a response of either kind and all that is kept of it; one that runs is cancelled."""
    key = current().key.id
    row = job_of(id, services.jobs.cancel)
    if row is not None and not ended(row):
        with contextlib.suppress(errors.ClientGone):  # It is deleted all the same.
            jobs.wait(id, jobs.SOON)
    if row is not None:
        gone = services.jobs.discard(key, id, [services.recordings.remove])
    else:
        gone = False
    if not (services.stored.delete(key, id) or gone):
        raise missing(id)


def missing(id):
    return errors.ResponseNotFound(f"Response with id '{wording.shown(id)}' not found.")


def told(found):
    response = jobs.written(found)
    if found["status"] in ("queued", "in_progress"):
        response.headers["openai-poll-after-ms"] = str(POLL_MS)
    return response
