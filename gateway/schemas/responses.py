"""What a valid body of POST /v1/responses is (CreateResponse).

No input is asked for: a prompt, a conversation or an earlier response may stand in for it.
"""

from gateway.schemas.fields import Either, Flag, Items, Map, Record, Text, Variants, Whole, Word
from gateway.schemas.generation import (
    OTHER_TIERS,
    AllowedTools,
    Effort,
    Function,
    Generation,
    Identified,
    Named,
    Tagged,
    ToolChoice,
    Verbosity,
)
from gateway.schemas.items import InputItem


class FunctionTool(Tagged, Function):
    """Flat, where a chat's is nested. `strict` and `parameters` are left out by many clients."""

    allowed_callers = Items(Text())


class GrammarFormat(Tagged):
    definition = Text(required=True)
    syntax = Text(required=True)


class CustomTool(Tagged, Named):
    allowed_callers = Items(Text(), minimum=1)
    description = Text()
    format = Variants("type", {"grammar": GrammarFormat}, other=Tagged)


class NamedChoice(Tagged, Named):
    pass


class AllowedChoice(Tagged, AllowedTools):
    pass


class ServerChoice(Tagged):
    server_label = Text(required=True)
    name = Text()


class JSONSchemaFormat(Tagged, Named):
    schema = Record(required=True)
    description = Text()
    strict = Flag()


TOOLS = {"function": FunctionTool, "custom": CustomTool}
CHOICES = {
    "function": NamedChoice,
    "custom": NamedChoice,
    "allowed_tools": AllowedChoice,
    "mcp": ServerChoice,
}
FORMATS = {"json_schema": JSONSchemaFormat}
SUMMARIES = ("auto", "concise", "detailed")
INCLUDABLE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)


class CreateResponse(Generation):
    input = Either(Text(), Items(InputItem()))
    background = Flag()
    context_management = Items(
        Record({"type": Text(required=True), "compact_threshold": Whole(minimum=1000)}), minimum=1
    )
    conversation = Either(Text(), Record(Identified))
    include = Items(Word(*INCLUDABLE))
    instructions = Text()
    max_output_tokens = Whole(minimum=16)
    max_tool_calls = Whole()
    previous_response_id = Text()
    prompt = Record(
        {
            "id": Text(required=True),
            "version": Text(),
            "variables": Map(Either(Text(), Record(Tagged))),
        }
    )
    reasoning = Record(
        {
            "effort": Effort(),
            "summary": Word(*SUMMARIES),
            "generate_summary": Word(*SUMMARIES),
            "context": Word("auto", "current_turn", "all_turns"),
            "mode": Text(),
        }
    )
    service_tier = Word(
        "auto", "default", "flex", "scale", "priority", "fast", "ultrafast", also=OTHER_TIERS
    )
    text = Record({"format": Variants("type", FORMATS, other=Tagged), "verbosity": Verbosity()})
    tool_choice = ToolChoice(Variants("type", CHOICES, other=Tagged))
    tools = Items(Variants("type", TOOLS, other=Tagged))
    truncation = Word("auto", "disabled")
