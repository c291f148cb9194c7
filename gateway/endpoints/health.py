"""GET /healthz and /readyz, on both listeners and without a key."""

from flask import Blueprint, jsonify

from gateway.keys import TRUSTED
from gateway.services import services

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def live():
    """Say that the process answers; nothing else is asked."""
    return jsonify(status="ok")


@bp.get("/readyz")
def ready():
    """Say whether to send traffic here, with a word per check."""
    away = services.keys.away_for()
    database = "ok" if away < 5 else "away"
    if away < TRUSTED:  # known keys go on working until then
        return jsonify(status="ok", database=database)
    return jsonify(status="unavailable", database=database), 503
