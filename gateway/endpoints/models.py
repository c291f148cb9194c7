"""GET /v1/models and /v1/models/{id}; ids may hold slashes."""

from flask import Blueprint, jsonify

from gateway.endpoints import access
from gateway.endpoints.visit import current
from gateway.services import services

bp = Blueprint("models", __name__)


@bp.get("/models")
def index():
    """List the models that the key may use."""
    found = usable(services.catalogue, current().key)
    return jsonify(object="list", data=[shown(route) for route in found])


@bp.get("/models/<path:model>")
def show(model):
    """Show one model."""
    return jsonify(shown(access.find(current(), model)))


def usable(catalogue, key):
    """Return the routes of the models that a key may use and that have a name, sorted by it.

    Wildcards have none, but the key itself may name what they stand for.
    """
    routes = catalogue.all()
    if key.models is None:
        return routes
    found = {name: catalogue.matching(name) for name in key.models if not name.endswith("*")}
    found |= {route.model: route for route in routes if key.may_use(route.model)}
    return [found[name] for name in sorted(found) if found[name]]


def shown(route):
    return {
        "id": route.model,
        "object": "model",
        "created": route.created,
        "owned_by": route.targets[0].upstream.name,
    }
