"""Events of a response put together again, as a client does it that reads nothing but deltas."""

import copy
import re

FILLED = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}


def fold(events):
    """Return the items that deltas make up, and those that were called done.

    On the way it is checked that events stand in the right order and place.
    """
    items, done = {}, {}
    for kind, event in copy.deepcopy(list(events)):
        kind, index = kind.removeprefix("response."), event["output_index"]
        item = items.get(index)
        assert (item is None) == (kind == "output_item.added") and index not in done
        if kind == "output_item.added":
            assert index == len(items)
            items[index] = event["item"]
        elif kind == "output_item.done":
            done[index] = event["item"]
        else:
            assert event["item_id"] == item["id"]
            inside(kind, event, item)
    return list(items.values()), [done[index] for index in sorted(done)]


def inside(kind, event, item):
    """Take an event that happens inside an item."""
    if kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
        item["input" if "custom" in kind else "arguments"] += event["delta"]
    elif kind == "function_call_arguments.done":
        assert (item["name"], item["arguments"]) == (event["name"], event["arguments"])
    elif kind == "custom_tool_call_input.done":
        assert item["input"] == event["input"]
    else:
        name = "summary" if "summary" in kind else "content"
        parts, at = item[name], event[f"{name}_index"]
        if kind.endswith("part.added"):
            assert at == len(parts)
            parts.append(event["part"])
        else:
            assert at == len(parts) - 1
            in_part(kind, event, parts[at])


def in_part(kind, event, part):
    """Take an event that happens inside a part of an item."""
    name = "refusal" if "refusal" in part else "text"
    if kind.endswith("part.done"):
        if part["type"] != "reasoning_text":
            assert part == event["part"]
        part.update(event["part"])
    elif kind.endswith("annotation.added"):
        assert event["annotation_index"] == len(part["annotations"])
        part["annotations"].append(event["annotation"])
    elif kind.endswith(".delta"):
        part[name] += event["delta"]
        part.setdefault("logprobs", []).extend(event.get("logprobs", []))
        if name == "refusal" or part["type"] == "summary_text":
            del part["logprobs"]
    elif kind.endswith(".done"):
        assert part[name] == event[name]
        assert part.get("logprobs", []) == event.get("logprobs", [])


def nameless(items):
    """Return items without the ids that are drawn, whose form is checked instead."""
    found = []
    for item in copy.deepcopy(items):
        assert re.fullmatch("(msg|rs|fc|ctc)_[0-9a-f]{32}", item.pop("id"))
        if re.fullmatch("call_[0-9a-f]{32}", item.get("call_id", "")):
            item["call_id"] = "new"
        found.append(item)
    return found
