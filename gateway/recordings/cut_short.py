"""The events that end a recorded stream whose recording does not go on."""

from functools import partial

import orjson

from gateway import errors, sse
from gateway.recordings import rows


def events(endpoint, reader, error, skeleton):
    """Return what a reader's client is told, after all it has got, of an error.

    `skeleton()` returns the Response object of a stream of which nothing has been recorded.
    """
    if endpoint != "responses":
        return sse.encode(orjson.dumps(error.body()))
    found, number = first(reader) or skeleton(), reader.seen + 1
    out = b""
    if not number:
        out, number = numbered("response.created", found, 0), 1
    failed = {
        **found,
        "status": "failed",
        "error": {"code": error.code, "message": error.message},
    }
    return out + numbered("response.failed", failed, number) + sse.DONE


def first(reader):
    """Return the Response object that a recording begins with, or None."""
    try:
        found = reader.database.read(partial(rows.page, id=reader.id, part=0))
    except errors.DependencyUnavailable:
        return None
    data = b"".join(row.data for row in found)
    for event in sse.Decoder().feed(data)[:1]:
        return orjson.loads(event.data).get("response")
    return None


def numbered(kind, response, number):
    found = {"response": response, "type": kind, "sequence_number": number}
    return sse.encode(orjson.dumps(found), kind.encode())
