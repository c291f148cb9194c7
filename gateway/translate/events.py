"""Output items of a whole response as the events that would have streamed them."""


def unfold(output):
    """Yield (type, event) for every item; sequence numbers are the caller's."""
    for index, item in enumerate(output):
        if not isinstance(item, dict):
            continue
        started = {**item, "status": "in_progress"} if "status" in item else dict(item)
        inner = list(_inside(item, {"item_id": item.get("id"), "output_index": index}, started))
        yield "response.output_item.added", {"output_index": index, "item": started}
        yield from inner
        yield "response.output_item.done", {"output_index": index, "item": item}


def _inside(item, place, started):
    """Yield the events between an item's added and done, and empty what they fill."""
    if item.get("type") == "message" and isinstance(item.get("content"), list):
        started["content"] = []
        for number, part in enumerate(item["content"]):
            if isinstance(part, dict):
                yield from _part(part, {**place, "content_index": number})
    elif item.get("type") == "function_call":
        started["arguments"] = ""
        arguments = item.get("arguments") or ""
        yield "response.function_call_arguments.delta", {**place, "delta": arguments}
        done = {**place, "name": item.get("name"), "arguments": arguments}
        yield "response.function_call_arguments.done", done


def _part(part, place):
    empty = {**part}
    for name in ("text", "refusal"):
        if name in empty:
            empty[name] = ""
    yield "response.content_part.added", {**place, "part": empty}
    if part.get("type") == "output_text":
        text = part.get("text") or ""
        yield "response.output_text.delta", {**place, "delta": text, "logprobs": []}
        yield "response.output_text.done", {**place, "text": text, "logprobs": []}
    elif part.get("type") == "refusal":
        refusal = part.get("refusal") or ""
        yield "response.refusal.delta", {**place, "delta": refusal}
        yield "response.refusal.done", {**place, "refusal": refusal}
    yield "response.content_part.done", {**place, "part": part}
