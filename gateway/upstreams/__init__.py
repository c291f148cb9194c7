"""How to talk to the servers behind the gateway."""

from gateway.upstreams.openai import OpenAI


def build(settings):
    """Return the configured upstreams by name. Sessions belong to one process: build after fork."""
    return {name: OpenAI(upstream) for name, upstream in settings.upstreams.items()}
