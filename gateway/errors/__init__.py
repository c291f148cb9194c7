"""Every error that a client can see, and the OpenAI error object that says it.

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
    │  ├─ CallLost                    503  worker_lost (of a call that another process made)
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

from gateway.errors.base import GatewayError
from gateway.errors.request import (
    ClientGone,
    EndpointNotAllowed,
    EndpointNotSupported,
    HeadersTooLarge,
    IdempotencyKeyReused,
    InvalidJSON,
    InvalidKey,
    InvalidRequest,
    InvalidType,
    InvalidValue,
    JobCancelled,
    JobNotFound,
    MethodNotAllowed,
    MissingParameter,
    ModelNotFound,
    RequestTimeout,
    RequestTooLarge,
    ResponseNotFound,
    StreamNotSupported,
    UnknownParameter,
    UnknownURL,
    UnsupportedContentEncoding,
    UnsupportedContentType,
    UnsupportedParameter,
    URITooLong,
)
from gateway.errors.state import (
    CallLost,
    ConcurrencyLimited,
    DependencyUnavailable,
    InsufficientQuota,
    InternalError,
    JobExpired,
    JobQueueFull,
    NoHealthyUpstream,
    RateLimited,
    RequestBeyondLimit,
    ServerDraining,
    ServerOverloaded,
    Unavailable,
    WorkerLost,
)
from gateway.errors.upstream import (
    UpstreamAuthFailed,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRefused,
    UpstreamReset,
    UpstreamTimeout,
    UpstreamUnreachable,
)

__all__ = [
    "CallLost",
    "ClientGone",
    "ConcurrencyLimited",
    "DependencyUnavailable",
    "EndpointNotAllowed",
    "EndpointNotSupported",
    "GatewayError",
    "HeadersTooLarge",
    "IdempotencyKeyReused",
    "InsufficientQuota",
    "InternalError",
    "InvalidJSON",
    "InvalidKey",
    "InvalidRequest",
    "InvalidType",
    "InvalidValue",
    "JobCancelled",
    "JobExpired",
    "JobNotFound",
    "JobQueueFull",
    "MethodNotAllowed",
    "MissingParameter",
    "ModelNotFound",
    "NoHealthyUpstream",
    "RateLimited",
    "RequestBeyondLimit",
    "RequestTimeout",
    "RequestTooLarge",
    "ResponseNotFound",
    "ServerDraining",
    "ServerOverloaded",
    "StreamNotSupported",
    "URITooLong",
    "Unavailable",
    "UnknownParameter",
    "UnknownURL",
    "UnsupportedContentEncoding",
    "UnsupportedContentType",
    "UnsupportedParameter",
    "UpstreamAuthFailed",
    "UpstreamBadResponse",
    "UpstreamError",
    "UpstreamRefused",
    "UpstreamReset",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "WorkerLost",
]
