"""Every error that a client can see, the OpenAI error object, and the one handler that writes it.

    GatewayError
    ├─ InvalidRequest                 400  bad_request, unless a subclass or the caller names a code
    │  ├─ InvalidJSON                 400  invalid_json
    │  ├─ InvalidType                 400  invalid_type
    │  ├─ InvalidValue                400  invalid_value, empty_array, …_above_max_…, …_below_min_…
    │  ├─ MissingParameter            400  missing_required_parameter
    │  ├─ UnknownParameter            400  unknown_parameter
    │  ├─ UnsupportedParameter        400  unsupported_parameter
    │  ├─ EndpointNotSupported        400  endpoint_not_supported
    │  ├─ StreamNotSupported          400  stream_not_supported
    │  ├─ InvalidKey                  401  invalid_api_key
    │  ├─ EndpointNotAllowed          403  endpoint_not_allowed
    │  ├─ UnknownURL                  404  unknown_url
    │  ├─ ModelNotFound               404  model_not_found
    │  ├─ JobNotFound                 404  job_not_found
    │  ├─ ResponseNotFound            404  response_not_found
    │  ├─ MethodNotAllowed            405  method_not_allowed
    │  ├─ RequestTimeout              408  request_timeout
    │  ├─ IdempotencyKeyReused        409  idempotency_key_reused
    │  ├─ RequestTooLarge             413  request_too_large
    │  ├─ URITooLong                  414  uri_too_long
    │  ├─ UnsupportedContentType      415  unsupported_content_type
    │  ├─ UnsupportedContentEncoding  415  unsupported_content_encoding
    │  ├─ HeadersTooLarge             431  headers_too_large
    │  ├─ ClientGone                  499  client_closed_request (seen in logs only)
    │  └─ JobCancelled                499  cancelled (seen in jobs only)
    ├─ RateLimited                    429  rate_limit_exceeded
    │  ├─ ConcurrencyLimited          429  concurrency_limit_exceeded
    │  └─ JobQueueFull                429  job_queue_full
    ├─ RequestBeyondLimit             429  rate_limit_exceeded (of a request that no wait helps)
    ├─ InsufficientQuota              429  insufficient_quota
    ├─ InternalError                  500  internal_error
    ├─ WorkerLost                     500  worker_lost (seen in jobs only)
    ├─ JobExpired                     500  expired (seen in jobs only)
    ├─ Unavailable                    503  (the family that asks for a later try)
    │  ├─ ServerOverloaded            503  server_overloaded
    │  ├─ ServerDraining              503  server_draining
    │  ├─ NoHealthyUpstream           503  no_healthy_upstream
    │  └─ DependencyUnavailable       503  dependency_unavailable
    └─ UpstreamError                  502  (what went wrong behind the gateway)
       ├─ UpstreamUnreachable         502  upstream_unreachable
       ├─ UpstreamReset               502  upstream_reset
       ├─ UpstreamBadResponse         502  upstream_bad_response
       ├─ UpstreamAuthFailed          502  upstream_auth_failed
       ├─ UpstreamTimeout             504  upstream_timeout (param says which timer)
       └─ UpstreamRefused             4xx  the upstream's own words about the request

Messages are sentences for the caller. They never carry an upstream's address, key or HTML.
"""

import logging
import math

import orjson
from flask import Response, request
from werkzeug import exceptions

log = logging.getLogger("gateway")


class GatewayError(Exception):
    """Base of all: what the client sees is decided by class attributes, a message and a param.

    `retry` is what `x-should-retry` says; `retry_after` (seconds) becomes both delay headers.
    `source` is what `x-gateway-error-source` says.
    """

    status = 500
    type = "server_error"
    code = "internal_error"
    message = "The server had an error while processing your request."
    retry = False
    retry_after = None
    source = "gateway"
    upstream_status = None  # what the upstream answered, where it did
    began = False  # some of the upstream's answer had come

    def __init__(self, message=None, param=None, code=None, retry_after=None):
        self.message = message or self.message
        self.param = param
        self.code = code or self.code
        if retry_after is not None:
            self.retry_after = retry_after
        self.routed = {}  # headers that say which upstreams were tried
        super().__init__(self.message)

    def body(self):
        """Return the OpenAI error object, all four keys present."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self):
        """Return the header pairs that tell an SDK what to do next."""
        found = {
            "x-should-retry": "true" if self.retry else "false",
            "x-gateway-error-source": self.source,
            **self.routed,
        }
        if self.retry_after is not None:
            found["retry-after"] = str(math.ceil(self.retry_after))
            found["retry-after-ms"] = str(math.ceil(self.retry_after * 1000))
        return found


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = "bad_request"
    message = "The request could not be understood."


class InvalidJSON(InvalidRequest):
    code = "invalid_json"
    message = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
        "using your HTTP library correctly. The API expects a JSON payload.)"
    )


class InvalidType(InvalidRequest):
    code = "invalid_type"


class InvalidValue(InvalidRequest):
    code = "invalid_value"


class MissingParameter(InvalidRequest):
    code = "missing_required_parameter"

    def __init__(self, param, message=None):
        super().__init__(message or f"Missing required parameter: '{param}'.", param)


class UnknownParameter(InvalidRequest):
    code = "unknown_parameter"

    def __init__(self, param):
        super().__init__(f"Unknown parameter: '{param}'.", param)


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class EndpointNotSupported(InvalidRequest):
    code = "endpoint_not_supported"

    def __init__(self, model, endpoint):
        super().__init__(f"The model `{model}` does not support {endpoint}.", "model")


class StreamNotSupported(InvalidRequest):
    code = "stream_not_supported"

    def __init__(self, model):
        super().__init__(f"The model `{model}` does not support streaming.", "stream")


class InvalidKey(InvalidRequest):
    status = 401
    code = "invalid_api_key"
    message = "Invalid or missing API key"

    def headers(self):
        return {**super().headers(), "www-authenticate": "Bearer"}


class EndpointNotAllowed(InvalidRequest):
    status = 403
    type = "permission_error"
    code = "endpoint_not_allowed"
    message = "This API key may not use this endpoint."


class UnknownURL(InvalidRequest):
    status = 404
    code = "unknown_url"


class ModelNotFound(InvalidRequest):
    status = 404
    code = "model_not_found"

    def __init__(self, model):
        super().__init__(
            f"The model `{model}` does not exist or you do not have access to it.", "model"
        )


class JobNotFound(InvalidRequest):
    status = 404
    code = "job_not_found"


class ResponseNotFound(InvalidRequest):
    status = 404
    code = "response_not_found"


class MethodNotAllowed(InvalidRequest):
    status = 405
    code = "method_not_allowed"

    def __init__(self, method, path, allowed):
        super().__init__(
            f"Not allowed to {method} on {path}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)"
        )
        self.allowed = allowed

    def headers(self):
        return {**super().headers(), "allow": ", ".join(sorted(self.allowed))}


class RequestTimeout(InvalidRequest):
    status = 408
    code = "request_timeout"
    message = "Your request took too long to arrive."


class IdempotencyKeyReused(InvalidRequest):
    status = 409
    code = "idempotency_key_reused"


class RequestTooLarge(InvalidRequest):
    status = 413
    code = "request_too_large"

    def __init__(self, limit):
        super().__init__(f"Your request is too large. The limit is {limit} bytes.")


class URITooLong(InvalidRequest):
    status = 414
    code = "uri_too_long"
    message = "The request line is too long."


class UnsupportedContentType(InvalidRequest):
    status = 415
    code = "unsupported_content_type"
    message = "Unsupported content type: expected 'application/json' in UTF-8."


class UnsupportedContentEncoding(InvalidRequest):
    status = 415
    code = "unsupported_content_encoding"
    message = "Unsupported content encoding: send the body uncompressed."


class HeadersTooLarge(InvalidRequest):
    status = 431
    code = "headers_too_large"
    message = "The request's headers are too large."


class ClientGone(InvalidRequest):
    status = 499
    code = "client_closed_request"
    message = "The client has closed the request."


class JobCancelled(InvalidRequest):
    status = 499
    code = "cancelled"
    message = "The job was cancelled."


class RateLimited(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    message = "Rate limit reached."
    retry = True
    retry_after = 1


class ConcurrencyLimited(RateLimited):
    code = "concurrency_limit_exceeded"


class JobQueueFull(RateLimited):
    code = "job_queue_full"


class RequestBeyondLimit(GatewayError):
    """Asks for more at once than its limit lets through in a whole minute."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class InsufficientQuota(GatewayError):
    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    message = "You exceeded your current quota, please check your plan and billing details."


class InternalError(GatewayError):
    retry = True


class WorkerLost(GatewayError):
    code = "worker_lost"
    message = "The worker that ran this job was lost, and running it again might bill it twice."


class JobExpired(GatewayError):
    code = "expired"
    message = "The job waited in the queue for longer than jobs are kept."


class Unavailable(GatewayError):
    status = 503
    retry = True
    retry_after = 1


class ServerOverloaded(Unavailable):
    code = "server_overloaded"
    message = "The server is overloaded. Please try again later."


class ServerDraining(Unavailable):
    code = "server_draining"
    message = "The server is shutting down. Please try again."


class NoHealthyUpstream(Unavailable):
    code = "no_healthy_upstream"
    message = "No upstream can take this request now. Please try again later."


class DependencyUnavailable(Unavailable):
    code = "dependency_unavailable"
    message = "A service that the gateway depends on is unavailable. Please try again later."


class UpstreamError(GatewayError):
    status = 502
    type = "upstream_error"
    code = "upstream_bad_response"
    retry = True
    source = "upstream"


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    message = "The upstream could not be reached."


class UpstreamReset(UpstreamError):
    code = "upstream_reset"
    message = "The upstream closed the connection before its answer was complete."


class UpstreamBadResponse(UpstreamError):
    code = "upstream_bad_response"
    message = "The upstream gave an answer that could not be understood."


class UpstreamAuthFailed(UpstreamError):
    code = "upstream_auth_failed"
    message = "The gateway could not authenticate with the upstream."
    retry = False


class UpstreamTimeout(UpstreamError):
    """`param` names the timer that ran out: connect, first_token, idle or total."""

    status = 504
    type = "timeout_error"
    code = "upstream_timeout"

    def __init__(self, timer):
        super().__init__(f"The upstream took too long to answer ({timer} timeout).", timer)
        self.retry = timer == "connect"


class UpstreamRefused(UpstreamError):
    """A 4xx about the request, passed on with the upstream's status, message, param and code."""

    def __init__(self, status, message, type=None, param=None, code=None):
        super().__init__(message, param, code)
        self.status = status
        self.type = type or "invalid_request_error"
        self.retry = False


def reply(error):
    """Turn a GatewayError into a Flask response."""
    return Response(
        orjson.dumps(error.body()),
        status=error.status,
        headers=error.headers(),
        content_type="application/json",
    )


def from_werkzeug(error):
    """Say in our words what the framework found wrong with a request."""
    if isinstance(error, exceptions.NotFound):
        return UnknownURL(f"Invalid URL ({request.method} {request.path})")
    if isinstance(error, exceptions.MethodNotAllowed):
        return MethodNotAllowed(request.method, request.path, error.valid_methods or ())
    found = InvalidRequest() if error.code and error.code < 500 else InternalError()
    found.status = error.code or 500
    return found


def register(app, seen=lambda error: None):
    """Give the app its one handler; `seen` is told of every error that goes out."""

    @app.errorhandler(Exception)
    def handle(error):
        if isinstance(error, exceptions.HTTPException):
            error = from_werkzeug(error)
        elif not isinstance(error, GatewayError):
            log.error("unhandled error", exc_info=error)
            error = InternalError()
        seen(error)
        return reply(error)
