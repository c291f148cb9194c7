"""How each endpoint is spoken with an upstream: a file an endpoint, and one for a translation.

Each has PATH, `body(call, model)` for what is sent, `whole(call, data)` for a whole answer, and
`Relay` for a streamed one.
"""

from gateway.upstreams.dialects import chat, embeddings, over_chat, responses

DIALECTS = {"chat": chat, "responses": responses, "embeddings": embeddings}
# By endpoint, what an upstream may speak instead, and the dialect that makes up for it.
INSTEAD = {"responses": ("chat", over_chat)}


def speaks(upstream, endpoint):
    """Tell whether an upstream can answer an endpoint's calls, translated or not."""
    other, _ = INSTEAD.get(endpoint, (None, None))
    return endpoint in upstream.endpoints or other in upstream.endpoints


def spoken(upstream, endpoint):
    """Return the dialect for an endpoint it speaks: its own, else one that translates."""
    return DIALECTS[endpoint] if endpoint in upstream.endpoints else INSTEAD[endpoint][1]
