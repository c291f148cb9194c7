"""A whole chat completion as the result of a response: told in one chunk, and heard to its end."""

from itertools import chain

from gateway import errors
from gateway.translate.chunks import Speech


def from_chat(completion):
    """Return what a Response says of its end: status, incomplete_details, output, usage.

    Raises UpstreamBadResponse.
    """
    speech = Speech()
    for _ in chain(speech.feed(as_chunk(completion)), speech.finish()):
        pass
    return speech.result()


def as_chunk(completion):
    """Return the one chunk that says all of a completion whose choices are a list."""
    choices = [delta(index, choice) for index, choice in enumerate(completion["choices"])]
    return {**completion, "object": "chat.completion.chunk", "choices": choices}


def delta(index, choice):
    """Turn a whole choice into the choice of a chunk."""
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise errors.UpstreamBadResponse()
    choice = {"index": index, **choice}
    message = choice["delta"] = dict(choice.pop("message"))
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [
            {"index": i, **c} for i, c in enumerate(calls) if isinstance(c, dict)
        ]
    return choice
