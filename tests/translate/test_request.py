"""A request for a response as the chat it asks for: nothing is lost that is not refused."""

import pytest

from gateway import errors
from gateway.schemas.chat import ChatCompletion
from gateway.schemas.responses import CreateResponse
from gateway.translate.request import to_chat
from tests.schemas.responses_bodies import GOOD_RESPONSES
from tests.translate.asking import HELLO, text, translated, user

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
TOOL = {"type": "function", "function": FUNCTION}
FLAT = {"type": "function", **FUNCTION}
GRAMMAR = {"syntax": "lark", "definition": "start: 'a'"}


PARAMETERS = [
    ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
    ({"max_output_tokens": 16}, {"max_tokens": 16}),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    ({"reasoning": {"effort": None, "mode": "standard", "context": "auto"}}, {}),
    ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    ({"text": {"format": {"type": "text"}}}, {}),
    (
        {"text": {"format": {"type": "json_object"}}},
        {"response_format": {"type": "json_object"}},
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {}, "strict": True},
            }
        },
    ),
    ({"tools": [FLAT]}, {"tools": [TOOL]}),
    (
        {"tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ),
    (
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "grammar", **GRAMMAR}}]},
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {"name": "c", "format": {"type": "grammar", "grammar": GRAMMAR}},
                }
            ]
        },
    ),
    (
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "text"}}]},
        {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    ),
    (
        {"tools": [FLAT], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    (
        {"tools": [FLAT], "tool_choice": {"type": "function", "name": "f"}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    (
        {"tools": [FLAT], "tool_choice": {"type": "custom", "name": "c"}},
        {"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "c"}}},
    ),
    (
        {
            "tools": [FLAT, {**FLAT, "name": "g"}],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}],
            },
        },
        {"tools": [TOOL], "tool_choice": "required"},
    ),
    ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    ({"tool_choice": "none"}, {}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 2},
    ),
    ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
    ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    ({"top_logprobs": 0}, {}),
    ({"include": ["reasoning.encrypted_content", "file_search_call.results"]}, {}),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, {"stream": True}),
    ({"stream_options": {"of_tomorrow": 1}}, {"stream_options": {"of_tomorrow": 1}}),
    ({"stream": False}, {"stream": False}),
    ({"user": "u", "safety_identifier": "s"}, {"user": "u", "safety_identifier": "s"}),
    (
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "service_tier": "flex"},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "service_tier": "flex"},
    ),
    ({"metadata": {"a": "b"}, "store": True, "background": True, "max_tool_calls": 5}, {}),
    ({"previous_response_id": "resp_1", "conversation": "conv_1"}, {}),
    ({"client_metadata": {"a": "b"}, "truncation": "disabled"}, {}),
    ({"top_k": 5, "seed": 1, "stop": ["x"]}, {"top_k": 5, "seed": 1, "stop": ["x"]}),
    ({"n": 1, "modalities": ["text"]}, {"n": 1, "modalities": ["text"]}),
]


@pytest.mark.parametrize("given, sent", PARAMETERS)
def test_parameter_goes_where_a_chat_has_it(given, sent):
    assert translated(**given) == {"messages": [HELLO], **sent}


CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1"}
REFUSED = [
    ({"truncation": "auto"}, "truncation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"tools": [FLAT, {"type": "web_search"}]}, "tools[1].type"),
    ({"tools": [{"type": "namespace", "tools": []}]}, "tools[0].type"),
    ({"tools": [{**FLAT, "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
    (
        {"tools": [{"type": "custom", "name": "c", "format": {"type": "x"}}]},
        "tools[0].format.type",
    ),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "mcp", "server_label": "s"}}, "tool_choice.type"),
    ({"messages": []}, "messages"),
    ({"n": 2}, "n"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"input": [{"type": "computer_call", "x": 1}]}, "input[0].type"),
    ({"input": [HELLO, {"id": "msg_1"}]}, "input[1].type"),
    ({"input": [{"type": "", "role": "user"}]}, "input[0].type"),
    ({"input": [{"type": "item_reference", "id": "a"}]}, "input[0].type"),
    ({"input": [{**CALL, "namespace": "crm"}]}, "input[0].namespace"),
    (
        {"input": [HELLO, user(text("a"), {"type": "input_image", "file_id": "f"})]},
        "input[1].content[1].file_id",
    ),
    (
        {"input": [user({"type": "input_file", "file_url": "https://x"})]},
        "input[0].content[0].file_url",
    ),
    (
        {"input": [user({"type": "input_file", "file_data": "x", "detail": "low"})]},
        "input[0].content[0].detail",
    ),
    ({"input": [user({"type": "refusal", "refusal": "x"})]}, "input[0].content[0].type"),
    ({"input": [user({"type": "computer_screenshot"})]}, "input[0].content[0].type"),
    ({"input": [{**OUTPUT, "output": [{"type": "of_tomorrow"}]}]}, "input[0].output[0].type"),
]


@pytest.mark.parametrize("given, param", REFUSED)
def test_what_a_chat_cannot_express_is_refused_by_its_name(given, param):
    with pytest.raises(errors.UnsupportedParameter) as found:
        translated(**given)
    assert (found.value.status, found.value.param) == (400, param)
    assert f"'{param}' is not supported with this model" in found.value.message


@pytest.mark.parametrize("name", sorted(set(CreateResponse().fields) - {"model", "input"}))
def test_null_is_never_refused_nor_sent(name):
    assert translated(**{name: None}) == {"messages": [HELLO]}


@pytest.mark.parametrize("body", GOOD_RESPONSES)
def test_whatever_is_valid_becomes_a_valid_chat_or_is_refused(body):
    try:
        chat = to_chat(body)
    except (errors.UnsupportedParameter, errors.MissingParameter) as error:
        assert error.param and error.status == 400
    else:
        if "input_audio" not in str(body):  # what is in it is left to the upstream
            ChatCompletion.check(chat)


@pytest.mark.parametrize("given", [{"input": None}, {"input": []}])
def test_request_without_any_message_misses_its_input(given):
    with pytest.raises(errors.MissingParameter) as found:
        translated(**given)
    assert found.value.param == "input"
    assert translated(**given, instructions="Go")["messages"] == [
        {"role": "system", "content": "Go"}
    ]
