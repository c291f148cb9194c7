"""Chats as servers answer them: each as the chunks of its stream and as its whole completion.

What is in `transcripts/` was recorded from llama.cpp; the rest is written as OpenAI, vLLM,
DeepSeek and others write it.
"""

import json
from pathlib import Path

HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "upstream-model"}
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4, "accepted_prediction_tokens": 1},
}
ARGUMENTS = '{"city":"Zürich","when":"now"}'


def chunk(delta=None, reason=None, logprobs=None, **more):
    choice = {"index": 0, "delta": delta or {}, "logprobs": logprobs, "finish_reason": reason}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}


def piece(index, arguments=None, **call):
    """Return the delta of a tool call."""
    said = {} if arguments is None else {"arguments": arguments}
    if "name" in call:
        said["name"] = call.pop("name")
    return {"tool_calls": [{"index": index, **call, "function": said}]}


def called(id, name, arguments):
    function = {"name": name, "arguments": arguments}
    return {"id": id, "type": "function", "function": function}


def chat(deltas, message, reason="stop", logprobs=None, usage=USAGE, **more):
    """Return a chat of these deltas (or (delta, log probabilities) of it) and its whole message."""
    pairs = [delta if isinstance(delta, tuple) else (delta, None) for delta in deltas]
    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk(delta, logprobs=known) for delta, known in pairs]
    chunks += [chunk(reason=reason)]
    if usage:
        chunks.append({**chunk(), "choices": [], "usage": usage})
    message = {"role": "assistant", "content": None, "refusal": None, **message}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}
    whole = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage}
    return [{**chunk, **more} for chunk in chunks], {**whole, **more}


def text(*pieces, **how):
    return chat([{"content": p} for p in pieces], {"content": "".join(pieces)}, **how)


def token(text, *others):
    known = [{"token": t, "logprob": -1.5, "bytes": list(t.encode())} for t in (text, *others)]
    return {**known[0], "top_logprobs": known}


def sure(*tokens):
    return {"content": list(tokens), "refusal": None}


TOKENS = [token("One", "Two"), token(" 🎉"), {**token("!"), "bytes": None, "top_logprobs": []}]
CITATION = {"start_index": 0, "end_index": 4, "url": "https://example.org/", "title": "Example"}
CITED = {"type": "url_citation", "url_citation": CITATION}
PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
TWO = {
    "tool_calls": [
        called("call_a", "get_weather", PARIS),
        called("call_b", "get_time", ROME),
    ]
}
MIXED = [
    piece(0, "", id="call_a", type="function", name="get_weather"),
    piece(1, "", id="call_b", type="function", name="get_time"),
    piece(0, PARIS[:5]),
    piece(1, ROME[:9]),
    {"tool_calls": piece(0, PARIS[5:])["tool_calls"] + piece(1, ROME[9:])["tool_calls"]},
]
CUSTOM = {"id": "call_c", "type": "custom", "custom": {"name": "run", "input": "print(1)\n"}}

CHATS = {
    "text": text("Hel", "lo ", "you"),
    "one piece": text("Hello"),
    "nothing": chat([], {"content": ""}),
    "null": chat([{"content": None}], {"content": None}),
    "white space": text("\n\n", "Hello", " "),
    "length": text("Hello", " you", reason="length"),
    "length before a word": chat([], {"content": ""}, reason="length"),
    "content_filter": text("Hello", reason="content_filter"),
    "content_filter at once": chat([], {}, reason="content_filter"),
    "function_call": text("Hello", reason="function_call"),
    "another reason": text("Hello", reason="eos"),
    "refusal": chat([{"refusal": "I "}, {"refusal": "can't."}], {"refusal": "I can't."}),
    "text, then refusal": chat(
        [{"content": "Well."}, {"refusal": "No."}], {"content": "Well.", "refusal": "No."}
    ),
    "refusal that is cut": chat([{"refusal": "I"}], {"refusal": "I"}, reason="length"),
    "reasoning_content": chat(
        [
            {"reasoning_content": "The user "},
            {"reasoning_content": "greets.", "content": None},
            {"content": "Hello", "reasoning_content": None},
        ],
        {"content": "Hello", "reasoning_content": "The user greets."},
    ),
    "reasoning": chat(
        [{"reasoning": "Hm."}, {"reasoning": " Well.", "content": "Hel"}, {"content": "lo"}],
        {"content": "Hello", "reasoning": "Hm. Well."},
    ),
    "reasoning under both names": chat(
        [{"reasoning": "Hm.", "reasoning_content": "Hm."}, {"content": "Hello"}],
        {"content": "Hello", "reasoning": "Hm.", "reasoning_content": "Hm."},
    ),
    "reasoning that is cut": chat(
        [{"reasoning": "Hm"}], {"reasoning": "Hm", "content": ""}, reason="length"
    ),
    "reasoning, text and a call": chat(
        [{"reasoning_content": "Hm."}, {"content": "Let me look."}, *MIXED],
        {"reasoning_content": "Hm.", "content": "Let me look.", **TWO},
        reason="tool_calls",
    ),
    "reasoning and a call": chat(
        [{"reasoning_content": "Hm."}, *MIXED],
        {"reasoning_content": "Hm.", **TWO},
        reason="tool_calls",
    ),
    "two calls, mixed": chat(MIXED, TWO, reason="tool_calls"),
    "two calls, one after the other": chat(
        [MIXED[0], piece(0, PARIS), MIXED[1], piece(1, ROME)], TWO, reason="tool_calls"
    ),
    "calls in one piece": chat(
        [{"tool_calls": [{"index": i, **c} for i, c in enumerate(TWO["tool_calls"])]}],
        TWO,
        reason="tool_calls",
    ),
    "calls under no index": chat([TWO], TWO, reason="tool_calls"),
    "calls that are all of index 0": chat(
        [{"tool_calls": [{"index": 0, **c}]} for c in TWO["tool_calls"]], TWO, reason="tool_calls"
    ),
    "calls that say stop": chat(MIXED, TWO, reason="stop"),
    "calls that are cut": chat(MIXED, TWO, reason="length"),
    "call without arguments": chat(
        [piece(0, "", id="call_a", name="now")],
        {"tool_calls": [called("call_a", "now", "")]},
        reason="tool_calls",
    ),
    "call whose arguments are null": chat(
        [piece(0, id="call_a", name="now")],
        {"tool_calls": [called("call_a", "now", None)]},
        reason="tool_calls",
    ),
    "call whose id comes late": chat(
        [piece(0, name="now"), piece(0, id="call_a"), piece(0, "{}")],
        {"tool_calls": [called("call_a", "now", "{}")]},
    ),
    "call whose name comes late": chat(
        [piece(0, '{"a"', id="call_a"), piece(0, ":1}"), piece(0, name="now"), piece(0, " ")],
        {"tool_calls": [called("call_a", "now", '{"a":1} ')]},
    ),
    "call that repeats its id and name": chat(
        [piece(0, p, id="call_a", name="now") for p in ("{", "}")],
        {"tool_calls": [called("call_a", "now", "{}")]},
    ),
    "call without an id": chat(
        [piece(0, name="now"), piece(0, "{}")], {"tool_calls": [called(None, "now", "{}")]}
    ),
    "call without a name": chat(
        [piece(0, "{}", id="call_a")], {"tool_calls": [called("call_a", None, "{}")]}
    ),
    "custom call": chat(
        [
            {"tool_calls": [{**CUSTOM, "index": 0, "custom": {"name": "run", "input": "print"}}]},
            {"tool_calls": [{"index": 0, "custom": {"input": "(1)\n"}}]},
        ],
        {"tool_calls": [CUSTOM]},
        reason="tool_calls",
    ),
    "log probabilities": chat(
        [({"content": known["token"]}, sure(known)) for known in TOKENS],
        {"content": "One 🎉!"},
        logprobs=sure(*TOKENS),
    ),
    "log probabilities of half a character": chat(
        [
            ({"content": ""}, sure(TOKENS[0])),
            ({"content": "One"}, sure(TOKENS[1])),
            ({"content": ""}, sure(TOKENS[2])),
        ],
        {"content": "One"},
        logprobs=sure(*TOKENS),
    ),
    "log probabilities of a refusal": chat(
        [({"refusal": "No"}, {"content": None, "refusal": [token("No")]})],
        {"refusal": "No"},
        logprobs={"content": None, "refusal": [token("No")]},
    ),
    "annotations": chat(
        [{"content": "Here"}, {"annotations": [CITED]}, {"content": "."}, {"annotations": [CITED]}],
        {"content": "Here.", "annotations": [CITED, CITED]},
    ),
    "annotations of other kinds": chat(
        [{"content": "Here"}, {"annotations": [{"type": "file", "file": {}}, None]}],
        {"content": "Here", "annotations": [{"type": "file", "file": {}}, None]},
    ),
    "annotation of nothing but a place": chat(
        [{"content": "H"}, {"annotations": [{"url_citation": {"url": "https://example.org"}}]}],
        {"content": "H", "annotations": [{"url_citation": {"url": "https://example.org"}}]},
    ),
    "no usage": text("Hello", usage=None),
    "usage that makes no sense": text("Hello", usage={"prompt_tokens": "x"}),
    "bare usage": text("Hello", usage={"prompt_tokens": 5, "completion_tokens": 2}),
    "service tier": text("Hello", service_tier="priority"),
}
for at in range(len(ARGUMENTS.encode()) + 1):
    # Bytes that are no whole characters are held back by servers, so the text is what is cut.
    pieces = ARGUMENTS[:at], ARGUMENTS[at:]
    CHATS[f"arguments cut at {at}"] = chat(
        [piece(0, "", id="call_a", name="get_weather"), *(piece(0, p) for p in pieces)],
        {"tool_calls": [called("call_a", "get_weather", ARGUMENTS)]},
        reason="tool_calls",
    )
CHATS["arguments letter by letter"] = chat(
    [piece(0, "", id="call_a", name="get_weather"), *(piece(0, p) for p in ARGUMENTS)],
    {"tool_calls": [called("call_a", "get_weather", ARGUMENTS)]},
    reason="tool_calls",
)
for path in sorted(Path(__file__).with_name("transcripts").glob("*.json")):
    recorded = json.loads(path.read_text())
    CHATS[path.stem] = recorded["chunks"], recorded["completion"]
