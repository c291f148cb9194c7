"""What a valid item of a response's input is, by its type.

Of what OpenAI's description requires, this asks only for what an item can't do without: Codex
sends its reasoning without an id, and output items come back without their log probabilities.
"""

from gateway.schemas.fields import Either, Items, Open, Record, Text, Variants, Word
from gateway.schemas.generation import Tagged


class TextPart(Tagged):
    text = Text(required=True)


class OutputTextPart(TextPart):
    annotations = Items(Record())
    logprobs = Items(Record())


class ImagePart(Tagged):
    image_url = Text()
    file_id = Text()
    detail = Text()


class FilePart(Tagged):
    file_id = Text()
    file_url = Text()
    file_data = Text()
    filename = Text()
    detail = Text()


class RefusalPart(Tagged):
    refusal = Text(required=True)


PARTS = {
    "input_text": TextPart,
    "output_text": OutputTextPart,
    "input_image": ImagePart,
    "input_file": FilePart,
    "refusal": RefusalPart,
}


class Content(Either):
    """A string or an array of parts, which may be empty."""

    def __init__(self, **kwargs):
        super().__init__(Text(), Items(Variants("type", PARTS, other=Tagged)), **kwargs)


class Message(Open):
    """A message as it was sent or as it was answered. Its type may be left out."""

    role = Word("user", "assistant", "system", "developer", required=True)
    content = Content(required=True)
    type = Text()
    id = Text()
    status = Text()
    phase = Text()


class Reference(Open):
    """An earlier item, named by its id. Its type may be left out."""

    id = Text(required=True)
    type = Text()


class FunctionCall(Tagged):
    call_id = Text(required=True)
    name = Text(required=True)
    arguments = Text(required=True)
    id = Text()
    status = Text()


class FunctionOutput(Tagged):
    output = Content(required=True)
    call_id = Text()
    id = Text()
    status = Text()


class CustomCall(Tagged):
    call_id = Text(required=True)
    name = Text(required=True)
    input = Text(required=True)
    id = Text()


class CustomOutput(FunctionOutput):
    call_id = Text(required=True)


class Reasoning(Tagged):
    summary = Items(Record(TextPart), required=True)
    content = Items(Record(TextPart))
    encrypted_content = Text()
    id = Text()
    status = Text()


ITEMS = {
    "message": Message,
    "item_reference": Reference,
    "function_call": FunctionCall,
    "function_call_output": FunctionOutput,
    "custom_tool_call": CustomCall,
    "custom_tool_call_output": CustomOutput,
    "reasoning": Reasoning,
}


class InputItem(Variants):
    def __init__(self, **kwargs):
        super().__init__("type", ITEMS, other=Tagged, **kwargs)

    def absent(self, value):
        return "item_reference" if "id" in value and "role" not in value else "message"
