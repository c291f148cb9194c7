"""POST /v1/responses"""

from flask import Blueprint

from gateway import errors
from gateway.endpoints import body, replies
from gateway.schemas.responses import CreateResponse

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
