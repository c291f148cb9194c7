"""The Responses API as a native upstream speaks it, put right where it speaks it badly.

Upstreams are seen to repeat `response.created`, to leave out sequence numbers, indexes and most
keys of the response, and to end without `[DONE]`.
"""

import orjson

from gateway import errors, sse, tokens
from gateway.translate import response
from gateway.translate.events import unfold
from gateway.upstreams import faults, relay

PATH = "/responses"
OPENING = ("response.queued", "response.created", "response.in_progress")
CLOSING = ("response.completed", "response.incomplete", "response.failed")


def body(call, model, stateful):
    """Return the payload for an upstream; history is ours unless the upstream keeps it."""
    payload = {**call.payload, "model": model}
    if not stateful:
        for name in ("previous_response_id", "conversation"):
            if payload.pop(name, None) is not None:
                raise errors.ResponseNotFound(f"The {name} you gave was not found.", name)
        payload["store"] = False
    return payload


def whole(call, data, stateful):
    """Return a whole answer for the client, and its Usage."""
    found = relay.load(data)
    if not isinstance(found.get("output"), list):
        raise errors.UpstreamBadResponse()
    filled = response.fill(skeleton(call), found, keep_id=stateful)
    return orjson.dumps(filled), tokens.read(found.get("usage"))


def skeleton(call):
    return response.skeleton({**call.payload, "model": call.model})


class Relay(relay.Relay):
    """Events with gapless numbers, one `created`, every index and key, and an end."""

    def __init__(self, call):
        super().__init__(call)
        self.base = skeleton(call)
        self.sequence = 0
        self.items = {}  # item id to its output_index
        self.parts = {}  # item id to the content_index of its latest part

    def event(self, event):
        if event.data == b"[DONE]":
            raise errors.UpstreamReset()  # the events that end a response have not come
        found = relay.load(event.data)
        kind = found.get("type") or event.type.decode("utf-8", "replace")
        if kind == "error" or (not kind and found.get("error")):
            raise faults.in_stream(found.get("error") or found, self.call.model, self.call.secret)
        if not isinstance(kind, str) or not kind:
            raise errors.UpstreamBadResponse()
        if kind in OPENING:
            return self.open(kind, found)
        if kind in CLOSING:
            return self.close(kind, found)
        return self.opened() + self.put(kind, self.placed(kind, found))

    def put(self, kind, found):
        """Write one event under the next sequence number."""
        found = {**found, "type": kind, "sequence_number": self.sequence}
        self.sequence += 1
        return sse.encode(orjson.dumps(found), kind.encode())

    def opened(self):
        """Return the two events that every response begins with, if they have not been sent."""
        if self.sequence:
            return b""
        return b"".join(self.put(kind, {"response": self.base}) for kind in OPENING[1:])

    def open(self, kind, found):
        sent = self.sequence
        if sent > 1 or (sent == 1 and kind != "response.in_progress"):
            return b""
        if sent == 0 and kind != "response.created":
            return self.opened()
        return self.put(kind, {"response": self.filled(found, "in_progress")})

    def close(self, kind, found):
        ended = self.filled(found, kind.removeprefix("response."))
        self.usage = tokens.read(ended.get("usage"))
        self.done = True
        return self.opened() + self.put(kind, {"response": ended}) + sse.DONE

    def filled(self, found, status):
        inner = found.get("response")
        if not isinstance(inner, dict):
            raise errors.UpstreamBadResponse()
        filled = response.fill(self.base, inner, keep_id=self.call.stateful)
        self.base = {**self.base, "id": filled["id"], "created_at": filled["created_at"]}
        return {**filled, "created_at": self.base["created_at"], "status": status}

    def placed(self, kind, found):
        """Fill in the indexes and lists that an upstream has left out."""
        item = found.get("item") if isinstance(found.get("item"), dict) else {}
        name = found.get("item_id") or item.get("id")
        name = name if isinstance(name, str) else ""
        if kind == "response.output_item.added":
            self.items.setdefault(name, found.get("output_index", len(self.items)))
        found.setdefault("output_index", self.items.get(name, max(len(self.items) - 1, 0)))
        if kind == "response.content_part.added":
            self.parts[name] = found.get("content_index", self.parts.get(name, -1) + 1)
        if kind.startswith(("response.content_part", "response.output_text", "response.refusal")):
            found.setdefault("content_index", self.parts.get(name, 0))
        if kind in ("response.output_text.delta", "response.output_text.done"):
            found.setdefault("logprobs", [])
        part = found.get("part")
        if isinstance(part, dict) and part.get("type") == "output_text":
            found["part"] = {"annotations": [], "logprobs": [], **part}
        return found

    def whole(self, body):
        """Return a whole answer as the stream it amounts to."""
        found = relay.load(body)
        if not isinstance(found.get("output"), list):
            raise errors.UpstreamBadResponse()
        self.events = 1
        out = [self.opened()]
        out += [self.put(kind, event) for kind, event in unfold(found["output"])]
        status = found.get("status")
        kind = f"response.{status}" if f"response.{status}" in CLOSING else CLOSING[0]
        return b"".join(out) + self.close(kind, {"response": found})

    def fail(self, error):
        self.done = True
        opened = b"" if self.sequence else self.put(OPENING[1], {"response": self.base})
        failed = {
            **self.base,
            "status": "failed",
            "error": {"code": error.code, "message": error.message},
        }
        return opened + self.put("response.failed", {"response": failed}) + sse.DONE
