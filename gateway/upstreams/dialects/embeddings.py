"""Embeddings as an upstream speaks them; there is nothing to stream."""

from gateway import errors
from gateway.upstreams import faults, relay

PATH = "/embeddings"
Relay = None


def body(call, model):
    """Return the payload for an upstream."""
    return {**call.payload, "model": model}


def whole(call, data):
    """Return a whole answer for the client, and its Usage."""
    found = relay.load(data)
    if found.get("error"):
        raise faults.in_place(found["error"], call.model, call.secrets)
    if not complete(found.get("data"), wanted(call.payload["input"])):
        raise errors.UpstreamBadResponse()
    return relay.rename(data, found, call.model), relay.counted(call, found)


def wanted(given):
    """Return how many vectors an input asks for; an array of integers is one text's tokens."""
    several = isinstance(given, list) and given and type(given[0]) is not int
    return len(given) if several else 1


def complete(rows, count):
    """Tell whether there are so many rows, each with a vector. What is in a vector is not read."""
    return isinstance(rows, list) and len(rows) == count and all(map(filled, rows))


def filled(row):
    vector = row.get("embedding") if isinstance(row, dict) else None
    return isinstance(vector, list | str) and len(vector) > 0
