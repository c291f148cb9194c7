"""What is wrong with a request, or ends it at its client's wish: no repeat makes it better."""

from gateway.errors.base import GatewayError


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
