"""Embeddings as an upstream speaks them; there is nothing to stream."""

from gateway import errors
from gateway.upstreams import relay

PATH = "/embeddings"
Relay = None


def body(call, model):
    """Return the payload for an upstream."""
    return {**call.payload, "model": model}


def whole(call, data):
    """Return a whole answer for the client, and its Usage."""
    found = relay.load(data)
    if found.get("error") or not isinstance(found.get("data"), list):
        raise errors.UpstreamBadResponse()
    return relay.rename(data, found, call.model), relay.counted(call, found)
