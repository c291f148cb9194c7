"""POST /v1/responses, and what is stored of it: /v1/responses/{id} and what lies below."""

import orjson
from flask import Blueprint, Response, request

from gateway import errors, turns
from gateway.endpoints import body, paging, replies
from gateway.endpoints.visit import current
from gateway.schemas import wording
from gateway.schemas.responses import CreateResponse
from gateway.services import services

bp = Blueprint("responses", __name__)


@bp.post("/responses")
def create():
    """Answer a response, whole or streamed."""
    payload = body.load(CreateResponse)
    if payload.get("background"):
        raise errors.UnsupportedParameter(
            "Background responses are not supported by this gateway yet.", "background"
        )
    return replies.run("responses", payload)


@bp.get("/responses/<id>")
def show(id):
    """Show a stored response."""
    if request.args.get("stream", "false") != "false":
        raise errors.UnsupportedParameter(
            "Only background responses can be streamed again.", "stream"
        )
    return written(found(services.stored.get, id))


@bp.delete("/responses/<id>")
def delete(id):
    """Delete a stored response."""
    found(services.stored.delete, id)
    return written({"id": id, "object": "response", "deleted": True})


@bp.get("/responses/<id>/input_items")
def input_items(id):
    """List what a stored response was made from, earlier turns included."""
    return written(paging.page(turns.shown(found(services.stored.items, id)), request.args))


@bp.post("/responses/<id>/cancel")
def cancel(id):
    """Refuse: what can be cancelled is only what runs in the background."""
    found(services.stored.get, id)
    raise errors.InvalidValue("Cannot cancel a synchronous response.")


def found(look, id):
    """Return what the stored responses have of the caller's. Raises ResponseNotFound."""
    answer = look(current().key.id, id)
    if answer is None or answer is False:
        raise errors.ResponseNotFound(f"Response with id '{wording.shown(id)}' not found.")
    return answer


def written(value):
    return Response(orjson.dumps(value), content_type="application/json")
