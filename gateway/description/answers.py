"""What the API answers with: open objects, since upstreams may say more than what is listed."""

SECONDS = {"type": "integer", "description": "Unix seconds."}
TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
ANY = {"type": "object", "additionalProperties": True}
STATUSES = ["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def word(*words):
    return {"type": "string", "enum": list(words)}


def maybe(schema):
    """Return a schema that takes null too."""
    if "type" in schema and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def record(needed, more=None, about=None):
    """Return an open object; `needed` are the properties that are always there."""
    found = {
        "type": "object",
        "required": list(needed),
        "properties": {**needed, **(more or {})},
        "additionalProperties": True,
    }
    return {**found, "description": about} if about else found


def many(schema, **how):
    return {"type": "array", "items": schema, **how}


def page(item):
    """Return a list that is paged through."""
    return record(
        {
            "object": word("list"),
            "data": many(ref(item) if isinstance(item, str) else item),
            "first_id": maybe(TEXT),
            "last_id": maybe(TEXT),
            "has_more": {"type": "boolean"},
        }
    )


ERROR = record(
    {
        "error": record(
            {
                "message": {**TEXT, "description": "A sentence for the caller."},
                "type": TEXT,
                "param": {
                    "type": ["string", "null"],
                    "description": "The field, such as `messages[2].role`.",
                },
                "code": {**TEXT, "description": "One word to tell errors apart by."},
            }
        )
    },
    about="OpenAI's error object. All four keys are always there.",
)
MODEL = record({"id": TEXT, "object": word("model"), "created": SECONDS, "owned_by": TEXT})
CHAT_USAGE = record(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
    {"prompt_tokens_details": maybe(ANY), "completion_tokens_details": maybe(ANY)},
)
CHOICE = record(
    {
        "index": COUNT,
        "message": record(
            {"role": TEXT, "content": maybe(TEXT)},
            {"refusal": maybe(TEXT), "tool_calls": maybe(many(ANY))},
        ),
        "finish_reason": maybe(TEXT),
    },
    {"logprobs": maybe(ANY)},
)
CHAT = record(
    {
        "id": TEXT,
        "object": word("chat.completion"),
        "created": SECONDS,
        "model": {**TEXT, "description": "The id that was asked for."},
        "choices": many(ref("ChatCompletionChoice")),
    },
    {"usage": maybe(ref("CompletionUsage"))},
)
CHUNK = record(
    {
        "id": TEXT,
        "object": word("chat.completion.chunk"),
        "created": SECONDS,
        "model": TEXT,
        "choices": many(record({"index": COUNT, "delta": ANY}, {"finish_reason": maybe(TEXT)})),
    },
    {"usage": maybe(ref("CompletionUsage"))},
    about="The data of one event of a streamed chat completion.",
)
RESPONSE_USAGE = record(
    {
        "input_tokens": COUNT,
        "input_tokens_details": ANY,
        "output_tokens": COUNT,
        "output_tokens_details": ANY,
        "total_tokens": COUNT,
    }
)
ITEM = record(
    {"type": {**TEXT, "description": "`message`, `function_call`, `reasoning` and others."}},
    {"id": TEXT, "status": TEXT, "role": TEXT, "content": many(ANY)},
    about="One item of what was said or called.",
)
RESPONSE = record(
    {
        "id": {**TEXT, "description": "`resp_` and 32 hex digits."},
        "object": word("response"),
        "created_at": SECONDS,
        "status": word(*STATUSES),
        "model": {**TEXT, "description": "The id that was asked for."},
        "output": many(ref("ResponseOutputItem")),
        "error": maybe(record({"code": TEXT, "message": TEXT})),
        "incomplete_details": maybe(ANY),
        "usage": maybe(ref("ResponseUsage")),
    },
    about="With these come the request's own parameters, as they were in force.",
)
EVENT = record(
    {"type": TEXT, "sequence_number": COUNT},
    {"response": ref("Response")},
    about="The data of one event of a streamed response; `event:` is its type.",
)
DELETED = record({"id": TEXT, "object": TEXT, "deleted": {"type": "boolean"}})
EMBEDDING = record(
    {
        "object": word("embedding"),
        "index": COUNT,
        "embedding": {
            "anyOf": [many({"type": "number"}), {**TEXT, "description": "base64"}],
        },
    }
)
EMBEDDINGS = record(
    {
        "object": word("list"),
        "data": many(ref("Embedding")),
        "model": {**TEXT, "description": "The id that was asked for."},
    },
    {"usage": record({"prompt_tokens": COUNT, "total_tokens": COUNT})},
)
RESULT = record(
    {
        "status_code": {"type": "integer", "minimum": 200, "maximum": 299},
        "body": maybe({**ANY, "description": "The direct answer; null in the list of jobs."}),
    }
)
JOB = record(
    {
        "id": {**TEXT, "description": "`job_` and 32 hex digits; a background response's own."},
        "object": word("job"),
        "endpoint": word("/v1/chat/completions", "/v1/responses", "/v1/embeddings"),
        "model": TEXT,
        "status": word(*STATUSES, "expired"),
        "created_at": SECONDS,
        "started_at": maybe(SECONDS),
        "completed_at": maybe(SECONDS),
        "cancelled_at": maybe(SECONDS),
        "expires_at": maybe(SECONDS),
        "request_id": maybe(TEXT),
        "metadata": ANY,
        "attempts": COUNT,
        "usage": maybe(ANY),
        "result": maybe(ref("JobResult")),
        "error": maybe(ANY),
    },
    about="Once it has ended it has a result or an error, never both.",
)
READINESS = {
    **record({"status": word("ok", "unavailable"), "database": word("ok", "read_only", "away")}),
    "additionalProperties": TEXT,
    "description": "A word for each thing that the gateway looks at.",
}

SCHEMAS = {
    "Error": ERROR,
    "Model": MODEL,
    "ModelList": record({"object": word("list"), "data": many(ref("Model"))}),
    "CompletionUsage": CHAT_USAGE,
    "ChatCompletionChoice": CHOICE,
    "ChatCompletion": CHAT,
    "ChatCompletionChunk": CHUNK,
    "ResponseUsage": RESPONSE_USAGE,
    "ResponseOutputItem": ITEM,
    "Response": RESPONSE,
    "ResponseStreamEvent": EVENT,
    "ResponseDeleted": DELETED,
    "ResponseItemList": page(record({"id": TEXT, "type": TEXT})),
    "Embedding": EMBEDDING,
    "EmbeddingList": EMBEDDINGS,
    "JobResult": RESULT,
    "Job": JOB,
    "JobList": page("Job"),
    "Health": record({"status": word("ok")}),
    "Readiness": READINESS,
}
