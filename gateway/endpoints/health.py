"""GET /healthz and /readyz, on both listeners and without a key."""

from flask import Blueprint, jsonify

from gateway.gauges import AWAY
from gateway.jobs.worker import NO_WORKER
from gateway.keys import TRUSTED
from gateway.metrics import tally
from gateway.services import services

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def live():
    """Say that the process answers; nothing else is asked."""
    return jsonify(status="ok")


@bp.get("/readyz")
def ready():
    """Say whether to send traffic here, with a word per check; only what is known is looked at."""
    away = services.keys.away_for()
    down = away >= TRUSTED  # known keys go on working until then
    draining = services.draining.up
    words = {
        "status": "unavailable" if down or draining else "ok",
        "database": database(away),
        "redis": redis(),
        "upstreams": "degraded" if services.states.degraded() else "ok",
        "traffic": "draining" if draining else "ok",
        "jobs": "off" if services.worker is NO_WORKER else "ok",
    }
    return jsonify(words), 503 if down or draining else 200


def database(away):
    if away >= AWAY:
        return "away"
    return "ok" if services.database.takes_writes else "read_only"


def redis():
    if not services.settings.server.redis_url:
        return "unused"
    return "away" if tally.limits_alone else "ok"
