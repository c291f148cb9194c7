"""What a chunk of a Responses stream costs in the relays themselves, translated beside native.

Both are fed in this process, because the scripted upstream speaks only chat completions.
"""

import time

import orjson

from bench import answers
from gateway.upstreams.base import Call
from gateway.upstreams.dialects import over_chat, responses

CHUNKS = 20_000
PAYLOAD = {"model": "bench", "input": "Hello", "stream": True}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def measured(chunks=CHUNKS):
    """Return {"native": seconds of CPU a chunk, "gateway": the same for a translated one}."""
    native, translated = responses.Relay(call()), over_chat.Relay(call())
    for opening in events():
        native.take(opening)
    translated.take(chunk())
    return {
        "native": cost(native, delta(), chunks),
        "gateway": cost(translated, chunk(), chunks),
    }


def call():
    return Call("responses", PAYLOAD, None)


def cost(relay, piece, chunks):
    began = time.process_time()
    for _ in range(chunks):
        if not relay.take(piece):
            raise AssertionError("a chunk gave nothing")
    return (time.process_time() - began) / chunks


def events():
    """Yield the events that open a native stream."""
    opened = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    yield event("response.created", response=opened)
    yield event("response.in_progress", response=opened)
    yield event("response.output_item.added", output_index=0, item=ITEM)
    yield event("response.content_part.added", **PLACE, part=PART)


def delta():
    return event("response.output_text.delta", **PLACE, delta=" token", logprobs=[])


def event(kind, **found):
    data = orjson.dumps({"type": kind, "sequence_number": 0, **found})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def chunk():
    found = {
        **answers.NAMES,
        "object": "chat.completion.chunk",
        "choices": [
            {"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}
        ],
        "usage": None,
    }
    return b"data: %b\n\n" % orjson.dumps(found)
