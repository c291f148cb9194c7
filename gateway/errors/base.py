"""What all errors have in common."""

import math


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
    wait = None  # seconds that the upstream has asked for, where it named any
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
