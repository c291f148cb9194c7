"""The input of a response as the messages of a chat: who said what, item by item.

A chat keeps in one message what the assistant says and calls before anybody else speaks, and
most servers take system messages only as the first one, so neighbours are put together.
"""

from gateway import errors

SYSTEM = ("system", "developer")  # many servers know no developer
TEXTS = ("input_text", "output_text")
ODD = "an upstream has answered with it in a form that is not known here"


def refused(param, why=""):
    """Return the error for what a chat has no words for; `why` ends its sentence."""
    why = why and f": {why[:200]}"
    text = f"Unsupported parameter: '{param}' is not supported with this model{why}."
    return errors.UnsupportedParameter(text, param)


def messages(instructions, given, whole_reasoning=True):
    """Return the messages that instructions and an input (a text or items) amount to.

    Without `whole_reasoning` only that of the current turn is told. Raises UnsupportedParameter
    and MissingParameter, which name the place.
    """
    found = Conversation()
    if instructions:
        found.system(instructions)
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    users = [number for number, item in enumerate(items) if item.get("role") == "user"]
    current = 0 if whole_reasoning or not users else users[-1]
    for number, item in enumerate(items):
        if number >= current or item.get("type") != "reasoning":
            found.add(item, f"input[{number}]")
    return found.ended()


class Conversation:
    """Messages, as items are added to them."""

    def __init__(self):
        self.messages = []

    def add(self, item, at):
        """Add an item; `at` is its place in the request."""
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        try:
            if kind not in ADDING:
                raise refused(f"{at}.type", f"it takes no items of type '{kind}'")
            ADDING[kind](self, item, at)
        except (AttributeError, KeyError, TypeError):
            # What a client sends is checked; what an upstream said in an earlier turn is not.
            raise refused(at, ODD) from None

    def ended(self):
        """Return the messages; null is a content only beside calls."""
        for message in self.messages:
            if message["content"] is None and "tool_calls" not in message:
                message["content"] = ""
        return self.messages

    def message(self, item, at):
        content = contents(item["content"], f"{at}.content", item["role"])
        if item["role"] == "assistant":
            self.spoken(content)
        elif item["role"] in SYSTEM:
            self.system(content)
        else:
            self.messages.append({"role": item["role"], "content": content})

    def system(self, content):
        """Add to the system message that a chat begins with, or say it later where it was said."""
        first = self.messages[0] if len(self.messages) == 1 else {}
        if first.get("role") == "system":
            first["content"] = joined(first["content"], content)
        else:
            self.messages.append({"role": "system", "content": content})

    def spoken(self, content):
        """Add what the assistant has said."""
        message = self.turn()
        refusals = [part["refusal"] for part in parts(content) if part["type"] == "refusal"]
        if refusals:
            message["refusal"] = "".join(refusals)
            content = plain([part for part in parts(content) if part["type"] != "refusal"])
        if message["content"] is None:
            message["content"] = content
        else:
            message["content"] = parts(message["content"]) + parts(content)

    def reasoning(self, item, at):
        """Add what the assistant thought; what is only encrypted nobody here could read."""
        found = item.get("content") or item["summary"]
        text = "\n\n".join(part["text"] for part in found)
        if text:
            message = self.turn()
            before = message.get("reasoning_content")
            message["reasoning_content"] = f"{before}\n\n{text}" if before else text

    def called(self, item, at):
        """Add a tool that the assistant has called to what it said before."""
        if item.get("namespace"):
            raise refused(f"{at}.namespace", "its tools have no namespaces")
        function = item["type"] == "function_call"
        kind, told = ("function", "arguments") if function else ("custom", "input")
        call = {"name": item["name"], told: item[told]}
        self.assistant().setdefault("tool_calls", []).append(
            {"id": item["call_id"], "type": kind, kind: call}
        )

    def returned(self, item, at):
        """Add what a tool has given back."""
        if not item.get("call_id"):
            raise errors.MissingParameter(f"{at}.call_id")
        content = contents(item["output"], f"{at}.output", "tool")
        self.messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})

    def turn(self):
        """Return the assistant's message that goes on; one that was said without calls is over."""
        last = self.assistant()
        if last["content"] is None or "tool_calls" in last:
            return last
        return self.begun()

    def assistant(self):
        if self.messages and self.messages[-1]["role"] == "assistant":
            return self.messages[-1]
        return self.begun()

    def begun(self):
        self.messages.append({"role": "assistant", "content": None})
        return self.messages[-1]


ADDING = {
    "message": Conversation.message,
    "reasoning": Conversation.reasoning,
    "function_call": Conversation.called,
    "custom_tool_call": Conversation.called,
    "function_call_output": Conversation.returned,
    "custom_tool_call_output": Conversation.returned,
}


def contents(given, at, role):
    """Return the content of a message: a text, or parts as a chat writes them."""
    if isinstance(given, str):
        return given
    return plain([part(found, f"{at}[{n}]", role) for n, found in enumerate(given)])


def plain(found):
    """Return parts as a text where they are no more than that; many servers know only texts."""
    if not found:
        return ""
    if len(found) == 1 and found[0]["type"] == "text" and len(found[0]) == 2:
        return found[0]["text"]
    return found


def parts(content):
    """Return the parts of a content, of which a text is one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def joined(one, other):
    """Put two contents together, as paragraphs where they are texts."""
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    return parts(one) + parts(other)


def part(found, at, role):
    """Return a part of a content as a chat writes it."""
    kind = found["type"]
    if kind in TEXTS:
        made = {"type": "text", "text": found["text"]}
    elif kind == "input_image":
        made = image(found, at)
    elif kind == "input_file":
        made = file(found, at)
    elif kind == "input_audio" or (kind == "refusal" and role == "assistant"):
        return found
    else:
        raise refused(f"{at}.type", f"a message of the role '{role}' takes no '{kind}'")
    if found.get("prompt_cache_breakpoint") is not None:
        made["prompt_cache_breakpoint"] = found["prompt_cache_breakpoint"]
    return made


def image(found, at):
    if found.get("file_id"):
        raise refused(f"{at}.file_id", "it takes images as URLs")
    if not found.get("image_url"):
        raise errors.MissingParameter(f"{at}.image_url")
    detail = {"detail": found["detail"]} if found.get("detail") else {}
    return {"type": "image_url", "image_url": {"url": found["image_url"], **detail}}


def file(found, at):
    if found.get("file_url"):
        raise refused(f"{at}.file_url", "it takes the data of a file or its id")
    if found.get("detail") not in (None, "auto"):
        raise refused(f"{at}.detail", "a file has none in a chat")
    given = {name: found[name] for name in ("filename", "file_data", "file_id") if found.get(name)}
    return {"type": "file", "file": given}
