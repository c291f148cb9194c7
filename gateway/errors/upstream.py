"""What went wrong behind the gateway."""

from gateway.errors.base import GatewayError


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
