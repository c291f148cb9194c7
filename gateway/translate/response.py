"""The Response object: every key that clients read, present even when null."""

import secrets
import time

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


def skeleton(payload):
    """Return a Response in progress that echoes its request."""
    found = {
        "id": new_id(),
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
    found["text"] = {**ECHOED["text"], **found["text"]}
    return found


def fill(base, found, keep_id=False):
    """Return an upstream's response object with every key, under our id unless it keeps its own."""
    merged = {**base, **{name: value for name, value in found.items() if value is not None}}
    merged["model"], merged["object"] = base["model"], "response"
    if not keep_id:
        merged["id"], merged["store"] = base["id"], base["store"]
        merged["previous_response_id"] = base["previous_response_id"]
    if isinstance(merged["usage"], dict):
        merged["usage"] = usage(merged["usage"])
    return merged


def usage(found):
    """Return a usage object with all its keys."""
    inputs, outputs = found.get("input_tokens") or 0, found.get("output_tokens") or 0
    return {
        **found,
        "input_tokens": inputs,
        "input_tokens_details": {"cached_tokens": 0, **(found.get("input_tokens_details") or {})},
        "output_tokens": outputs,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            **(found.get("output_tokens_details") or {}),
        },
        "total_tokens": found.get("total_tokens") or inputs + outputs,
    }
