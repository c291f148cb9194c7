"""What a valid message of a chat is, by its role, and a valid part of its content, by its type."""

from gateway.schemas.fields import Either, Items, Open, Record, Text, Variants, Word
from gateway.schemas.generation import Identified, Tagged


class Part(Tagged):
    prompt_cache_breakpoint = Record({"mode": Text(required=True)})


class TextPart(Part):
    text = Text(required=True)


class ImagePart(Part):
    image_url = Record({"url": Text(required=True), "detail": Text()}, required=True)


class AudioPart(Part):
    input_audio = Record(
        {"data": Text(required=True), "format": Text(required=True)}, required=True
    )


class FilePart(Part):
    file = Record({"filename": Text(), "file_data": Text(), "file_id": Text()}, required=True)


class RefusalPart(Part):
    refusal = Text(required=True)


PARTS = {
    "text": TextPart,
    "image_url": ImagePart,
    "input_audio": AudioPart,
    "file": FilePart,
    "refusal": RefusalPart,
}


class Content(Either):
    """A string or an array of parts. Which role may hold which parts is the upstream's to say."""

    def __init__(self, **kwargs):
        super().__init__(Text(), Items(Variants("type", PARTS, other=Part), minimum=1), **kwargs)


class FunctionCall(Tagged):
    id = Text(required=True)
    function = Record(
        {"name": Text(required=True), "arguments": Text(required=True)}, required=True
    )


class CustomCall(Tagged):
    id = Text(required=True)
    custom = Record({"name": Text(required=True), "input": Text(required=True)}, required=True)


CALLS = {"function": FunctionCall, "custom": CustomCall}


class Message(Open):
    role = Text(required=True)


class SpokenMessage(Message):
    content = Content(required=True)
    name = Text()


class AssistantMessage(Message):
    content = Content()
    refusal = Text()
    name = Text()
    audio = Record(Identified)
    tool_calls = Items(Variants("type", CALLS, other=Tagged))
    function_call = Record({"name": Text(required=True), "arguments": Text(required=True)})


class ToolMessage(Message):
    content = Content(required=True)
    tool_call_id = Text(required=True)


class FunctionMessage(Message):
    content = Content(required=True, allow_none=True)
    name = Text(required=True)


ROLES = {
    "system": SpokenMessage,
    "assistant": AssistantMessage,
    "user": SpokenMessage,
    "function": FunctionMessage,
    "tool": ToolMessage,
    "developer": SpokenMessage,
}


class StrangeMessage(Open):
    """A message of no role that exists: an array of messages is refused for it."""

    role = Word(*ROLES, required=True)


class Messages(Items):
    def __init__(self, **kwargs):
        super().__init__(Variants("role", ROLES, other=StrangeMessage), minimum=1, **kwargs)
