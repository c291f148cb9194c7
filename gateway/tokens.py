"""What an upstream says it has used, in one shape for every endpoint."""

from typing import NamedTuple

LARGEST = 2**53  # above what any call can use; keeps nonsense out of sums


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


def count(table, name):
    """Return a count that makes sense, or None: upstreams are not believed when they say -1."""
    value = table.get(name) if isinstance(table, dict) else None
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    return None
