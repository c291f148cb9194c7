"""What a request for a response asks of a chat: every parameter kept, or refused by its name.

The table of what goes where is docs/responses.md.
"""

from gateway import errors
from gateway.translate.messages import messages, refused

# What is written anew below, is the gateway's own business, or says nothing to a chat.
TRANSLATED = {
    *("input", "instructions", "include", "max_output_tokens", "parallel_tool_calls"),
    *("reasoning", "stream_options", "text", "tool_choice", "tools", "top_logprobs", "truncation"),
    *("background", "conversation", "metadata", "previous_response_id", "store"),
    *("client_metadata", "max_tool_calls"),
}
# What no chat can do, or a response can't tell; the values are those that ask for nothing.
REFUSED = {
    "prompt": (),
    "context_management": ([],),
    "moderation": (),
    "truncation": ("disabled",),
    "audio": (),
    "function_call": (),
    "functions": ([],),
    "messages": (),
    "modalities": (["text"],),
    "n": (1,),
}
LOGPROBS = "message.output_text.logprobs"
NO_INPUT = "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided."


def to_chat(payload):
    """Return the chat payload for a checked one of /v1/responses; parameters not known here stay.

    Raises UnsupportedParameter for what a chat can't express, and MissingParameter.
    """
    for name, idle in REFUSED.items():
        if payload.get(name) is not None and payload[name] not in idle:
            raise refused(name)
    chat = {
        name: value
        for name, value in payload.items()
        if value is not None and name not in TRANSLATED
    }
    chat.update(thinking(payload.get("reasoning") or {}))
    whole = (payload.get("reasoning") or {}).get("context") != "current_turn"
    chat["messages"] = messages(payload.get("instructions"), payload.get("input"), whole)
    if not chat["messages"]:
        raise errors.MissingParameter("input", NO_INPUT)
    chat.update(answer(payload.get("text") or {}))
    chat.update(offered(payload))
    chat.update(limits(payload))
    return chat


def limits(payload):
    """Return what bounds the answer and what is told of it."""
    found = {}
    if payload.get("max_output_tokens") is not None:
        # The name that every server knows: many pass over max_completion_tokens silently.
        found["max_tokens"] = payload["max_output_tokens"]
    if LOGPROBS in (payload.get("include") or ()) or payload.get("top_logprobs"):
        found["logprobs"] = True
        if payload.get("top_logprobs") is not None:
            found["top_logprobs"] = payload["top_logprobs"]
    options = dict(payload.get("stream_options") or {})
    options.pop("include_obfuscation", None)  # done here, where the events are written
    return {**found, "stream_options": options} if options else found


def thinking(reasoning):
    if reasoning.get("mode") not in (None, "standard"):
        raise refused("reasoning.mode", "a chat has only the standard one")
    effort = reasoning.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def answer(text):
    """Return what is asked of the form of the answer."""
    found = {} if text.get("verbosity") is None else {"verbosity": text["verbosity"]}
    form = text.get("format") or {"type": "text"}
    if form["type"] == "json_schema":
        schema = known(form, "name", "description", "schema", "strict")
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form["type"] == "json_object":
        found["response_format"] = {"type": "json_object"}
    elif form["type"] != "text":
        raise refused("text.format.type", f"a chat has no format '{form['type']}'")
    return found


def offered(payload):
    """Return the tools and how to choose from them; servers refuse a choice without tools."""
    given = payload.get("tools") or []
    tools = [tool(found, f"tools[{number}]") for number, found in enumerate(given)]
    choice = payload.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        # The rest is left out: few servers know a chat's own allowed_tools.
        names = [(found.get("type"), found.get("name")) for found in choice["tools"]]
        tools = [made for made in tools if (made["type"], made[made["type"]]["name"]) in names]
        choice = choice["mode"]
    elif isinstance(choice, dict):
        choice = named(choice)
    found = {"tools": tools} if tools else {}
    if choice is not None and (tools or choice not in ("auto", "none")):
        found["tool_choice"] = choice
    if payload.get("parallel_tool_calls") is not None and tools:
        found["parallel_tool_calls"] = payload["parallel_tool_calls"]
    return found


def named(choice):
    """Return the choice of one tool."""
    kind = choice["type"]
    if kind not in ("function", "custom"):
        raise refused("tool_choice.type", f"it has no tools of type '{kind}'")
    return {"type": kind, kind: {"name": choice["name"]}}


def tool(given, at):
    """Return a tool, nested where a response has it flat."""
    kind, callers = given["type"], given.get("allowed_callers")
    if kind not in ("function", "custom"):
        raise refused(f"{at}.type", f"it has no tools of type '{kind}'")
    if callers and "direct" not in callers:
        raise refused(f"{at}.allowed_callers", "tools are called directly")
    if kind == "function":
        made = known(given, "name", "description", "parameters", "strict")
    else:
        made = known(given, "name", "description")
        form = given.get("format") or {"type": "text"}
        if form["type"] == "grammar":
            grammar = known(form, "syntax", "definition")
            made["format"] = {"type": "grammar", "grammar": grammar}
        elif form["type"] != "text":
            raise refused(f"{at}.format.type", f"a chat has no format '{form['type']}'")
    return {"type": kind, kind: made}


def known(given, *names):
    return {name: given[name] for name in names if given.get(name) is not None}
