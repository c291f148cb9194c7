"""The Response object: every key that clients read, present even when null."""

import secrets
import time

from gateway import tokens

# What a chat calls the counts of a usage object.
COUNTS = {
    "prompt_tokens": "input_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens": "output_tokens",
    "completion_tokens_details": "output_tokens_details",
}
# What a response says of its request when the request says nothing.
ECHOED = {
    "background": False,
    "conversation": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def new_id():
    """Return an id of ours: resp_ and 32 hex digits."""
    return f"resp_{secrets.token_hex(16)}"


def skeleton(payload, id=None):
    """Return a Response in progress that echoes its request, under an id that may be given."""
    found = {
        "id": id or new_id(),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": payload.get("model"),
        "output": [],
        "store": False,
        "usage": None,
    }
    for name, default in ECHOED.items():
        value = payload.get(name)
        found[name] = default if value is None else value
    if found["service_tier"] == "auto":
        found["service_tier"] = "default"
    for name in ("text", "reasoning"):
        found[name] = {**ECHOED[name], **found[name]}
    found["tools"] = [tool(given) for given in found["tools"]]
    return found


def tool(given):
    """Return a tool as a response tells it, where many clients leave out what is null."""
    if given.get("type") != "function":
        return given
    return {"description": None, "parameters": None, "strict": None, **given}


def fill(base, found, keep_id=False):
    """Return an upstream's response object with every key, under our id unless it keeps its own."""
    merged = {**base, **{name: value for name, value in found.items() if value is not None}}
    merged["model"], merged["object"] = base["model"], "response"
    if not keep_id:
        merged["id"], merged["store"] = base["id"], base["store"]
        merged["previous_response_id"] = base["previous_response_id"]
    merged["usage"] = usage(merged["usage"])
    return merged


def usage(found):
    """Return a usage object with all its keys and counts that make sense, or None."""
    read = tokens.read(found)
    if read is None:
        return None
    return {
        **found,
        "input_tokens": read.input,
        "input_tokens_details": details(found, "input", cached_tokens=read.cached),
        "output_tokens": read.output,
        "output_tokens_details": details(found, "output", reasoning_tokens=read.reasoning),
        "total_tokens": tokens.count(found, "total_tokens") or read.input + read.output,
    }


def details(found, side, **counts):
    given = found.get(f"{side}_tokens_details")
    written = {"cache_write_tokens": 0} if side == "input" else {}
    return {**written, **(given if isinstance(given, dict) else {}), **counts}


def usage_of_chat(found):
    """Return a chat's usage object as a response's, or None."""
    if not isinstance(found, dict):
        return None
    renamed = {COUNTS.get(name, name): value for name, value in found.items()}
    return usage({"input_tokens": None, **renamed})
