"""OpenAI's objects as a server writes them: completions, responses, events, embeddings, models.

Pure functions, and the same arguments give the same object. Token counts are word counts.
"""

import base64
import hashlib
import math
import random
import re
import struct

CREATED = 1_700_000_000
TEXT = "Hello from the mock."
DIMENSIONS = 16
# What a Response repeats of its request, with the values for what was left out.
SETTINGS = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def words(text):
    """Cut a text into the pieces that a stream sends; joined they are the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def usage(asked, said):
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def completion(text=TEXT, model="echo", n=1, asked=1, id="chatcmpl-1", created=CREATED):
    """Return a whole chat completion of `n` equal choices; `asked` is the prompt's tokens."""
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    choice = {"message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": index, **choice} for index in range(n)],
        "usage": usage(asked, n * len(words(text))),
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }


def chunks(
    text=TEXT, model="echo", n=1, asked=1, id="chatcmpl-1", created=CREATED, include_usage=False
):
    """Return the chunks of a streamed completion: the role, the words, the reason, maybe usage."""
    deltas = [
        ({"role": "assistant", "content": "", "refusal": None}, None),
        *(({"content": word}, None) for word in words(text)),
        ({}, "stop"),
    ]
    shared = {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
        **({"usage": None} if include_usage else {}),
    }
    found = [
        {**shared, "choices": [_choice(index, delta, reason)]}
        for delta, reason in deltas
        for index in range(n)
    ]
    if include_usage:
        found.append({**shared, "choices": [], "usage": usage(asked, n * len(words(text)))})
    return found


def _choice(index, delta, reason):
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def message(text, id="msg_1", status="completed"):
    """Return the output item of a Response that holds its text."""
    content = [output_text(text)] if status == "completed" else []
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def output_text(text):
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response(text=TEXT, model="echo", asked=1, id="resp_1", created=CREATED, settings=None):
    """Return a whole Response, every key present; `settings` are those of the request."""
    given = {name: value for name, value in (settings or {}).items() if name in SETTINGS}
    said = len(words(text))
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "completed_at": created,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [message(text)],
        **SETTINGS,
        **{name: value for name, value in given.items() if value is not None},
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + said,
        },
    }


def response_events(text=TEXT, **arguments):
    """Return the events of a streamed Response, numbered from 0."""
    done = response(text, **arguments)
    begun = {**done, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    item = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": message("", status="in_progress")},
        ),
        ("response.content_part.added", {**item, "part": output_text("")}),
        *(
            ("response.output_text.delta", {**item, "delta": word, "logprobs": []})
            for word in words(text)
        ),
        ("response.output_text.done", {**item, "text": text, "logprobs": []}),
        ("response.content_part.done", {**item, "part": output_text(text)}),
        ("response.output_item.done", {"output_index": 0, "item": message(text)}),
        ("response.completed", {"response": done}),
    ]
    return [
        {"type": type, "sequence_number": number, **rest}
        for number, (type, rest) in enumerate(events)
    ]


def vector(text, dimensions=DIMENSIONS):
    """Return a unit vector of float32 numbers that depends on the text alone."""
    drawn = random.Random(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    numbers = [drawn.gauss(0, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(number * number for number in numbers)) or 1
    form = f"<{dimensions}f"
    return struct.unpack(form, struct.pack(form, *(number / length for number in numbers)))


def embeddings(texts=(TEXT,), model="echo-embed", dimensions=DIMENSIONS, encoding="float"):
    """Return the embeddings of some texts; `encoding` is "float" or "base64" (little-endian)."""
    asked = sum(len(words(text)) for text in texts)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(vector(text, dimensions), encoding),
            }
            for index, text in enumerate(texts)
        ],
        "model": model,
        "usage": {"prompt_tokens": asked, "total_tokens": asked},
    }


def _encoded(numbers, encoding):
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return list(numbers)


def model(id, created=CREATED):
    return {"id": id, "object": "model", "created": created, "owned_by": "mock"}


def models(ids):
    return {"object": "list", "data": [model(id) for id in ids]}
