"""What the two ways to generate text, chat completions and responses, have in common.

The words that a parameter takes are closed lists: those of OpenAI's description and, as `also`,
what other servers and older SDKs are known to say. Words deeper down, in messages, items and tools,
are left to the upstream.
"""

from gateway.schemas import Payload
from gateway.schemas.fields import Either, Flag, Items, Map, Number, Open, Record, Text, Whole, Word

OTHER_TIERS = ("on_demand", "performance", "standard", "standard_only", "ultrafast")


class Tagged(Open):
    """An object of a type that is not known here; the upstream may know it."""

    type = Text(required=True)


class Named(Open):
    name = Text(required=True)


class Identified(Open):
    id = Text(required=True)


class Mode(Open):
    mode = Text(required=True)


class Function(Named):
    """A function as it is offered to a model."""

    description = Text()
    parameters = Record()
    strict = Flag()


class Effort(Word):
    def __init__(self, **kwargs):
        words = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
        super().__init__(*words, also=("default",), **kwargs)


class Verbosity(Word):
    def __init__(self, **kwargs):
        super().__init__("low", "medium", "high", **kwargs)


class ToolChoice(Either):
    """A word, or an object that names the tool or tools to choose from."""

    def __init__(self, tools, **kwargs):
        super().__init__(Word("none", "auto", "required", also=("any",)), tools, **kwargs)


class Generation(Payload):
    """The parameters that both endpoints take."""

    metadata = Map(Text())
    moderation = Record(
        {
            "model": Text(required=True),
            "policy": Record({"input": Record(Mode), "output": Record(Mode)}),
        }
    )
    parallel_tool_calls = Flag()
    prompt_cache_key = Text()
    prompt_cache_options = Record({"ttl": Text(), "mode": Word("implicit", "explicit")})
    prompt_cache_retention = Word("in_memory", "24h", also=("in-memory",))
    safety_identifier = Text(maximum=64)
    service_tier = Word("auto", "default", "flex", "scale", "priority", "fast", also=OTHER_TIERS)
    store = Flag()
    stream = Flag()
    stream_options = Record({"include_usage": Flag(), "include_obfuscation": Flag()})
    temperature = Number(0, 2)
    top_logprobs = Whole(0, 20)
    top_p = Number(0, 1)
    user = Text()


class AllowedTools(Mode):
    tools = Items(Record(), required=True)
