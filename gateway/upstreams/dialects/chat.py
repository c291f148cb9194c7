"""Chat completions as an upstream speaks them."""

import orjson

from gateway import errors, sse, tokens
from gateway.upstreams import faults, relay

PATH = "/chat/completions"


def body(call, model, stateful):
    """Return the payload for an upstream, which is always asked for the usage of a stream."""
    payload = {**call.payload, "model": model}
    if call.stream:
        payload["stream_options"] = {**(payload.get("stream_options") or {}), "include_usage": True}
    return payload


def whole(call, data, stateful):
    """Return a whole answer for the client, and its Usage."""
    found = relay.load(data)
    if found.get("error") or not isinstance(found.get("choices"), list):
        raise errors.UpstreamBadResponse()
    return relay.rename(data, found, call.model), tokens.read(found.get("usage"))


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
        chunk = relay.load(data)
        if chunk.get("error"):
            raise faults.in_stream(chunk["error"], self.call.model, self.call.secrets)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise errors.UpstreamBadResponse()
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
        found = relay.load(body)
        if found.get("error"):
            raise faults.in_stream(found["error"], self.call.model, self.call.secrets)
        if not isinstance(found.get("choices"), list):
            raise errors.UpstreamBadResponse()
        head = {**found, "object": "chat.completion.chunk", "model": self.call.model}
        usage = head.pop("usage", None)
        extra = {"usage": None} if self.want_usage else {}
        choices = [delta(index, choice) for index, choice in enumerate(found["choices"])]
        out = [{**head, "choices": choices, **extra}]
        if self.want_usage and usage:
            out.append({**head, "choices": [], "usage": usage})
        written = [sse.encode(relay.dump(chunk)) for chunk in out]
        self.events, self.done, self.usage = 1, True, tokens.read(usage)
        return b"".join(written) + sse.DONE

    def fail(self, error):
        self.done = True
        return sse.encode(orjson.dumps(error.body()))


def delta(index, choice):
    """Turn a whole choice into the choice of a chunk."""
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise errors.UpstreamBadResponse()
    choice = {"index": index, **choice}
    message = choice["delta"] = dict(choice.pop("message"))
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [
            {"index": i, **c} for i, c in enumerate(calls) if isinstance(c, dict)
        ]
    return choice
