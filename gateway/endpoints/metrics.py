"""GET /metrics, on the ops listener alone."""

from flask import Blueprint, Response, request

from gateway import errors, metrics
from gateway.endpoints.access import on_ops_listener
from gateway.endpoints.visit import current

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
def show():
    """Answer Prometheus."""
    if not on_ops_listener(current()):
        raise errors.UnknownURL(f"Invalid URL (GET {request.path})")
    found = Response(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")
    found.headers["x-content-type-options"] = "nosniff"
    return found
