"""What keeps the gateway from answering a request that may be right."""

from gateway.errors.base import GatewayError


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


class CallLost(Unavailable):
    """Whoever made the call that was joined is gone, and has not ended it."""

    code = "worker_lost"
    message = "The process that ran this call ended before the call did. Please try again."


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
