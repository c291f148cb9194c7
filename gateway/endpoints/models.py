"""GET /v1/models and /v1/models/{id}; ids may hold slashes."""

from flask import Blueprint, jsonify

from gateway.services import services

bp = Blueprint("models", __name__)


@bp.get("/models")
def index():
    """List the models that there are."""
    return jsonify(object="list", data=[shown(route) for route in services.catalogue.all()])


@bp.get("/models/<path:model>")
def show(model):
    """Show one model."""
    return jsonify(shown(services.catalogue.find(model)))


def shown(route):
    return {
        "id": route.model,
        "object": "model",
        "created": route.created,
        "owned_by": route.targets[0].upstream.name,
    }
