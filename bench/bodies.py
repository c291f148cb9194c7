"""The requests' bodies: a small chat, a long one, a large one, and streams."""

import json

QUESTION = "What is the capital of France?"
PROSE = (
    "The committee met again on Tuesday, and this time it had read the report.\n"
    'Nobody said so; still, "a good beginning" was the phrase that everybody used afterwards.\n'
    "Whether the café on the corner would stay open was left to the next meeting.\n"
)


def small():
    """Return the small chat that most rows of the table are about."""
    return chat([said("system", "You are a helpful assistant."), said("user", QUESTION)])


def stream():
    return chat([said("user", QUESTION)], stream=True)


def of_messages(count):
    """Return a chat of so many short messages."""
    roles = ("user", "assistant")
    return chat([said(roles[n % 2], f"{QUESTION} ({n})") for n in range(count)])


def of_size(size):
    """Return a chat whose prompt makes it about so many bytes long."""
    left = size - len(chat([said("user", "")]))
    prose = json.dumps(PROSE, ensure_ascii=False)[1:-1].encode()
    return chat([said("user", PROSE * (left // len(prose)) + "." * (left % len(prose)))])


def said(role, text):
    return {"role": role, "content": text}


def chat(messages, **more):
    body = {"model": "bench", "messages": messages, "temperature": 0, **more}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
