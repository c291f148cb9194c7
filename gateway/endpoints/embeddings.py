"""POST /v1/embeddings"""

from flask import Blueprint

from gateway.endpoints import body, replies
from gateway.schemas.embeddings import Embeddings

bp = Blueprint("embeddings", __name__)


@bp.post("/embeddings")
def create():
    """Answer with the embeddings of the input."""
    return replies.run("embeddings", body.load(Embeddings))
