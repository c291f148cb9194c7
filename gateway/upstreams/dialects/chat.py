"""Chat completions as an upstream speaks them."""

import orjson

from gateway import errors, sse, tokens
from gateway.translate import result
from gateway.upstreams import faults, patterns, relay
from gateway.upstreams.patterns import NO_PATTERN

PATH = "/chat/completions"
PATIENCE = 8  # chunks in a row without a common form after which none is looked for


def body(call, model):
    """Return the payload for an upstream, which is always asked for the usage of a stream."""
    return asked({**call.payload, "model": model}, call.stream)


def asked(payload, stream):
    """Return a payload that asks for the usage too where it asks for a stream."""
    if stream:
        options = payload.get("stream_options") or {}
        payload["stream_options"] = {**options, "include_usage": True}
    return payload


def whole(call, data):
    """Return a whole answer for the client, and its Usage."""
    found = answered(call, data)
    return relay.rename(data, found, call.model), relay.counted(call, found)


def answered(call, data):
    """Parse a whole answer, which has at least one choice. Raises GatewayError."""
    found = relay.load(data)
    if found.get("error"):
        raise faults.in_place(found["error"], call.model, call.secrets)
    if not isinstance(found.get("choices"), list) or not found["choices"]:
        raise errors.UpstreamBadResponse()
    return found


def streamed(call, data):
    """Parse a chunk, which may have no choices. Raises GatewayError."""
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
        # Indexes of choices; a chunk that a pattern fits has the one of a chunk that was parsed.
        self.begun, self.finished = set(), set()
        self.pattern, self.plain, self.misses = NO_PATTERN, None, 0
        self.said = 0  # bytes of text so far
        options = call.payload.get("stream_options") or {}
        self.want_usage = bool(options.get("include_usage"))

    def take(self, data):
        out = self.glance(data)
        if out is None:
            return self.learn(data) if self.decoder.alone(data) else super().take(data)
        self.passed(data)
        return out

    def passed(self, event):
        self.events += 1
        self.said += self.pattern.said(event)

    def glance(self, data):
        # What a pattern fits is one whole event, if nothing has been left of those before it.
        decoder = self.decoder
        out = None if decoder.held or decoder.skip_lf else self.pattern.apply(data)
        if out is not None:
            self.misses = 0
        return out

    def learn(self, data):
        """Take one event that is new in its form, which those to come may have too."""
        self.plain = False
        out = super().take(data)
        self.misses += 1
        if self.plain and self.misses < PATIENCE:
            self.pattern = patterns.of(data, out)
        return out

    def event(self, event):
        data = event.data
        if data.startswith(b"[DONE]"):
            return self.finish()
        chunk = streamed(self.call, data)
        choices, self.plain = chunk["choices"], True
        self.said += tokens.said(chunk)
        for choice in choices:
            if isinstance(choice, dict):
                index = choice.get("index")
                index = index if type(index) is int else 0
                self.begun.add(index)
                if choice.get("finish_reason"):
                    self.finished.add(index)
                    self.plain = False
        if chunk.get("usage"):
            self.usage, self.plain = tokens.read(chunk["usage"]) or self.usage, False
            if not choices and not self.want_usage:
                return b""
        return sse.encode(relay.rename(data, chunk, self.call.model))

    def finish(self):
        if not self.events:
            raise errors.UpstreamBadResponse()
        self.done = True
        if self.usage is None:
            self.call.said = self.said
        return sse.DONE

    def end(self):
        whole = self.finished and self.finished == self.begun
        return self.finish() if whole else super().end()

    def whole(self, body):
        """Return a whole answer as one chunk, and one of usage if the client asked for it."""
        found = answered(self.call, body)
        head = {**result.as_chunk(found), "model": self.call.model}
        usage = head.pop("usage", None)
        extra = {"usage": None} if self.want_usage else {}
        out = [{**head, **extra}]
        if self.want_usage and usage:
            out.append({**head, "choices": [], "usage": usage})
        written = [sse.encode(relay.dump(chunk)) for chunk in out]
        self.events, self.done, self.usage = 1, True, relay.counted(self.call, found)
        return b"".join(written) + sse.DONE

    def fail(self, error):
        self.done = True
        return sse.encode(orjson.dumps(error.body()))
