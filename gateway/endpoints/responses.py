"""POST /v1/responses, and what is kept of it: /v1/responses/{id} and what lies below."""

import re

from flask import Blueprint, request

from gateway import turns
from gateway.endpoints import background, body, following, paging, replies
from gateway.endpoints.jobs import written
from gateway.endpoints.visit import current
from gateway.schemas.responses import CreateResponse
from gateway.services import services

bp = Blueprint("responses", __name__)

# Nothing is posted to a response itself: what is, and has no form of an id, is meant for one of
# OpenAI's endpoints that there is not here, such as compact. A wrong method would mislead.
NO_ID = re.compile(r"/v1/responses/(?!resp_)[^/]+")
bp.record(lambda state: state.app.absent.append(("POST", NO_ID)))


@bp.post("/responses")
def create():
    """Answer a response, whole or streamed, now or later."""
    payload = body.load(CreateResponse)
    if not payload.get("background"):
        return replies.run("responses", payload)
    background.check(payload)
    accepted = replies.run("responses", payload)
    return following.begin(current(), accepted) if payload.get("stream") else accepted


@bp.get("/responses/<id>")
def show(id):
    """Show a response, or stream one that was made in the background."""
    streamed, after = following.wanted(request.args), following.starting_after(request.args)
    return following.resume(id, after) if streamed else background.show(id)


@bp.delete("/responses/<id>")
def delete(id):
    """Delete a response."""
    background.delete(id)
    return written({"id": id, "object": "response", "deleted": True})


@bp.get("/responses/<id>/input_items")
def input_items(id):
    """List what a response was made from, earlier turns included."""
    items = services.stored.items(current().key.id, id)
    if items is None:
        items = background.items(id)
    return written(paging.page(turns.shown(items), request.args))


@bp.post("/responses/<id>/cancel")
def cancel(id):
    """Cancel a response that runs in the background."""
    return background.cancel(id)
