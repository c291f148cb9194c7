"""The events of a stream as the whole body that the same call has without one."""

import orjson

from gateway import errors, sse
from gateway.translate.fold import Completion
from gateway.upstreams.relay import dump

CLOSING = (b"response.completed", b"response.incomplete", b"response.failed")


class Chat:
    """Of a chat completion, whose chunks are pieces of the answer."""

    def __init__(self):
        self.completion = Completion()

    def add(self, block):
        """Take a block of whole events as a client gets them."""
        for event in sse.parse(block):
            chunk = orjson.loads(event.data) if event.data.startswith(b"{") else {}
            if isinstance(chunk.get("choices"), list):
                self.completion.take(chunk)

    def body(self):
        """Return the whole body as JSON. Raises UpstreamBadResponse."""
        return dump(self.completion.whole())


class Response:
    """Of a response, whose last event holds all of it."""

    def __init__(self):
        self.ended = None

    def add(self, block):
        for event in sse.parse(block):
            if event.type in CLOSING:
                self.ended = orjson.loads(event.data).get("response")

    def body(self):
        if self.ended is None:
            raise errors.UpstreamBadResponse()
        return dump(self.ended)


FOLDS = {"chat": Chat, "responses": Response}
