"""The output of a stream as far as it has come, from the events that its client was sent.

What has not ended is `incomplete`, whatever its upstream called it when it began.
"""

CONTENT, SUMMARY = ("content", "content_index"), ("summary", "summary_index")
ITSELF = (None, None)
# What an event brings a piece of: the list in its item with the key of the index, and the field.
PIECES = {
    "response.output_text": (CONTENT, "text", "output_text"),
    "response.refusal": (CONTENT, "refusal", "refusal"),
    "response.reasoning_text": (CONTENT, "text", "reasoning_text"),
    "response.reasoning_summary_text": (SUMMARY, "text", "summary_text"),
    "response.function_call_arguments": (ITSELF, "arguments", None),
    "response.mcp_call_arguments": (ITSELF, "arguments", None),
    "response.custom_tool_call_input": (ITSELF, "input", None),
    "response.code_interpreter_call_code": (ITSELF, "code", None),
}
DELTAS = {f"{kind}.delta": place for kind, place in PIECES.items()}
WHOLES = {f"{kind}.done": place for kind, place in PIECES.items()}
PARTS = {
    "response.content_part.added": CONTENT,
    "response.content_part.done": CONTENT,
    "response.reasoning_summary_part.added": SUMMARY,
    "response.reasoning_summary_part.done": SUMMARY,
}
ADDED, ENDED = "response.output_item.added", "response.output_item.done"


class Growth:
    """Output items while they are being said."""

    def __init__(self):
        self.growing = {}  # output_index to what has begun
        self.ended = {}  # output_index to what has ended

    def see(self, kind, event):
        """Take note of an event."""
        place = DELTAS.get(kind)
        if place is not None:  # nearly all events
            self.of(event).said(event, *place).append(event.get("delta"))
        elif kind in WHOLES:
            self.of(event).said(event, *WHOLES[kind])[:] = [event.get(WHOLES[kind][1])]
        elif kind in PARTS:
            self.of(event).part(event, *PARTS[kind])
        elif kind == ADDED and isinstance(event.get("item"), dict):
            self.of(event).item = event["item"]
        elif kind == ENDED and isinstance(event.get("item"), dict):
            index = number(event, "output_index")
            self.growing.pop(index, None)
            self.ended[index] = event["item"]

    def of(self, event):
        index = number(event, "output_index")
        found = self.growing.get(index)
        if found is None:
            found = self.growing[index] = Growing(event.get("item_id"))
        return found

    def items(self):
        """Return the output items."""
        grown = {index: item.shown() for index, item in self.growing.items()}
        found = {**grown, **self.ended}
        return [found[index] for index in sorted(found)]


class Growing:
    """An item that has not ended."""

    def __init__(self, id):
        self.item = {"id": id, "type": "message", "role": "assistant"}  # until it is said to begin
        self.parts = {}  # (list, index in it) to part
        self.pieces = {}  # (list, index in it, field) to its texts

    def said(self, event, place, name, kind):
        """Return the texts of the field that an event belongs to."""
        where, index = place
        key = (where, number(event, index), name)
        found = self.pieces.get(key)
        if found is None:
            found = self.pieces[key] = []
            self.parts.setdefault(key[:2], {"type": kind})
        return found

    def part(self, event, where, index):
        if isinstance(event.get("part"), dict):
            self.parts[where, number(event, index)] = event["part"]

    def shown(self):
        parts = {place: dict(part) for place, part in self.parts.items()}
        item = parts[None, 0] = {**self.item, "status": "incomplete"}
        for (*place, name), pieces in self.pieces.items():
            parts[tuple(place)][name] = "".join([text for text in pieces if isinstance(text, str)])
        for where in ("content", "summary"):
            said = sorted(index for at, index in self.parts if at == where)
            if said or where in item:
                item[where] = [parts[where, index] for index in said]
        return item


def number(event, name):
    """Return an index that an event has, where it is one."""
    found = event.get(name)
    return found if type(found) is int else 0
