"""What the scripted upstream answers with: OpenAI's shapes and sizes, made once as bytes."""

import json

TOKEN = b'"content":" token'  # stands once in every chunk that counts as one, whoever relays it
WHOLE_TOKEN = b"The capital of France is Paris."

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
EVENTS = (
    HEAD + b"text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_5f2c9c0b8d0e4b6fa1\r\ntransfer-encoding: chunked\r\n\r\n"
)
NAMES = {
    "id": "chatcmpl-CQx1Zr8tYw2Lk5Nb7Vd9Hs3Jf4Gp6Qm",
    "created": 1760000000,
    "model": "bench",
    "service_tier": "default",
    "system_fingerprint": "fp_4f2d3c1b0a",
}
USAGE = {
    "prompt_tokens": 24,
    "completion_tokens": 8,
    "total_tokens": 32,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def dumps(found):
    return json.dumps(found, separators=(",", ":")).encode()


def plain(found):
    body = dumps(found)
    return HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def completion():
    """Return a whole chat completion, about 650 bytes of JSON."""
    message = {
        "role": "assistant",
        "content": WHOLE_TOKEN.decode(),
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return plain({**NAMES, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def models():
    model = {"id": "bench", "object": "model", "created": 1760000000, "owned_by": "bench"}
    return plain({"object": "list", "data": [model]})


class Chunks:
    """The pieces of a stream: `first` opens it, `next` are tokens in turn, `last` ends it.

    With usage they are as OpenAI's are when stream_options.include_usage is set. Tokens differ,
    because LiteLLM breaks a stream off that repeats one a hundred times.
    """

    def __init__(self, usage):
        self.usage = {"usage": None} if usage else {}
        self.next = [self.event({"content": f" token{number}"}) for number in range(8)]
        role = {"role": "assistant", "content": "", "refusal": None}
        self.first = EVENTS + self.event(role) + self.next[0]
        self.last = self.event({}, "stop")
        if usage:
            self.last += frame(self.body(choices=[], usage=USAGE))
        self.last += framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def event(self, delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return frame(self.body(choices=[choice], **self.usage))

    def body(self, **more):
        return {**NAMES, "object": "chat.completion.chunk", **more}


def frame(found):
    return framed(b"data: " + dumps(found) + b"\n\n")


def framed(data):
    return b"%x\r\n%s\r\n" % (len(data), data)
