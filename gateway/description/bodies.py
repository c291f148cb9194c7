"""What is sent to the API: the schemas that check it, as JSON Schema."""

from gateway.schemas import STEERING
from gateway.schemas.chat import ChatCompletion
from gateway.schemas.embeddings import Embeddings
from gateway.schemas.responses import CreateResponse

SCHEMAS = {
    "CreateChatCompletionRequest": ChatCompletion,
    "CreateResponse": CreateResponse,
    "CreateEmbeddingRequest": Embeddings,
}
# What the gateway itself does with a parameter; the others are the model's.
ABOUT = {
    "model": "Id of a model out of `GET /v1/models`.",
    "stream": "Answer with server-sent events.",
    "stream_options": "`include_usage` asks for one more chunk, with the tokens used.",
    "store": "Whether `GET /v1/responses/{id}` is to find the response.",
    "background": "Answer at once with a response that is `queued`, and make it later.",
    "previous_response_id": "The stored response that this one continues, over any upstream.",
    "conversation": "Passed on to upstreams that keep conversations; else it is not found.",
    "encoding_format": "`float`, or `base64` of little-endian 32-bit floats.",
    "max_completion_tokens": "Reserved against the key's limits until the call is over.",
    "max_output_tokens": "Reserved against the key's limits until the call is over.",
    "metadata": "Told again in a job and in a response.",
}


def put(spec, converter):
    """Put the bodies, and what they are made of, into the components."""
    for name, schema in SCHEMAS.items():
        spec.components.schema(name, body(schema, converter))


def body(schema, converter):
    found = converter.schema2jsonschema(schema())
    found["properties"] = {
        name: {**described, "description": ABOUT[name]} if name in ABOUT else described
        for name, described in required_first(found)
    }
    found["properties"]["model"]["minLength"] = 1
    # These would steer the connection to an upstream.
    found["propertyNames"] = {"not": {"enum": sorted(STEERING)}}
    found["description"] = "What is not listed here is passed on to the upstream as it is."
    return found


def required_first(found):
    needed = found["required"]
    return sorted(found["properties"].items(), key=lambda pair: (pair[0] not in needed, pair[0]))
