"""The headers that the API reads and writes, and the parameters of its paths and queries."""

TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}


def header(about, schema=TEXT, **more):
    return {"description": about, "schema": schema, **more}


# By the names of their components; in an answer each has the name in lower case.
WRITTEN = {
    "X-Request-Id": header("Names the request in the gateway's log.", required=True),
    "OpenAI-Processing-Ms": header("How long it took until the answer began.", WHOLE),
    "X-RateLimit-Limit-Requests": header("Requests a minute that the key may make.", WHOLE),
    "X-RateLimit-Remaining-Requests": header("How many of them are left.", WHOLE),
    "X-RateLimit-Reset-Requests": header("When all of them are there again, such as `6m0s`."),
    "X-RateLimit-Limit-Tokens": header("Tokens a minute that the key may use.", WHOLE),
    "X-RateLimit-Remaining-Tokens": header("How many of them are left.", WHOLE),
    "X-RateLimit-Reset-Tokens": header("When all of them are there again."),
    "X-Gateway-Upstream": header("The upstream that answered, or was tried last."),
    "X-Gateway-Model": header("The name that the upstream knows the model by."),
    "X-Gateway-Attempts": header("What each upstream answered, where more than one was asked."),
    "Idempotent-Replayed": header("An earlier, equal call was answered so.", {"const": "true"}),
    "OpenAI-Poll-After-Ms": header("When to look again at what has not ended.", WHOLE),
    "Location": header("Where the job is."),
    "Preference-Applied": header("That the call was made a job.", {"const": "respond-async"}),
    "X-Accel-Buffering": header("Tells nginx to pass on each event.", {"const": "no"}),
    "Cache-Control": header("Tells caches to keep nothing of it.", {"const": "no-cache"}),
    "Retry-After": header("Seconds to wait before another try.", WHOLE),
    "Retry-After-Ms": header("The same in milliseconds.", WHOLE),
    "X-Should-Retry": header(
        "Whether another try may succeed; the official SDKs obey it.",
        {"enum": ["true", "false"]},
    ),
    "X-Gateway-Error-Source": header(
        "Who made the error.", {"enum": ["gateway", "upstream"]}
    ),
    "WWW-Authenticate": header("That a bearer token is asked for.", {"const": "Bearer"}),
}  # fmt: skip
REQUEST = ("X-Request-Id", "OpenAI-Processing-Ms")
LIMITS = tuple(name for name in WRITTEN if name.startswith("X-RateLimit-"))
STREAM = ("X-Accel-Buffering", "Cache-Control")
ROUTED = ("X-Gateway-Upstream", "X-Gateway-Model", "X-Gateway-Attempts")
CALLED = (*ROUTED, "Idempotent-Replayed")
ERROR = ("X-Should-Retry", "X-Gateway-Error-Source")
DELAYS = ("Retry-After", "Retry-After-Ms")


def written(*names):
    """Return the headers of an answer, each a reference to its component."""
    return {name.lower(): {"$ref": f"#/components/headers/{name}"} for name in names}


def parameter(place, name, about, schema=TEXT, **more):
    needed = {"required": True} if place == "path" else {}
    return {"in": place, "name": name, **needed, "description": about, "schema": schema, **more}


READ = {
    "IdempotencyKey": parameter(
        "header",
        "Idempotency-Key",
        "Equal calls with the same one are made once: the others join it, or get its answer again "
        "for 24 hours.",
        {"type": "string", "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
    "Prefer": parameter(
        "header", "Prefer", "`respond-async` answers at once with a job, which is made later."
    ),
    "PreferWait": parameter(
        "header", "Prefer", "`wait=30` holds the answer until the job has ended, as `wait` does."
    ),
    "ClientRequestId": parameter(
        "header", "X-Client-Request-Id", "Your own name of the request, for the gateway's log."
    ),
    "TraceParent": parameter("header", "traceparent", "A W3C trace, passed on to the upstream."),
    "TraceState": parameter("header", "tracestate", "Passed on with its `traceparent`."),
    "Beta": parameter("header", "OpenAI-Beta", "Passed on to the upstream."),
    "ReadTimeout": parameter(
        "header", "x-stainless-read-timeout",
        "Seconds after which you give up, as the official SDKs send them: no new try is begun "
        "then. What is no number counts for nothing, and so does all of it with `Idempotency-Key`.",
    ),
    "Timeout": parameter(
        "header", "x-stainless-timeout", "The same by another SDK's name; the shorter one counts."
    ),
    "ModelId": parameter("path", "model", "The model's id, which may hold slashes."),
    "ResponseId": parameter("path", "id", "The response's id."),
    "JobId": parameter("path", "id", "The job's id."),
    "Limit": parameter(
        "query", "limit", "How many to list.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
    "Order": parameter(
        "query", "order", "The newest first, or the oldest.",
        {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    ),
    "After": parameter("query", "after", "List what comes behind the one with this id."),
    "Before": parameter("query", "before", "List what comes before the one with this id."),
    "Wait": parameter(
        "query", "wait", "Seconds to hold the answer until the job has ended; above 60 it is 60.",
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["30", "0.5"]},
    ),
    "Stream": parameter(
        "query", "stream", "Answer with the events of a background response.",
        {"type": "boolean", "default": False},
    ),
    "StartingAfter": parameter(
        "query", "starting_after",
        "Begin the stream behind the event with this `sequence_number`; nothing without `stream`.",
        {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    ),
}  # fmt: skip
CALL = ("IdempotencyKey", "Prefer", "ClientRequestId", "TraceParent", "TraceState", "Beta")
CALL += ("ReadTimeout", "Timeout")
