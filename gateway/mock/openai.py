"""What an OpenAI server would answer: read from the request, filled in by `bodies`.

Deterministic: a chat says what its last user message said, a text has always the same embedding.
"""

import time

from gateway.mock import bodies
from gateway.mock.answers import dumps, json, stream, whole
from gateway.mock.bodies import TEXT, words

JSON = "application/json"
SSE = "text/event-stream"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"


def reply(text=None, form=None, as_stream=None, headers=(), **how):
    """Answer rightly; whatever is left out is as the request asks.

    `text` is said instead of the echo; `form` is an endpoint's path; `as_stream` is True or False;
    `how` are arguments of `answers.stream`.
    """

    def answer(request):
        kind, pieces = content(request, text, form, as_stream)
        if kind == SSE:
            yield from stream(pieces, headers=headers, **how)(request)
        else:
            yield from whole(pieces[0], kind, headers=headers)(request)

    return answer


def chat(text=None, **how):
    return reply(text, CHAT, **how)


def responses(text=None, **how):
    return reply(text, RESPONSES, **how)


def embeddings(**how):
    return reply(None, EMBEDDINGS, **how)


def models(ids):
    return json(bodies.models(ids))


def content(request, text=None, form=None, as_stream=None, least=0):
    """Return the content type and the pieces of a right answer: events, or the one body.

    What is said is made up to at least `least` words.
    """
    call = Call(request, text, least)
    form = form or request.path
    as_stream = call.stream if as_stream is None else as_stream
    if form not in WHOLE:
        return JSON, [dumps(bodies.models([]))]
    if as_stream and form in STREAMED:
        return SSE, STREAMED[form](call)
    return JSON, [dumps(WHOLE[form](call))]


class Call:
    """What a request asks for, its fields taken only where they have the right type."""

    def __init__(self, request, text=None, least=0):
        fields = request.fields
        said = [turn for turn in _turns(fields) if isinstance(turn, dict)]
        users = [spoken(turn.get("content")) for turn in said if turn.get("role") == "user"]
        self.fields = fields
        self.model = fields["model"] if isinstance(fields.get("model"), str) else "echo"
        self.stream = fields.get("stream") is True
        self.number = request.number
        self.created = int(time.time())
        self.asked = sum(len(words(spoken(turn.get("content")))) for turn in said)
        self.text = _padded(text if text is not None else (users or [""])[-1] or TEXT, least)

    def integer(self, name, default):
        value = self.fields.get(name)
        return value if type(value) is int else default

    @property
    def include_usage(self):
        options = self.fields.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    def completion(self):
        """Return the arguments that a chat completion and its chunks share."""
        return {
            "text": self.text,
            "model": self.model,
            "n": self.integer("n", 1),
            "asked": self.asked,
            "id": f"chatcmpl-{self.number}",
            "created": self.created,
        }

    def response(self):
        return {
            "text": self.text,
            "model": self.model,
            "asked": self.asked,
            "id": f"resp_{self.number}",
            "created": self.created,
            "settings": self.fields,
        }

    def embeddings(self):
        form = self.fields.get("encoding_format")
        return {
            "texts": texts(self.fields.get("input")) or [TEXT],
            "model": self.model,
            "dimensions": self.integer("dimensions", bodies.DIMENSIONS),
            "encoding": form if isinstance(form, str) else "float",
        }


WHOLE = {
    CHAT: lambda call: bodies.completion(**call.completion()),
    RESPONSES: lambda call: bodies.response(**call.response()),
    EMBEDDINGS: lambda call: bodies.embeddings(**call.embeddings()),
}
STREAMED = {
    CHAT: lambda call: bodies.chunks(**call.completion(), include_usage=call.include_usage),
    RESPONSES: lambda call: bodies.response_events(**call.response()),
}


def spoken(content):
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if is_list(content) else []
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def texts(given):
    """Return the texts of an embeddings input, tokens written out, or None for a wrong type."""
    items = given if is_list(given) and not is_tokens(given) else [given]
    if all(isinstance(item, str) or is_tokens(item) for item in items):
        return [str(item) for item in items]
    return None


def _turns(fields):
    given = fields.get("messages") or fields.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return given if is_list(given) else []


def _padded(text, least):
    missing = max(0, least - len(words(text)))
    return text + f" {TEXT}" * -(-missing // len(words(TEXT)))


def is_list(value):
    return isinstance(value, list) and bool(value)


def is_tokens(value):
    return is_list(value) and all(type(item) is int for item in value)
