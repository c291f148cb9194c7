"""The errors that each endpoint may answer with, by the classes of gateway.errors."""

from gateway import errors
from gateway.description import headers
from gateway.description.answers import ref

# What each code means to a caller, under the class that it belongs to.
MEANINGS = {
    errors.InvalidRequest: {"bad_request": "the HTTP is malformed"},
    errors.InvalidJSON: {"invalid_json": "the body is not strict JSON, or no object"},
    errors.InvalidType: {"invalid_type": "a field is of another type; `param` names it"},
    errors.InvalidValue: {
        "invalid_value": "a value that is not among those allowed",
        "empty_array": "an array needs an item",
        "array_above_max_length": "an array has too many items",
        "string_above_max_length": "a string is too long",
        "integer_below_min_value": "an integer is too small",
        "integer_above_max_value": "an integer is too large",
        "decimal_below_min_value": "a decimal is too small",
        "decimal_above_max_value": "a decimal is too large",
        "context_length_exceeded": "the upstream finds the prompt too long",
    },
    errors.MissingParameter: {"missing_required_parameter": "a field is missing"},
    errors.UnknownParameter: {"unknown_parameter": "a field that would steer the connection"},
    errors.UnsupportedParameter: {"unsupported_parameter": "the model cannot be asked for this"},
    errors.EndpointNotSupported: {"endpoint_not_supported": "the model does not speak this"},
    errors.StreamNotSupported: {"stream_not_supported": "the model cannot stream"},
    errors.InvalidKey: {"invalid_api_key": "the key is missing, wrong, revoked or has expired"},
    errors.EndpointNotAllowed: {"endpoint_not_allowed": "the key may not use this endpoint"},
    errors.UnknownURL: {"unknown_url": "there is no such path"},
    errors.ModelNotFound: {"model_not_found": "no such model, or the key may not use it"},
    errors.JobNotFound: {"job_not_found": "no such job, or another key's"},
    errors.ResponseNotFound: {"response_not_found": "no such response, or another key's"},
    errors.RequestTimeout: {"request_timeout": "the body took too long to arrive"},
    errors.IdempotencyKeyReused: {"idempotency_key_reused": "the same key with another body"},
    errors.RequestTooLarge: {"request_too_large": "the body is too large"},
    errors.URITooLong: {"uri_too_long": "the request line is too long"},
    errors.UnsupportedContentType: {"unsupported_content_type": "no `application/json` in UTF-8"},
    errors.UnsupportedContentEncoding: {"unsupported_content_encoding": "a compressed body"},
    errors.HeadersTooLarge: {"headers_too_large": "the headers are too large"},
    errors.RateLimited: {"rate_limit_exceeded": "the key's requests or tokens a minute are used"},
    errors.ConcurrencyLimited: {"concurrency_limit_exceeded": "too many calls of the key at once"},
    errors.JobQueueFull: {"job_queue_full": "too many jobs wait"},
    errors.InsufficientQuota: {"insufficient_quota": "the key's budget is used"},
    errors.InternalError: {"internal_error": "the gateway is at fault; its log says how"},
    errors.ServerOverloaded: {"server_overloaded": "too many calls in flight"},
    errors.ServerDraining: {"server_draining": "the gateway is shutting down"},
    errors.NoHealthyUpstream: {"no_healthy_upstream": "no upstream takes calls now"},
    errors.DependencyUnavailable: {"dependency_unavailable": "the gateway's database is away"},
    errors.CallLost: {"worker_lost": "the process that made the call has died"},
    errors.UpstreamUnreachable: {"upstream_unreachable": "the upstream takes no connection"},
    errors.UpstreamReset: {"upstream_reset": "the upstream closed the connection"},
    errors.UpstreamBadResponse: {"upstream_bad_response": "the upstream gave no sound answer"},
    errors.UpstreamAuthFailed: {"upstream_auth_failed": "the upstream refuses the gateway's key"},
    errors.UpstreamTimeout: {
        "upstream_timeout": "the upstream took too long; `param` is connect, first_token, idle or "
        "total"
    },
}

# Before any endpoint is asked: HTTP itself, the key.
ALWAYS = (errors.InvalidRequest, errors.URITooLong, errors.HeadersTooLarge, errors.InternalError)
KEY = (*ALWAYS, errors.InvalidKey, errors.DependencyUnavailable)
QUERY = (*KEY, errors.InvalidValue, errors.InvalidType)
CALL = (
    *QUERY,
    *(errors.InvalidJSON, errors.MissingParameter, errors.UnknownParameter),
    *(errors.UnsupportedParameter, errors.EndpointNotSupported, errors.EndpointNotAllowed),
    *(errors.ModelNotFound, errors.RequestTimeout, errors.IdempotencyKeyReused),
    *(errors.RequestTooLarge, errors.UnsupportedContentType, errors.UnsupportedContentEncoding),
    *(errors.RateLimited, errors.ConcurrencyLimited, errors.JobQueueFull),
    *(errors.InsufficientQuota, errors.ServerOverloaded, errors.ServerDraining),
    *(errors.NoHealthyUpstream, errors.CallLost, errors.UpstreamUnreachable),
    *(errors.UpstreamReset, errors.UpstreamBadResponse, errors.UpstreamAuthFailed),
    errors.UpstreamTimeout,
)  # fmt: skip
STREAMED = (*CALL, errors.StreamNotSupported)

REASONS = {
    400: "The request is wrong.",
    401: "No valid key.",
    403: "Not allowed.",
    404: "Not found.",
    408: "Too slow.",
    409: "The Idempotency-Key was used for something else.",
    413: "Too large.",
    414: "The path is too long.",
    415: "Another type than JSON.",
    429: "A limit of the key.",
    431: "The headers are too large.",
    500: "A fault of the gateway.",
    502: "A fault behind the gateway.",
    503: "Not now.",
    504: "The upstream was too slow.",
}
UPSTREAM_REFUSED = "The upstream refuses the request: its own status, message, param and code."


def responses(kinds, refusing=False):
    """Return the error answers of an endpoint by status; `refusing`: an upstream may refuse too.

    Where it may, every error behind the key's check may tell of upstreams, or be a replay.
    """
    codes = {}
    for kind in sorted(set(kinds), key=lambda kind: (kind.status, list(MEANINGS).index(kind))):
        codes.setdefault(kind.status, {}).update(dict.fromkeys(MEANINGS[kind], kind))
    found = {str(status): answer(status, kinds) for status, kinds in codes.items()}
    if refusing:
        found["4XX"] = {"description": UPSTREAM_REFUSED, **written(400)}
    more = headers.LIMITS if errors.InvalidKey in kinds else ()
    more += headers.CALLED if refusing else ()
    for status in found.keys() - {"401"}:
        found[status]["headers"].update(headers.written(*more))
    return found


def answer(status, kinds):
    lines = [f"- `{code}`: {MEANINGS[kind][code]}" for code, kind in kinds.items()]
    code, kind = next(iter(kinds.items()))
    said = {"message": "…", "type": kind.type, "param": None, "code": code}
    found = written(status)
    found["content"]["application/json"]["example"] = {"error": said}
    return {"description": "\n".join([REASONS[status], "", *lines]), **found}


def written(status):
    names = [*headers.REQUEST, *headers.ERROR]
    names += headers.DELAYS if status in (429, 503) else ()
    names += ["WWW-Authenticate"] if status == 401 else ()
    return {
        "headers": headers.written(*names),
        "content": {"application/json": {"schema": ref("Error")}},
    }
