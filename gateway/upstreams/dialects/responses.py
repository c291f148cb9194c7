"""The Responses API as a native upstream speaks it, put right where it speaks it badly.

Upstreams are seen to repeat `response.created`, to leave out sequence numbers, indexes and most
keys of the response, and to end without `[DONE]`.
"""

import time

from gateway import errors, sse, tokens
from gateway.schemas import wording
from gateway.translate import response
from gateway.translate.events import unfold
from gateway.translate.growth import Growth
from gateway.translate.items import Items, kind_of
from gateway.upstreams import faults, relay

PATH = "/responses"
HISTORY = {"previous_response_id": "Previous response", "conversation": "Conversation"}
OPENING = ("response.queued", "response.created", "response.in_progress")
LASTING = ("id", "created_at", "store", "previous_response_id")
CLOSING = ("response.completed", "response.incomplete", "response.failed")


def body(call, model):
    """Return the payload for an upstream; history is ours unless the upstream keeps it."""
    payload = {**call.payload, "model": model}
    payload.pop("background", None)  # what runs in the background is the gateway's own call
    if not call.stateful:
        remembered(payload)
        told(call.asked.get("input"))
        for name in HISTORY:
            payload.pop(name, None)
        payload["store"] = False
    return payload


def remembered(payload):
    """Raise ResponseNotFound where a call refers to a history that nobody here holds."""
    for name, what in HISTORY.items():
        given = payload.get(name)
        if given is not None:
            id = wording.shown(given["id"] if isinstance(given, dict) else given)
            raise errors.ResponseNotFound(f"{what} with id '{id}' not found.", name)


def told(given):
    """Raise ResponseNotFound where an item only refers to one, which nobody here holds."""
    for number, item in enumerate(given if isinstance(given, list) else ()):
        if kind_of(item) == "item_reference":
            text = f"Item with id '{wording.shown(item.get('id'))}' not found."
            raise errors.ResponseNotFound(text, f"input[{number}].id")


def whole(call, data):
    """Return a whole answer for the client, and its Usage."""
    found = answered(call, data)
    base = {**skeleton(call), "status": "completed"}
    filled = response.fill(base, found, keep_id=call.stateful)
    filled["output"] = Items().output(found["output"])
    if not call.stateful:
        call.keep(filled)
    return relay.dump(filled), relay.counted(call, found)


def answered(call, data):
    """Parse a whole answer; the `error` of one that has failed is a part of it."""
    found = relay.load(data)
    if isinstance(found.get("output"), list):
        return found
    if found.get("error"):
        raise faults.in_place(found["error"], call.model, call.secrets)
    raise errors.UpstreamBadResponse()


def skeleton(call):
    """Return the response as it begins; it echoes what was asked, not what the upstream is told."""
    found = response.skeleton({**call.asked, "model": call.model}, call.response_id)
    return {**found, "store": call.store}


class Lifecycle(relay.Relay):
    """What every stream of a response has: gapless numbers, a beginning, and an end."""

    def __init__(self, call):
        super().__init__(call)
        self.base = skeleton(call)
        self.sequence = 0

    def put(self, kind, found):
        """Write one event under the next sequence number."""
        found = {**found, "type": kind, "sequence_number": self.sequence}
        self.sequence += 1
        return sse.encode(relay.dump(found), kind.encode())

    def opened(self):
        """Return those of the two events that every response begins with which are missing."""
        missing = OPENING[1 + self.sequence :]
        return b"".join([self.put(kind, {"response": self.base}) for kind in missing])

    def closed(self, kind, ended):
        """Return the event that ends a response, which is kept first, and the stream's end."""
        self.done = True
        if self.usage is None and kind != CLOSING[2]:
            self.call.said = tokens.said(ended)
        if not self.call.stateful:
            self.call.keep(ended)
        return self.put(kind, {"response": ended}) + sse.DONE

    def so_far(self):
        """Return what has come of the response, for one that is ended before it has ended."""
        raise NotImplementedError

    def fault(self, found):
        return faults.in_stream(found, self.call.model, self.call.secrets)

    def snapshot(self):
        return {**self.base, **self.so_far()} if self.sequence else None

    def fail(self, error):
        opened = b"" if self.sequence else self.put(OPENING[1], {"response": self.base})
        said = {"code": error.code, "message": error.message}
        failed = {**self.base, **self.so_far(), "status": "failed", "error": said}
        return opened + self.closed("response.failed", failed)


class Relay(Lifecycle):
    """Events with one `created`, every index and key, and one id an item."""

    def __init__(self, call):
        super().__init__(call)
        self.items, self.growth = Items(), Growth()

    def event(self, event):
        if event.data.startswith(b"[DONE]"):
            raise faults.cut()  # the events that end a response have not come
        found = relay.load(event.data)
        kind = found.get("type") or event.type.decode("utf-8", "replace")
        if kind == "error" or (not kind and found.get("error")):
            raise self.fault(found.get("error") or found)
        # What names an event is a line of the stream, and must not hold a line break.
        if not isinstance(kind, str) or not kind or not kind.isprintable():
            raise errors.UpstreamBadResponse()
        if kind in OPENING:
            return self.open(kind, found)
        if kind in CLOSING:
            return self.close(kind, found)
        placed = self.items.place(kind, found)
        self.growth.see(kind, placed)
        return self.opened() + self.put(kind, placed)

    def open(self, kind, found):
        filled = self.filled(found, "in_progress")
        if self.sequence == 0:
            return self.put("response.created", {"response": filled})
        if self.sequence == 1 and kind == "response.in_progress":
            return self.put(kind, {"response": filled})
        return b""

    def close(self, kind, found):
        ended = self.filled(found, kind.removeprefix("response."))
        ended["output"] = self.items.output(ended["output"])
        self.usage = tokens.read(ended["usage"])
        if kind == "response.failed":
            ended["error"] = self.failed(ended["error"])
        if kind == "response.completed" and ended["completed_at"] is None:
            ended["completed_at"] = int(time.time())
        return self.opened() + self.closed(kind, ended)

    def failed(self, found):
        """Return the error of a failed response; raise it while another upstream may be tried."""
        error = self.fault(found)
        if not self.sequence:
            raise error
        return {"code": error.code, "message": error.message}

    def so_far(self):
        return {"output": self.growth.items()}

    def filled(self, found, status):
        """Return an event's response with every key; what the first says of itself stays."""
        inner = found.get("response")
        if not isinstance(inner, dict):
            raise errors.UpstreamBadResponse()
        keep = self.call.stateful and not self.sequence
        filled = response.fill(self.base, inner, keep_id=keep)
        filled["created_at"] = self.base["created_at"] if self.sequence else filled["created_at"]
        if not self.sequence:
            self.base = {**self.base, **{name: filled[name] for name in LASTING}}
        return {**filled, "status": status}

    def whole(self, body):
        """Return a whole answer as the stream it amounts to."""
        found = answered(self.call, body)
        self.events = 1
        kind = f"response.{found.get('status')}"
        kind = kind if kind in CLOSING else CLOSING[0]
        ended = {"response": {**found, "output": self.items.output(found["output"])}}
        self.filled(ended, "in_progress")
        events = list(unfold(ended["response"]["output"]))
        out = [self.opened(), *[self.put(name, event) for name, event in events]]
        relay.counted(self.call, found)
        return b"".join(out) + self.close(kind, ended)
