"""What the scripted upstream refuses, as an OpenAI server would, and its list of models."""

from gateway.mock import bodies
from gateway.mock.answers import error, json
from gateway.mock.openai import CHAT, EMBEDDINGS, RESPONSES, WHOLE, is_list, texts

MODELS = "/v1/models"


def listing(request, ids):
    """Answer GET /v1/models and /v1/models/{id}, or return None for another path."""
    wanted = request.path.removeprefix(MODELS).removeprefix("/")
    if request.method not in {"GET", "HEAD"} or request.path not in {MODELS, f"{MODELS}/{wanted}"}:
        return None
    if not wanted:
        return json(bodies.models(ids))
    if wanted in ids:
        return json(bodies.model(wanted))
    return error(404, f"The model `{wanted}` does not exist", param="model", code="model_not_found")


def misdirected(request):
    """Return the refusal of a request that is not for a model at all, else None."""
    if request.path not in WHOLE:
        return error(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
    if request.method != "POST":
        text = f"Not allowed to {request.method} on {request.path}."
        return error(405, text, code="method_not_allowed", headers={"allow": "POST"})
    if not request.fields:
        return error(400, "We could not parse the JSON body of your request.", code="invalid_json")
    name = request.fields.get("model")
    if not name or not isinstance(name, str):
        text = "you must provide a model parameter"
        return error(400, text, param="model", code="missing_required_parameter")
    return None


def wrong_field(request):
    """Return the refusal of a request whose fields no default answer could read, else None."""
    for name, is_right in CHECKS[request.path].items():
        if not is_right(request.fields.get(name)):
            return error(400, f"Invalid value for '{name}'.", param=name, code="invalid_value")
    return None


def _is_objects(value):
    return is_list(value) and all(isinstance(item, dict) for item in value)


def _is_flag(value):
    return value is None or isinstance(value, bool)


def _is_count(most):
    return lambda value: value is None or (type(value) is int and 1 <= value <= most)


CHECKS = {
    CHAT: {"messages": _is_objects, "stream": _is_flag, "n": _is_count(128)},
    RESPONSES: {
        "input": lambda value: isinstance(value, str) or _is_objects(value),
        "stream": _is_flag,
    },
    EMBEDDINGS: {
        "input": lambda value: texts(value) is not None,
        "dimensions": _is_count(4096),
        "encoding_format": lambda value: value in (None, "float", "base64"),
    },
}
