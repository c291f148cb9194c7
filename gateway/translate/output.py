"""The output items of a response while they are being said: one id and one index each.

Methods return, or yield, the (type, event) pairs that what they are told amounts to.
"""

import secrets


class Part:
    """A part of an item, in pieces as they come."""

    ADDED, ENDED = "response.content_part.added", "response.content_part.done"
    INDEX, NAME = "content_index", "text"
    TYPE = DELTA = DONE = ""

    def __init__(self, place, number):
        self.place, self.pieces = {**place, self.INDEX: number}, []

    def shown(self):
        return {"type": self.TYPE, self.NAME: "".join(self.pieces)}

    def added(self):
        return self.ADDED, {**self.place, "part": self.shown()}

    def said(self, text):
        self.pieces.append(text)
        return self.DELTA, {**self.place, "delta": text}

    def done(self):
        self.pieces = ["".join(self.pieces)]
        yield self.DONE, {**self.place, self.NAME: self.pieces[0]}
        yield self.ENDED, {**self.place, "part": self.shown()}


class Text(Part):
    """What a message says, with what is known of its tokens and its sources."""

    TYPE = "output_text"
    DELTA, DONE = "response.output_text.delta", "response.output_text.done"

    def __init__(self, place, number):
        super().__init__(place, number)
        self.logprobs, self.annotations = [], []

    def shown(self):
        known = {"annotations": list(self.annotations), "logprobs": list(self.logprobs)}
        return {**super().shown(), **known}

    def said(self, text, logprobs=()):
        self.pieces.append(text)
        self.logprobs += logprobs
        return self.DELTA, {**self.place, "delta": text, "logprobs": logprobs}

    def done(self):
        (kind, event), ended = super().done()
        yield kind, {**event, "logprobs": list(self.logprobs)}
        yield ended

    def noted(self, annotation):
        number = len(self.annotations)
        self.annotations.append(annotation)
        place = {**self.place, "annotation_index": number}
        return "response.output_text.annotation.added", {**place, "annotation": annotation}


class Refusal(Part):
    TYPE = NAME = "refusal"
    DELTA, DONE = "response.refusal.delta", "response.refusal.done"


class Summary(Part):
    TYPE, INDEX = "summary_text", "summary_index"
    ADDED = "response.reasoning_summary_part.added"
    DELTA = "response.reasoning_summary_text.delta"
    DONE = "response.reasoning_summary_text.done"
    ENDED = "response.reasoning_summary_part.done"


class Item:
    """An output item: `shown()` is what is known of it by now."""

    PREFIX = ""

    def __init__(self, index):
        self.id, self.index = f"{self.PREFIX}_{secrets.token_hex(16)}", index
        self.place = {"item_id": self.id, "output_index": index}
        self.status = "in_progress"

    def added(self):
        return "response.output_item.added", {"output_index": self.index, "item": self.shown()}

    def done(self, status="completed"):
        """End what is inside, then the item."""
        yield from self.closed()
        self.status = status
        yield "response.output_item.done", {"output_index": self.index, "item": self.shown()}


class Spoken(Item):
    """An item of parts, which are said one after the other."""

    def __init__(self, index):
        super().__init__(index)
        self.parts = []

    def opened(self, kind):
        """Yield what begins a part of this kind, unless it is the one that is being said."""
        if not self.parts or type(self.parts[-1]) is not kind:
            yield from self.closed()
            self.parts.append(kind(self.place, len(self.parts)))
            yield self.parts[-1].added()

    def closed(self):
        return self.parts[-1].done() if self.parts else ()


class Message(Spoken):
    PREFIX = "msg"

    def shown(self):
        return {
            "id": self.id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": [part.shown() for part in self.parts],
        }


class Reasoning(Spoken):
    PREFIX = "rs"

    def shown(self):
        summary = [part.shown() for part in self.parts]
        return {"id": self.id, "type": "reasoning", "status": self.status, "summary": summary}


class Call(Item):
    """A call of a function."""

    PREFIX, TYPE, NAME = "fc", "function_call", "arguments"
    DELTA = "response.function_call_arguments.delta"
    DONE = "response.function_call_arguments.done"

    def __init__(self, index, call_id, name):
        super().__init__(index)
        self.call_id, self.name, self.pieces = call_id, name, []

    def shown(self):
        return {
            "id": self.id,
            "type": self.TYPE,
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            self.NAME: "".join(self.pieces),
        }

    def said(self, text):
        self.pieces.append(text)
        return self.DELTA, {**self.place, "delta": text}

    def closed(self):
        self.pieces = ["".join(self.pieces)]
        yield self.DONE, {**self.place, self.NAME: self.pieces[0], **self.named()}

    def named(self):
        return {"name": self.name}


class CustomCall(Call):
    """A call of a tool that takes a text of its own form."""

    PREFIX, TYPE, NAME = "ctc", "custom_tool_call", "input"
    DELTA = "response.custom_tool_call_input.delta"
    DONE = "response.custom_tool_call_input.done"

    def named(self):
        return {}
