"""What a valid body of POST /v1/chat/completions is (CreateChatCompletionRequest)."""

from gateway.schemas.fields import (
    Either,
    Flag,
    Items,
    Map,
    Number,
    Open,
    Record,
    Text,
    Variants,
    Whole,
    Word,
)
from gateway.schemas.generation import (
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
from gateway.schemas.messages import Content, Messages


class FunctionTool(Tagged):
    function = Record(Function, required=True)


class GrammarFormat(Tagged):
    grammar = Record(
        {"definition": Text(required=True), "syntax": Text(required=True)}, required=True
    )


class CustomTool(Tagged):
    custom = Record(
        {
            "name": Text(required=True),
            "description": Text(),
            "format": Variants("type", {"grammar": GrammarFormat}, other=Tagged),
        },
        required=True,
    )


class FunctionChoice(Tagged):
    function = Record(Named, required=True)


class CustomChoice(Tagged):
    custom = Record(Named, required=True)


class AllowedChoice(Tagged):
    allowed_tools = Record(AllowedTools, required=True)


class JSONSchemaFormat(Tagged):
    json_schema = Record(
        {
            "name": Text(required=True),
            "description": Text(),
            "schema": Record(),
            "strict": Flag(),
        },
        required=True,
    )


class Location(Open):
    """Where a web search is to be from."""

    type = Text(required=True)
    approximate = Record(
        {"country": Text(), "region": Text(), "city": Text(), "timezone": Text()}, required=True
    )


TOOLS = {"function": FunctionTool, "custom": CustomTool}
CHOICES = {"function": FunctionChoice, "custom": CustomChoice, "allowed_tools": AllowedChoice}
FORMATS = {"json_schema": JSONSchemaFormat}
SOUNDS = ("wav", "aac", "mp3", "flac", "opus", "pcm16")


class ChatCompletion(Generation):
    messages = Messages(required=True)
    audio = Record(
        {
            "voice": Either(Text(), Record(Identified), required=True),
            "format": Word(*SOUNDS, required=True),
        }
    )
    frequency_penalty = Number(-2, 2)
    function_call = Either(Word("none", "auto"), Record(Named))
    functions = Items(Record(Function), minimum=1, maximum=128)
    # OpenAI's are whole numbers, but other servers take fractions too.
    logit_bias = Map(Number())
    logprobs = Flag()
    max_completion_tokens = Whole()
    max_tokens = Whole()
    modalities = Items(Word("text", "audio", also=("image", "video")))
    n = Whole(1, 128)
    prediction = Record({"type": Text(required=True), "content": Content(required=True)})
    presence_penalty = Number(-2, 2)
    reasoning_effort = Effort()
    response_format = Variants("type", FORMATS, other=Tagged)
    # As the description has them: the ends of 64 bits, rounded like a float.
    seed = Whole(-9223372036854776000, 9223372036854776000)
    stop = Either(Text(), Items(Text(), minimum=1, maximum=4))
    tool_choice = ToolChoice(Variants("type", CHOICES, other=Tagged))
    tools = Items(Variants("type", TOOLS, other=Tagged))
    verbosity = Verbosity()
    web_search_options = Record(
        {"user_location": Record(Location), "search_context_size": Word("low", "medium", "high")}
    )
