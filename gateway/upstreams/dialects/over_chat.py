"""The Responses API over an upstream that speaks only chat completions.

What it is translated to and from is in `translate/`; history is always the gateway's.
"""

import secrets
import time

from gateway import errors
from gateway.translate import request, result
from gateway.translate.chunks import Speech
from gateway.upstreams import relay
from gateway.upstreams.dialects import chat, responses

PATH = chat.PATH
BLOCK = 16  # characters of which every padded delta is a multiple


def body(call, model):
    """Return the payload for an upstream. Raises UnsupportedParameter for what it can't be told."""
    responses.remembered(call.payload)
    return chat.asked({**request.to_chat(call.payload), "model": model}, call.stream)


def whole(call, data):
    """Return a whole answer for the client, and its Usage."""
    found = chat.answered(call, data)
    ended = end(responses.skeleton(call), result.from_chat(found))
    call.keep(ended)
    return relay.dump(ended), relay.counted(call, found)


def end(base, found):
    """Return the response that a result ends."""
    completed_at = int(time.time()) if found["status"] == "completed" else None
    return {**base, "completed_at": completed_at, **found}


class Relay(responses.Lifecycle):
    """Events that chunks amount to; the first chunk opens the response, its end closes it."""

    def __init__(self, call):
        super().__init__(call)
        self.speech = Speech()
        options = call.payload.get("stream_options") or {}
        self.padded = bool(options.get("include_obfuscation"))

    def event(self, event):
        if event.data.startswith(b"[DONE]"):
            return self.finish()
        # All of a chunk is read before the first event is numbered: what fails sends nothing.
        return self.told(self.heard(chat.streamed(self.call, event.data)))

    def heard(self, chunk):
        found = list(self.speech.feed(chunk))
        self.usage = self.speech.used
        return found

    def put(self, kind, found):
        if self.padded and "delta" in found:
            missing = BLOCK - len(found["delta"]) % BLOCK
            found["obfuscation"] = secrets.token_urlsafe(BLOCK)[:missing]
        return super().put(kind, found)

    def told(self, found):
        """Return the events of (type, event) pairs, behind those that begin every response."""
        opened = self.opened() if self.sequence < 2 else b""
        return opened + b"".join([self.put(kind, event) for kind, event in found])

    def finish(self):
        if not self.events:
            raise errors.UpstreamBadResponse()
        out = self.told(list(self.speech.finish()))
        found = self.speech.result()
        return out + self.closed(f"response.{found['status']}", end(self.base, found))

    def end(self):
        return self.finish() if self.speech.reason else super().end()

    def whole(self, body):
        """Return a whole answer as the stream it amounts to."""
        found = chat.answered(self.call, body)
        told = self.heard(result.as_chunk(found))
        self.usage = relay.counted(self.call, found)
        self.events = 1
        return self.told(told) + self.finish()

    def so_far(self):
        found = self.speech.result()
        return {name: found[name] for name in ("output", "usage")}
