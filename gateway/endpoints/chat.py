"""POST /v1/chat/completions"""

from flask import Blueprint

from gateway.endpoints import body, replies
from gateway.schemas.chat import ChatCompletion

bp = Blueprint("chat", __name__)


@bp.post("/chat/completions")
def create():
    """Answer a chat completion, whole or streamed."""
    return replies.run("chat", body.load(ChatCompletion))
