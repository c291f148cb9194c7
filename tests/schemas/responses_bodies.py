"""Bodies that POST /v1/responses takes, and bodies that it refuses, and how."""

from gateway.schemas.responses import CreateResponse
from tests.schemas.chat_good import HELLO, TOOL
from tests.schemas.refusals import (
    EFFORTS,
    STRING_OR_PARTS,
    above,
    below,
    empty,
    missing,
    word,
    wrong,
)


def response(*items, **more):
    return {"model": "m", "input": list(items), **more}


GOOD_RESPONSES = [
    {"model": "m"},
    {"model": "m", "input": "Hello"},
    {"model": "m", "input": ""},
    {"model": "m", "input": None, "prompt": {"id": "pmpt_1"}},
    response(),
    response(HELLO),
    response({"type": "message", **HELLO}),
    response({"type": None, **HELLO}),
    response({"role": "developer", "content": []}),
    response({"role": "user", "content": [{"type": "input_text", "text": "x"}]}),
    response({"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}),
    response({"role": "user", "content": [{"type": "input_file", "file_id": None}]}),
    response({"role": "user", "content": [{"type": "input_audio", "input_audio": 1}]}),
    response(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "x", "annotations": []}],
        }
    ),
    response({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
    response({"id": "msg_1"}, {"type": "item_reference", "id": "msg_2"}),
    response({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}),
    response({"type": "function_call_output", "call_id": "c" * 99, "output": "x"}),
    response({"type": "function_call_output", "output": [{"type": "input_text", "text": "x"}]}),
    response({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""}),
    response({"type": "custom_tool_call_output", "call_id": "c", "output": "x"}),
    response({"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"}),
    response({"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "x"}]}),
    response({"type": "computer_call", "anything": 1}, {"type": "of_tomorrow"}),
    response(tools=[{"type": "function", "name": "f", "parameters": None, "strict": None}]),
    response(tools=[{"type": "namespace", "tools": []}, {"type": "web_search"}, {"type": "mcp"}]),
    response(tools=[{"type": "custom", "name": "c", "format": {"type": "text"}}]),
    response(tool_choice="auto"),
    response(tool_choice={"type": "function", "name": "f"}),
    response(tool_choice={"type": "mcp", "server_label": "s"}),
    response(text={"format": {"type": "text"}, "verbosity": "high"}),
    response(text={"format": {"type": "json_schema", "name": "s", "schema": {}, "strict": True}}),
    response(reasoning={"effort": "max", "summary": "auto", "mode": "anything"}),
    response(include=["reasoning.encrypted_content"], max_output_tokens=16, max_tool_calls=0),
    response(conversation="conv_1", previous_response_id="resp_1", truncation="disabled"),
    response(conversation={"id": "conv_1"}, background=True, store=False, stream=True),
    response(context_management=[{"type": "compaction", "compact_threshold": 1000}]),
    response(prompt={"id": "p", "variables": {"a": "x", "b": {"type": "input_text"}}}),
    response(service_tier="ultrafast", client_metadata={"a": 1}, messages="special nowhere"),
    {"model": "m", **dict.fromkeys(set(CreateResponse().fields) - {"model"})},
]

BAD_RESPONSES = [
    missing(response({}), "input[0].role"),
    missing(response({"role": "user"}), "input[0].content"),
    missing(response({"content": "x"}), "input[0].role"),
    missing(response({"type": "item_reference"}), "input[0].id"),
    missing(response({"type": "function_call", "name": "f"}), "input[0].call_id"),
    missing(response({"type": "function_call_output", "call_id": "c"}), "input[0].output"),
    missing(response({"type": "reasoning", "id": "r"}), "input[0].summary"),
    missing(
        response({"role": "user", "content": [{"type": "input_text"}]}), "input[0].content[0].text"
    ),
    missing(response({"role": "user", "content": [{}]}), "input[0].content[0].type"),
    missing(response(tools=[{}]), "tools[0].type"),
    missing(response(tools=[TOOL]), "tools[0].name"),
    missing(response(tool_choice={"type": "function"}), "tool_choice.name"),
    missing(response(text={"format": {"type": "json_schema", "name": "s"}}), "text.format.schema"),
    missing(response(prompt={}), "prompt.id"),
    missing(response(conversation={}), "conversation.id"),
    wrong({"model": "m", "input": 5}, "input", STRING_OR_PARTS, "an integer"),
    wrong({"model": "m", "input": {}}, "input", STRING_OR_PARTS, "an object"),
    wrong(response("x"), "input[0]", "an object", "a string"),
    wrong(response({"type": 5}), "input[0].type", "a string", "an integer"),
    wrong(response({"role": "user", "content": None}), "input[0].content", STRING_OR_PARTS, "null"),
    wrong(response(instructions=[]), "instructions", "a string", "an array"),
    wrong(response(tools=[{"type": None}]), "tools[0].type", "a string", "null"),
    wrong(response(background="yes"), "background", "a boolean", "a string"),
    wrong(response(store=1), "store", "a boolean", "an integer"),
    wrong(response(max_output_tokens="16"), "max_output_tokens", "an integer", "a string"),
    wrong(response(reasoning="high"), "reasoning", "an object", "a string"),
    wrong(response(include="x"), "include", "an array of strings", "a string"),
    wrong(response(metadata={"a": {}}), "metadata.a", "a string", "an object"),
    wrong(
        response(prompt={"id": "p", "variables": {"a": 1}}),
        "prompt.variables.a",
        "one of a string or object",
        "an integer",
    ),
    wrong(
        response(context_management=[{"type": "x", "compact_threshold": "y"}]),
        "context_management[0].compact_threshold",
        "an integer",
        "a string",
    ),
    word(
        response({"role": "tool", "content": "x"}),
        "input[0].role",
        "tool",
        "'user', 'assistant', 'system', and 'developer'",
    ),
    word(response(truncation="x"), "truncation", "x", "'auto' and 'disabled'"),
    word(response(reasoning={"effort": "x"}), "reasoning.effort", "x", EFFORTS),
    below(response(max_output_tokens=15), "max_output_tokens", "integer", 16, 15),
    below(
        response(context_management=[{"type": "x", "compact_threshold": 999}]),
        "context_management[0].compact_threshold",
        "integer",
        1000,
        999,
    ),
    above(response(temperature=2.1), "temperature", "decimal", 2, 2.1),
    empty(response(context_management=[]), "context_management"),
]
