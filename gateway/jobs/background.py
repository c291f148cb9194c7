"""Background responses: jobs that are Response objects, with an id and a stream, from the start.

Their stream is a recording. It begins in the transaction that accepts the job, and whatever ends
the job (its worker, a cancel, a sweep) stores the Response and ends the stream in that same one.
So the row of the job, the stored Response and the last event always say the same, once.
"""

from functools import partial

import orjson

from gateway import errors, sse, turns
from gateway import stored as responses
from gateway.jobs import statements as sql
from gateway.recordings import outside
from gateway.translate import response
from gateway.upstreams.relay import dump

SPARE = 7 * 24 * 3600  # seconds that a recording may outlast what its job can
BEGINNING = ("response.created", "response.queued")
# How a stream ends, by the status of the Response. The published description has no event for one
# that was cancelled; this one holds it, and says itself that it is no whole answer.
CLOSING = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
    "cancelled": "response.incomplete",
}
# What a Response may call its error.
CODES = frozenset(
    "server_error rate_limit_exceeded invalid_prompt data_residency_mismatch bio_policy "
    "vector_store_timeout invalid_image invalid_image_format invalid_base64_image "
    "invalid_image_url image_too_large image_too_small image_parse_error "
    "image_content_policy_violation invalid_image_mode image_file_too_large "
    "unsupported_image_media_type empty_image_file failed_to_download_image "
    "image_file_not_found".split()
)
OF_TYPES = {
    "rate_limit_error": "rate_limit_exceeded",
    "insufficient_quota": "rate_limit_exceeded",
    "invalid_request_error": "invalid_prompt",
}


def born(job, payload, status):
    """Return the Response of a job's row that has not ended."""
    found = response.skeleton(payload, job.id)
    return {**found, "created_at": int(job.created_at), "status": status, "store": True}


def last(found, status, error=None):
    """Return a Response as it is when its job has ended by `status`, with an OpenAI error."""
    status = "failed" if status == "expired" else status
    said = None
    if status == "failed":
        said = {"code": code(error), "message": str(error.get("message"))}
    return {**found, "status": status, "error": said}


def code(error):
    """Return the code of a Response's error, which may be one of a few, for an OpenAI error."""
    if error.get("code") in CODES:
        return error["code"]
    return OF_TYPES.get(error.get("type"), "server_error")


def event(kind, found, number):
    """Write an event about a whole Response, given as an object or as JSON."""
    found = orjson.Fragment(found) if isinstance(found, bytes) else found
    told = {"response": found, "type": kind, "sequence_number": number}
    return sse.encode(dump(told), kind.encode())


class Background:
    """What is kept of background responses; `kept` is how many seconds jobs are."""

    def __init__(self, stored, kept):
        self.stored, self.seconds = stored, 2 * kept + SPARE

    def begin(self, connection, job, payload):
        """Begin the recording of a job that is being added."""
        found = born(job, payload, "queued")
        data = [event(kind, found, number) for number, kind in enumerate(BEGINNING)]
        outside.begin(connection, job.id, b"".join(data), job.created_at + self.seconds)

    def ending(self, key, found, added=(), previous=None, before=None):
        """Return what writes a last Response down: a function of a connection.

        `added` are the items that were asked, `previous` and `before` what they build on.
        """
        row = self.stored.row(key, found, added)
        kind, data = CLOSING[found["status"]], dump(found)
        return partial(self.write, row=row, previous=previous, before=before, kind=kind, data=data)

    def write(self, connection, row, previous, before, kind, data):
        outside.end(connection, row["id"], partial(event, kind, data))
        if row["size"] <= responses.LARGEST:
            where = {"of_id": previous, "of_key": row["key"], "now": row["created_at"]}
            if before is None and connection.scalar(responses.PARENT, where) is None:
                previous = None  # it was never there, or is gone
            responses.insert(connection, row, previous, before)
            self.stored.busy.add(row["key"])

    def ended(self, connection, jobs):
        """Write down the Responses of jobs that have ended without their worker."""
        for job in jobs:
            if job.background:
                self.lost(connection, job)

    def lost(self, connection, job):
        found = connection.execute(sql.ASKED, {"of_id": job.id, "of_key": job.key, "now": 0})
        payload = orjson.loads(found.scalar_one())
        error = job.error and orjson.loads(job.error)
        ended = last(born(job, payload, "queued"), job.status, error)
        added = turns.asked(payload)
        previous = payload.get("previous_response_id")
        self.ending(job.key, ended, added, previous)(connection)


class NoBackground:
    """Of those who only look at jobs, and end none."""

    def ended(self, connection, jobs):
        pass


def unfinished(jobs, key, id):
    """Raise InvalidValue for a background response that runs, on which nothing can build yet."""
    row = jobs.get(key, id)
    if row is not None and row.background and row.status in sql.OPEN_STATUSES:
        raise errors.InvalidValue(
            f"Previous response with id '{id}' is still {row.status}. Continue it once it has "
            "ended.",
            "previous_response_id",
        )
