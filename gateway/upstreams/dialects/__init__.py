"""How each endpoint is spoken with an upstream: a file an endpoint.

Each has PATH, `body(call, model, stateful)` for what is sent, `whole(call, data, stateful)` for a
whole answer, and `Relay` for a streamed one.
"""

from gateway.upstreams.dialects import chat, embeddings, responses

DIALECTS = {"chat": chat, "responses": responses, "embeddings": embeddings}
