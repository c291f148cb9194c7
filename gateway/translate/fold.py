"""The chunks of a chat completion put together again: the answer that they were cut from."""

from gateway.translate.asked import Calls

# Said once in a stream, though some servers repeat it in every chunk.
ONCE = frozenset(("id", "type", "name", "role"))
FIRST = frozenset(("id", "object", "created", "model"))
OF_STREAMS = frozenset(("choices", "obfuscation"))  # what a whole answer has not, or otherwise
DEEPEST = 3  # objects in a delta that are grown; what lies deeper is taken as it is


class Pieces(list):
    """A text as far as it has come."""


class Completion:
    """A chat completion while its chunks come in; a chunk is one whose `choices` are a list."""

    def __init__(self):
        self.head, self.choices = {}, {}

    def take(self, chunk):
        """Add a chunk to what there is; of what is said again, the last counts."""
        for name, value in chunk.items():
            known = name in FIRST and self.head.get(name) is not None
            if name not in OF_STREAMS and not known:
                self.head[name] = self.head.get(name) if value is None else value
        for found in chunk["choices"]:
            if isinstance(found, dict):
                index = found["index"] if type(found.get("index")) is int else 0
                if index not in self.choices:
                    self.choices[index] = Choice(index)
                self.choices[index].take(found)

    def whole(self):
        """Return the completion."""
        choices = [self.choices[index].whole() for index in sorted(self.choices)]
        return {**self.head, "object": "chat.completion", "choices": choices}


class Choice:
    """One of the answers in a completion."""

    def __init__(self, index):
        self.found = {"index": index, "message": None, "finish_reason": None}
        self.message = {"role": "assistant", "content": None}
        self.calls = Calls(Call)

    def take(self, choice):
        for name, value in choice.items():
            if name == "delta":
                self.say(value if isinstance(value, dict) else {})
            elif name == "logprobs" and isinstance(value, dict):
                grow(self.table("logprobs"), value)
            elif isinstance(value, list):
                extend(self.found, name, value)
            elif name != "index" and (value is not None or name not in self.found):
                self.found[name] = value

    def table(self, name):
        if not isinstance(self.found.get(name), dict):
            self.found[name] = {}
        return self.found[name]

    def say(self, delta):
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta = {name: value for name, value in delta.items() if name != "tool_calls"}
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self.calls.of(call).take(call)
        grow(self.message, delta)

    def whole(self):
        message = joined(self.message)
        if self.calls.all:
            calls = sorted(self.calls.all, key=lambda call: call.place)
            message["tool_calls"] = [call.whole() for call in calls]
        other = ("tool_calls", "function_call", "refusal", "audio")
        if message["content"] == "" and any(message.get(name) for name in other):
            message["content"] = None  # a stream begins with "" whatever it is going to be
        return {**joined(self.found), "message": message}


class Call:
    """A tool call of a choice."""

    def __init__(self):
        self.found, self.place = {}, 0

    @property
    def id(self):
        return self.found.get("id") or ""

    def take(self, delta):
        self.place = delta["index"] if type(delta.get("index")) is int else self.place
        grow(self.found, {name: value for name, value in delta.items() if name != "index"})

    def whole(self):
        kind = {} if "type" in self.found else {"type": "function"}
        return {**joined(self.found), **kind}


def grow(into, found, depth=1):
    """Add what a delta says to what there is: texts and lists are pieces, objects hold some."""
    for name, value in found.items():
        if isinstance(value, list):
            extend(into, name, value)
        elif isinstance(value, str) and name not in ONCE:
            if type(into.get(name)) is not Pieces:
                into[name] = Pieces()
            into[name].append(value)
        elif isinstance(value, dict) and depth < DEEPEST:
            if not isinstance(into.get(name), dict):
                into[name] = {}
            grow(into[name], value, depth + 1)
        elif name not in ONCE or not into.get(name):
            into[name] = into.get(name) if value is None else value


def extend(into, name, found):
    """Add the items of a list to what there is under a name."""
    if type(into.get(name)) is not list:
        into[name] = []
    into[name] += found


def joined(grown, depth=0):
    """Return what has grown, its texts in one piece."""
    return {name: whole(value, depth) for name, value in grown.items()}


def whole(value, depth):
    if type(value) is Pieces:
        return "".join(value)
    if isinstance(value, dict) and depth < DEEPEST:
        return joined(value, depth + 1)
    return value
