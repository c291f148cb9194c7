"""What an upstream says it has used, in one shape for every endpoint."""

from typing import NamedTuple

BYTES = 4  # of text for one token, where nobody has counted
LARGEST = 2**40  # above what any call can use; keeps nonsense out of sums
# What a model has said, by the keys that hold it in whole answers of every endpoint.
SAYING = frozenset({"content", "refusal", "reasoning_content", "text", "arguments", "input"})
# An answer's parts that may hold it; whatever else is there repeats the request.
PARTS = ("choices", "output")


class Usage(NamedTuple):
    """Tokens of one exchange; `cached` is part of `input`, `reasoning` part of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0


def read(usage):
    """Return the Usage in an OpenAI usage object of any endpoint, or None if there is none."""
    if not isinstance(usage, dict):
        return None
    responses = "input_tokens" in usage
    prompt = "input_tokens" if responses else "prompt_tokens"
    output = "output_tokens" if responses else "completion_tokens"
    if count(usage, prompt) is None and count(usage, output) is None:
        return None
    inputs, outputs = count(usage, prompt) or 0, count(usage, output) or 0
    cached = count(usage.get(f"{prompt}_details"), "cached_tokens") or 0
    reasoning = count(usage.get(f"{output}_details"), "reasoning_tokens") or 0
    # A part that is larger than the whole would make a price negative.
    return Usage(inputs, min(cached, inputs), outputs, min(reasoning, outputs))


def said(answer):
    """Return the bytes of text in a whole answer."""
    size, left = 0, [answer.get(name) for name in PARTS]
    while left:
        found = left.pop()
        if isinstance(found, list):
            left += found
        elif isinstance(found, dict):
            for name, value in found.items():
                if isinstance(value, str):
                    size += len(value.encode()) if name in SAYING else 0
                else:
                    left.append(value)
    return size


def count(table, name):
    """Return a count that makes sense, or None: upstreams are not believed when they say -1."""
    value = table.get(name) if isinstance(table, dict) else None
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    return None
