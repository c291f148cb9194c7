"""Every endpoint: what it takes, what it answers, and how it may fail."""

from gateway import errors
from gateway.description import examples, faults, headers
from gateway.description.answers import ref

JSON, EVENTS = "application/json", "text/event-stream"


def ok(about, schema, names=(), stream=None):
    """Return an answer that is no error; `stream` are the media type of its events."""
    content = {JSON: {"schema": ref(schema)}}
    if stream:
        content[EVENTS] = stream
    names = (*names, *headers.STREAM) if stream else names
    found = headers.written(*headers.REQUEST, *headers.LIMITS, *names)
    return {"description": about, "headers": found, "content": content}


def open_to_all(about, schema):
    """Return an answer that needs no key, and so tells of no key's limits."""
    found = headers.written(*headers.REQUEST)
    return {**ok(about, schema), "headers": found}


def events(schema, example):
    """Return the media type of a stream; before OpenAPI 3.2 the schema is that of each event."""
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": ref(schema)}
    done = {"const": "[DONE]"}
    found = {
        "type": "object",
        "description": "Server-sent events, ending in `data: [DONE]`.",
        "required": ["data"],
        "properties": {"event": {"type": "string"}, "data": {"anyOf": [data, done]}},
    }
    return {"schema": found, "example": example}


def operation(name, tag, summary, about, answers, failures, parameters=(), refusing=False):
    """Return an operation; its answers stand before its failures."""
    found = {"operationId": name, "tags": [tag], "summary": summary, "description": about}
    if parameters:
        found["parameters"] = list(parameters)
    if name in examples.BODIES:
        found["requestBody"] = sent(name)
    found["responses"] = {**answers, **faults.responses(failures, refusing)}
    return found


def sent(name):
    schema = {"createResponse": "CreateResponse"}.get(name, f"{name[0].upper()}{name[1:]}Request")
    media = {"schema": ref(schema), "examples": examples.bodies(name)}
    return {"required": True, "content": {JSON: media}}


def call(name, tag, summary, about, answer, failures):
    """Return an operation that calls an upstream, or makes a job of that."""
    job = ok(
        "Made later, as a job: with `Prefer: respond-async`.",
        "Job",
        ("Location", "Preference-Applied", "OpenAI-Poll-After-Ms", "Idempotent-Replayed"),
    )
    return operation(
        name, tag, summary, about, {"200": answer, "202": job}, failures, headers.CALL, True
    )


def public(name, summary, about, answers):
    found = operation(name, "Health", summary, about, answers, faults.ALWAYS)
    return {**found, "security": []}


CHAT_EVENTS = events(
    "ChatCompletionChunk",
    """\
data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"MODEL",\
"choices":[{"index":0,"delta":{"content":"Paris"},"finish_reason":null}]}

data: [DONE]

""",
)
RESPONSE_EVENTS = events(
    "ResponseStreamEvent",
    """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1",\
"output_index":0,"content_index":0,"delta":"Paris"}

data: [DONE]

""",
)
POLLED = ("OpenAI-Poll-After-Ms",)
NO_RESPONSE = (*faults.KEY, errors.EndpointNotAllowed, errors.ResponseNotFound)
NO_JOB = (*faults.KEY, errors.JobNotFound)

PATHS = {
    "/v1/chat/completions": {
        "post": call(
            "createChatCompletion",
            "Chat",
            "Answer a chat",
            "Whole, or with `stream` as events. A stream ends in `data: [DONE]`, or in one event "
            "that holds an error: then what has come is not the whole answer.",
            ok("The answer.", "ChatCompletion", headers.CALLED, CHAT_EVENTS),
            faults.STREAMED,
        )
    },
    "/v1/responses": {
        "post": call(
            "createResponse",
            "Responses",
            "Make a response",
            "Over upstreams that speak the Responses API, and translated over those that speak "
            "only chat. Streams end in `response.completed`, `response.incomplete` or "
            "`response.failed`, then `data: [DONE]`.",
            ok("The response.", "Response", (*headers.CALLED, *POLLED), RESPONSE_EVENTS),
            (*faults.STREAMED, errors.ResponseNotFound),
        )
    },
    "/v1/responses/{id}": {
        "get": operation(
            "retrieveResponse",
            "Responses",
            "Show a response",
            "One that was stored, or runs in the background; the latter's events can be streamed, "
            "from any of them on.",
            {"200": ok("The response.", "Response", POLLED, RESPONSE_EVENTS)},
            (*NO_RESPONSE, errors.InvalidValue, errors.UnsupportedParameter, errors.ServerDraining),
            ("ResponseId", "Stream", "StartingAfter"),
        ),
        "delete": operation(
            "deleteResponse",
            "Responses",
            "Delete a response",
            "One that runs in the background is cancelled first.",
            {"200": ok("It is gone.", "ResponseDeleted")},
            NO_RESPONSE,
            ("ResponseId",),
        ),
    },
    "/v1/responses/{id}/input_items": {
        "get": operation(
            "listResponseItems",
            "Responses",
            "List what a response was made from",
            "Earlier turns included.",
            {"200": ok("A page of items.", "ResponseItemList")},
            (*NO_RESPONSE, errors.InvalidValue, errors.InvalidType),
            ("ResponseId", "Limit", "Order", "After", "Before"),
        )
    },
    "/v1/responses/{id}/cancel": {
        "post": operation(
            "cancelResponse",
            "Responses",
            "Cancel a background response",
            "One that has ended stays as it is.",
            {"200": ok("The response.", "Response", POLLED)},
            (*NO_RESPONSE, errors.InvalidValue),
            ("ResponseId",),
        )
    },
    "/v1/embeddings": {
        "post": call(
            "createEmbedding",
            "Embeddings",
            "Embed texts",
            "Texts or their tokens, at most 2,048 at once.",
            ok("The embeddings.", "EmbeddingList", headers.CALLED),
            faults.CALL,
        )
    },
    "/v1/models": {
        "get": operation(
            "listModels",
            "Models",
            "List the models",
            "Those that the key may use.",
            {"200": ok("All of them.", "ModelList")},
            faults.KEY,
        )
    },
    "/v1/models/{model}": {
        "get": operation(
            "retrieveModel",
            "Models",
            "Show a model",
            "One that the key may use.",
            {"200": ok("The model.", "Model")},
            (*faults.KEY, errors.ModelNotFound, errors.UnknownURL),
            ("ModelId",),
        )
    },
    "/v1/jobs": {
        "get": operation(
            "listJobs",
            "Jobs",
            "List the key's jobs",
            "Without the bodies of their results: each job tells its own.",
            {"200": ok("A page of jobs.", "JobList")},
            faults.QUERY,
            ("Limit", "Order", "After"),
        )
    },
    "/v1/jobs/{id}": {
        "get": operation(
            "retrieveJob",
            "Jobs",
            "Show a job",
            "At once, or, with `wait`, when it has ended.",
            {"200": ok("The job.", "Job", POLLED)},
            (*NO_JOB, errors.InvalidValue),
            ("JobId", "Wait", "PreferWait"),
        )
    },
    "/v1/jobs/{id}/cancel": {
        "post": operation(
            "cancelJob",
            "Jobs",
            "Cancel a job",
            "One that has ended stays as it is, and is no error.",
            {"200": ok("The job.", "Job", POLLED)},
            NO_JOB,
            ("JobId",),
        )
    },
    "/healthz": {
        "get": public(
            "live",
            "Say that the process answers",
            "Nothing else is asked.",
            {"200": open_to_all("It does.", "Health")},
        )
    },
    "/readyz": {
        "get": public(
            "ready",
            "Say whether to send traffic here",
            "With a word for each thing that is looked at.",
            {
                "200": open_to_all("Send it.", "Readiness"),
                "503": open_to_all("Send it elsewhere.", "Readiness"),
            },
        )
    },
}
