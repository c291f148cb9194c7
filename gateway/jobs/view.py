"""A job as clients see it."""

import orjson

from gateway.jobs.statements import OPEN_STATUSES
from gateway.routing.router import PATHS

POLL_MS = 1000  # when to look again after a job that has not ended
MOMENTS = ("created_at", "started_at", "completed_at", "cancelled_at", "expires_at")


def shown(row):
    """Return the job object of a row; a row of a list has no `result`, so its body is null."""
    return {
        "id": row.id,
        "object": "job",
        "endpoint": PATHS[row.endpoint],
        "model": row.model,
        "status": row.status,
        **{name: whole(getattr(row, name)) for name in MOMENTS},
        "request_id": row.request_id,
        "metadata": parsed(row.metadata) or {},
        "attempts": row.attempts,
        "usage": parsed(row.usage),
        "result": result(row),
        "error": parsed(row.error),
    }


def result(row):
    if row.result_status is None or row.error is not None:
        return None
    body = getattr(row, "result", None)
    return {
        "status_code": row.result_status,
        "body": None if body is None else orjson.Fragment(body),  # it may be large
    }


def ended(row):
    return row.status not in OPEN_STATUSES


def whole(seconds):
    return None if seconds is None else int(seconds)


def parsed(data):
    return None if data is None else orjson.loads(data)
