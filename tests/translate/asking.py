"""Requests for responses as clients send them, and the chats that they become."""

import copy

from gateway.schemas.responses import CreateResponse
from gateway.translate.request import to_chat

HELLO = {"role": "user", "content": "Hello"}


def translated(**fields):
    """Return the chat for a request that is valid, less its model; the request must not change."""
    body = {"model": "m", "input": "Hello", **fields}
    CreateResponse.check(body)
    before = copy.deepcopy(body)
    chat = to_chat(body)
    assert body == before and chat.pop("model") == "m"
    return chat


def said(*items, **fields):
    return translated(input=list(items), **fields)["messages"]


def user(*parts):
    return {"role": "user", "content": list(parts)}


def text(words):
    return {"type": "input_text", "text": words}
