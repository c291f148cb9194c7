"""Chat completions as an upstream speaks them."""

import orjson

from gateway import errors, sse, tokens
from gateway.translate import result
from gateway.upstreams import faults, relay

PATH = "/chat/completions"


def body(call, model, stateful):
    """Return the payload for an upstream, which is always asked for the usage of a stream."""
    return asked({**call.payload, "model": model}, call.stream)


def asked(payload, stream):
    """Return a payload that asks for the usage too where it asks for a stream."""
    if stream:
        options = payload.get("stream_options") or {}
        payload["stream_options"] = {**options, "include_usage": True}
    return payload


def whole(call, data, stateful):
    """Return a whole answer for the client, and its Usage."""
    found = answered(data)
    return relay.rename(data, found, call.model), tokens.read(found.get("usage"))


def answered(data):
    """Parse a whole answer. Raises UpstreamBadResponse."""
    found = relay.load(data)
    if found.get("error") or not isinstance(found.get("choices"), list):
        raise errors.UpstreamBadResponse()
    return found


def streamed(call, data):
    """Parse a chunk, or a whole answer to a streamed call. Raises GatewayError."""
    found = relay.load(data)
    if found.get("error"):
        raise faults.in_stream(found["error"], call.model, call.secrets)
    if not isinstance(found.get("choices"), list):
        raise errors.UpstreamBadResponse()
    return found


class Relay(relay.Relay):
    """Chunks, passed on untouched but for `model`."""

    def __init__(self, call):
        super().__init__(call)
        self.finished = False
        options = call.payload.get("stream_options") or {}
        self.want_usage = bool(options.get("include_usage"))

    def event(self, event):
        data = event.data
        if data.startswith(b"[DONE]"):
            return self.finish()
        chunk = streamed(self.call, data)
        choices = chunk["choices"]
        for choice in choices:
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self.finished = True
        if chunk.get("usage"):
            self.usage = tokens.read(chunk["usage"]) or self.usage
            if not choices and not self.want_usage:
                return b""
        return sse.encode(relay.rename(data, chunk, self.call.model))

    def finish(self):
        if not self.events:
            raise errors.UpstreamBadResponse()
        self.done = True
        return sse.DONE

    def end(self):
        return self.finish() if self.finished else super().end()

    def whole(self, body):
        """Return a whole answer as one chunk, and one of usage if the client asked for it."""
        head = {**result.as_chunk(streamed(self.call, body)), "model": self.call.model}
        usage = head.pop("usage", None)
        extra = {"usage": None} if self.want_usage else {}
        out = [{**head, **extra}]
        if self.want_usage and usage:
            out.append({**head, "choices": [], "usage": usage})
        written = [sse.encode(relay.dump(chunk)) for chunk in out]
        self.events, self.done, self.usage = 1, True, tokens.read(usage)
        return b"".join(written) + sse.DONE

    def fail(self, error):
        self.done = True
        return sse.encode(orjson.dumps(error.body()))
