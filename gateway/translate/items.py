"""The output items of a response: one index and one id each, whatever an upstream leaves out."""

import secrets

from gateway.translate.growth import PIECES

# Items that upstreams can be told of without an id, and how their ids begin.
PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}
CONTENT = (
    "response.content_part",
    "response.output_text",
    "response.refusal",
    "response.reasoning_text",
)
SUMMARY = "response.reasoning_summary"
INNER = (*CONTENT, SUMMARY, *PIECES)


class Items:
    """What the events of one stream have said of its output items so far."""

    def __init__(self):
        self.names = {}  # output_index to id
        self.ended = {}  # output_index to the finished item
        self.parts = {}  # output_index to the content_index of its latest part

    def place(self, kind, event):
        """Return an event with the indexes, ids and lists that it should have."""
        if kind.startswith("response.output_item"):
            self.item(kind, event)
        elif kind.startswith(INNER) or isinstance(event.get("item_id"), str):
            self.inner(kind, event)
        return event

    def output(self, given):
        """Return the items of the end of a response, or those that have ended if it has none."""
        if not isinstance(given, list) or not given:
            return [self.ended[index] for index in sorted(self.ended)]
        return [
            {**item, "id": named(item, item.get("id"), self.names.get(index), item.get("call_id"))}
            if isinstance(item, dict)
            else item
            for index, item in enumerate(given)
        ]

    def item(self, kind, event):
        item = event.get("item")
        item = item if isinstance(item, dict) else {}
        index = event.get("output_index")
        if type(index) is not int:
            index = event["output_index"] = self.index(kind, item)
        known = self.names.get(index)
        self.names[index] = name = named(item, known, item.get("id"), item.get("call_id"))
        if item:
            event["item"] = {**item, "id": name}
        if kind.endswith(".done"):
            self.ended[index] = event.get("item")

    def index(self, kind, item):
        """Return the next index for an item that begins, and its own for one that ends."""
        if kind.endswith(".done"):
            name = item.get("id") or item.get("call_id")
            waiting = [index for index in self.names if index not in self.ended]
            own = [index for index in waiting if name in (None, self.names[index])]
            if own:
                return own[0]
        return max(self.names, default=-1) + 1

    def inner(self, kind, event):
        """Place an event that happens inside an item."""
        index, name = event.get("output_index"), event.get("item_id")
        if type(index) is not int:
            latest = max(self.names, default=0)
            own = [index for index, known in self.names.items() if known == name]
            index = event["output_index"] = own[0] if own else latest
        if not isinstance(name, str):
            event["item_id"] = self.names.get(index)
        if kind.startswith(SUMMARY):
            event.setdefault("summary_index", 0)
        elif kind.startswith(CONTENT):
            self.part(kind, event, index)

    def part(self, kind, event, index):
        latest = self.parts.get(index, -1)
        if kind == "response.content_part.added":
            latest = latest + 1
        if type(event.get("content_index")) is not int:
            event["content_index"] = max(latest, 0)
        self.parts[index] = event["content_index"]
        if kind in ("response.output_text.delta", "response.output_text.done"):
            event.setdefault("logprobs", [])
        part = event.get("part")
        if isinstance(part, dict) and part.get("type") == "output_text":
            event["part"] = {"annotations": [], "logprobs": [], **part}


def named(item, *names):
    """Return the first that can be an item's id, or a new one."""
    for name in names:
        if isinstance(name, str) and name:
            return name
    return new_id(item.get("type"))


def kind_of(item):
    """Return an item's type, which messages and references may leave out."""
    kind = item.get("type")
    return kind if isinstance(kind, str) else "message" if "role" in item else "item_reference"


def new_id(kind):
    prefix = PREFIXES.get(kind, "item") if isinstance(kind, str) else "item"
    return f"{prefix}_{secrets.token_hex(16)}"
