"""A response as one turn of a conversation: what it builds on, and what is kept of it.

The items of earlier turns are kept as they were sent and answered. Here they get the shape in
which an upstream can be told them, and the one in which they are listed to the client.
"""

from gateway.translate.items import PREFIXES, kind_of, new_id

UNFINISHED = ("in_progress", "incomplete")


class NoTurn:
    """Of a call that belongs to no conversation, nothing is kept."""

    def begin(self, call):
        pass

    def leave(self, call):
        pass


def always(key, id):
    """Say nothing of a response that is not stored: it may be an upstream's."""


class Turn:
    """The turn of one call; `stored` are the stored responses, `key` whose it is.

    `default` is what `store` means when a request leaves it out. `missing(key, id)` is told of a
    previous response that is not stored, and may raise why.
    """

    def __init__(self, stored, default, key, missing=always):
        self.stored, self.default, self.key = stored, default, key or ""
        self.missing = missing
        self.wanted, self.kept = False, None
        self.added, self.previous, self.before = [], None, None

    def begin(self, call):
        """Put the turns before it into the call's input, where they are held here.

        Raises InvalidValue for a conversation that is too long, or DependencyUnavailable.
        """
        payload = call.asked
        store = payload.get("store")
        self.wanted = self.default if store is None else store
        self.added = listed(payload.get("input"))
        call.store, call.keep = self.wanted, self.keep
        previous = payload.get("previous_response_id")
        self.before = None if previous is None else self.stored.history(self.key, previous)
        if self.before is None and previous is not None:
            self.missing(self.key, previous)
        if self.before is not None:
            self.previous = previous
            payload = {**payload, "input": told(self.before.items) + self.added}
            del payload["previous_response_id"]
        if store is None and not self.wanted:
            payload = {**payload, "store": False}  # a stateful upstream's default may differ
        call.payload = payload

    def keep(self, response):
        """Store a response that has ended, and say in it whether it is stored.

        To be called before the client hears that it has ended; only the first call counts.
        """
        if self.kept is None:
            response["store"] = self.wanted
            self.kept = self.wanted and self.stored.put(
                self.key, response, identified(self.added), self.previous, self.before
            )
        response["store"] = self.kept

    def leave(self, call):
        """Store what had come of a stream when its client left."""
        if not self.wanted or self.kept is not None or call.relay is None or call.stateful:
            return  # what a stateful upstream keeps is there, under its own id
        found = call.relay.snapshot()
        if found is not None:
            self.keep({**found, "status": "cancelled"})


NO_TURN = NoTurn()


def listed(given):
    """Return a request's input as a list of items."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given or []


def asked(payload):
    """Return the items of a request's input, each with an id."""
    return identified(listed(payload.get("input")))


def identified(items):
    """Return items each of which has an id."""
    return [item if named(item) else {**item, "id": new_id(kind_of(item))} for item in items]


def named(item):
    return isinstance(item.get("id"), str) and item["id"] != ""


def told(items):
    """Return the items of earlier turns as any upstream takes them.

    Half of a tool's call is left out, and so is a message or thought with nothing in it.
    """
    found = [replayed(item) for item in items if isinstance(item, dict)]
    return [item for item in found if item is not None]


def replayed(item):
    kind = kind_of(item)
    item = {name: value for name, value in item.items() if value is not None}
    if kind == "message":
        return message(item)
    if kind == "reasoning":
        return thought(item)
    if item.get("status") in UNFINISHED:
        return None
    if kind in PREFIXES:
        item.pop("id", None)
    return item


def message(item):
    item.pop("id", None)
    item.pop("status", None)
    if item.get("role") == "assistant":
        item["content"] = spoken(item.get("content"))
    return item if item.get("content") else None


def thought(item):
    # Open models' thoughts are taken only with an id, and nobody looks for it. To others an id
    # is a reference to what they have not kept.
    if not item.get("content"):
        item.pop("id", None)
    item.pop("status", None)
    item.setdefault("summary", [])
    known = item.get("content") or item["summary"] or item.get("encrypted_content")
    return item if known else None


def spoken(content):
    """Return what an assistant said as a text where nothing is lost by that.

    The parts of an answer are taken by few servers without the id and all that belongs to them.
    """
    if not isinstance(content, list):
        return content
    if all(plain(part) for part in content):
        return "".join(part["text"] for part in content)
    return [
        {**part, "logprobs": []} if isinstance(part, dict) and part.get("logprobs") else part
        for part in content
    ]


def plain(part):
    if not isinstance(part, dict) or part.get("annotations"):
        return False
    return part.get("type") == "output_text" and isinstance(part.get("text"), str)


def shown(items):
    """Return items as they are listed: in full, and each with an id that no other one has."""
    seen, found = {}, []
    for item in items:
        if not isinstance(item, dict):
            continue
        id = item["id"] if named(item) else new_id(kind_of(item))
        seen[id] = seen.get(id, 0) + 1
        if seen[id] > 1:  # upstreams count from 1 in every response, and clients send things twice
            id = f"{id}_{seen[id]}"
        found.append(filled({**item, "id": id}))
    return found


def filled(item):
    """Return an item with what every listed one of its type has."""
    kind = kind_of(item)
    if kind in ("message", "function_call", "function_call_output"):
        item.setdefault("status", "completed")
    if kind == "message":
        item["type"] = kind
        if isinstance(item.get("content"), str):
            item["content"] = [part(item.get("role"), item["content"])]
    return item


def part(role, text):
    """Return the part of a message that a text amounts to."""
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}
