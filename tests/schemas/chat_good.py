"""Bodies that POST /v1/chat/completions takes."""

from gateway.schemas.chat import ChatCompletion

HELLO = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CUSTOM_CALL = {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": ""}}


def chat(messages=(HELLO,), **more):
    return {"model": "m", "messages": list(messages), **more}


def user(*parts):
    return chat([{"role": "user", "content": list(parts)}])


GOOD_CHAT = [
    chat(),
    chat([{"role": role, "content": "x"} for role in ("system", "developer", "user")]),
    chat([{"role": "user", "content": ""}]),
    chat([{"role": "user", "content": "x", "name": "bob", "unknown": [1]}]),
    chat([{"content": "x", "role": "user"}] * 3),
    chat([HELLO, {"role": "assistant"}]),
    chat([{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
    chat([{"role": "assistant", "content": None, "refusal": None, "tool_calls": None}]),
    chat([{"role": "assistant", "audio": {"id": "a"}, "reasoning_content": "hm"}]),
    chat([{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]),
    chat([{"role": "assistant", "tool_calls": [{"type": "new"}]}]),
    chat([{"role": "assistant", "tool_calls": [CUSTOM_CALL, CALL]}]),
    chat([{"role": "tool", "content": "x", "tool_call_id": "call_1"}]),
    chat([{"role": "function", "content": None, "name": "f"}]),
    chat([{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]),
    user({"type": "text", "text": "x"}),
    user({"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}),
    user({"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "auto"}}),
    user({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
    user({"type": "file", "file": {"file_id": "f"}}),
    user({"type": "file", "file": {}}),
    user({"type": "video_url", "video_url": {"url": "x"}}),
    chat(temperature=0),
    chat(temperature=2.0, top_p=1, frequency_penalty=-2, presence_penalty=2.0),
    chat(n=1),
    chat(n=128, seed=-(2**63), max_tokens=0, max_completion_tokens=-1),
    chat(top_logprobs=20, logprobs=True),
    chat(stop="x"),
    chat(stop=["a", "b", "c", "d"]),
    chat(logit_bias={"50256": -100, "7": 1.5}),
    chat(metadata={"a": "b", "": ""}),
    chat(stream=True, stream_options={"include_usage": True, "unknown": 1}),
    chat(tools=[]),
    chat(tools=[TOOL], tool_choice="required"),
    chat(tools=[{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}]),
    chat(tools=[{"type": "web_search"}], tool_choice={"type": "web_search"}),
    chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}, "strict": None}}]),
    chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}),
    chat(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{}]}}),
    chat(tool_choice="any"),
    chat(functions=[{"name": "f"}], function_call={"name": "f"}),
    chat(response_format={"type": "text"}),
    chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": 1}}}),
    chat(response_format={"type": "grammar", "value": "x"}),
    chat(reasoning_effort="xhigh", verbosity="low", service_tier="on_demand"),
    chat(prompt_cache_retention="in-memory", safety_identifier="x" * 64, user="x" * 9999),
    chat(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
    chat(audio={"voice": {"id": "v"}, "format": "mp3"}),
    chat(prediction={"type": "content", "content": [{"type": "text", "text": "x"}]}),
    chat(web_search_options={"user_location": {"type": "approximate", "approximate": {}}}),
    chat(moderation={"model": "x", "policy": {"input": {"mode": "block"}}}),
    chat(top_k=5, min_p=0.1, chat_template_kwargs={"a": None}, repetition_penalty="x"),
    {**chat(), **dict.fromkeys(set(ChatCompletion().fields) - {"model", "messages"})},
]
