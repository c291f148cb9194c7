"""Which of a chat's tool calls a delta is about, where servers number them badly or not at all."""


class Calls:
    """The tool calls of one answer in the order in which they began.

    `make()` begins one: an object with an `id`, "" until that is known.
    """

    def __init__(self, make):
        self.make, self.all = make, []
        self.latest = {}  # index to the call that it was last the index of

    def of(self, delta):
        """Return the call that a delta is about, begun if it is new."""
        index, id = self.index(delta), delta.get("id")
        call = self.latest.get(index)
        # Another id under the same index is another call: some servers number none of them.
        if call is None or (id and call.id and call.id != id and inner(delta).get("name")):
            call = self.latest[index] = self.make()
            self.all.append(call)
        return call

    def index(self, delta):
        """Return a delta's index; what it must be where it is left out."""
        index, id = delta.get("index"), delta.get("id")
        if type(index) is int:
            return index
        known = [i for i, call in self.latest.items() if id and call.id == id]
        if known:
            return known[0]
        named = id or inner(delta).get("name")
        return len(self.latest) if named or not self.latest else max(self.latest)


def inner(delta):
    """Return what a tool call's delta says of its function or custom tool."""
    found = delta.get("function") or delta.get("custom")
    return found if isinstance(found, dict) else {}
