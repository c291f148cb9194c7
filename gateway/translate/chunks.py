"""The chunks of one chat completion as the events of a response.

Items begin when something is said of them and follow one another, as OpenAI's do; only tool calls
stay open side by side, because their pieces come mixed. The response itself, numbers and the
stream's end are the caller's.
"""

import secrets

from gateway import errors, tokens
from gateway.translate import response
from gateway.translate.asked import Calls, inner
from gateway.translate.output import Call, CustomCall, Message, Reasoning, Refusal, Summary, Text

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Speech:
    """What the assistant has said in one answer so far.

    `feed()` and `finish()` give (type, event) pairs and raise UpstreamBadResponse. `reason` is why
    it ended, `usage` the last usage object that could be read and `used` the Usage in it.
    """

    def __init__(self):
        self.items, self.open = [], []  # by output_index; those that have not ended
        self.talk = self.saying = None  # the message or reasoning that is on, and its part
        self.calls = Calls(Asked)
        self.held = []  # log probabilities of tokens whose text has not come yet
        self.reason = self.tier = self.usage = self.used = None

    def feed(self, chunk):
        """Yield the events that a chunk amounts to."""
        if chunk.get("usage"):
            self.counted(chunk["usage"])
        self.tier = chunk.get("service_tier") or self.tier
        for choice in chunk["choices"]:
            if isinstance(choice, dict) and not choice.get("index"):
                yield from self.heard(choice)

    def finish(self):
        """Yield the events that end whatever has not ended."""
        for asked in self.calls.all:
            if asked.item is None and asked.known():
                yield from self.begin_call(asked)
        if not self.items:
            yield from self.begin(Text)  # it has said nothing, but it has answered
        for item in self.open:
            cut = self.reason in INCOMPLETE and item is self.items[-1]
            yield from item.done("incomplete" if cut else "completed")
        self.open = []

    def result(self):
        """Return what a Response says of its end; before it, what has come so far."""
        for item in self.open:
            item.status = "incomplete"
        why = INCOMPLETE.get(self.reason)
        found = {
            "status": "incomplete" if why else "completed",
            "incomplete_details": {"reason": why} if why else None,
            "output": [item.shown() for item in self.items],
            "usage": response.usage_of_chat(self.usage),
        }
        return {**found, "service_tier": self.tier} if isinstance(self.tier, str) else found

    def counted(self, usage):
        found = tokens.read(usage)
        if found is not None:
            self.usage, self.used = usage, found

    def heard(self, choice):
        """Yield what the first choice of a chunk says; the order is that of a whole answer."""
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and isinstance(thought, str):
            yield from self.begin(Summary)
            yield self.saying.said(thought)
        content, calls = text(delta, "content"), delta.get("tool_calls")
        known = probabilities(choice["logprobs"]) if choice.get("logprobs") else []
        if content:
            if type(self.saying) is not Text:
                yield from self.begin(Text)
            if self.held:
                known, self.held = self.held + known, []
            yield self.saying.said(content, known)
        elif known and not thought and not calls:
            yield from self.silent(known)
        if delta.get("refusal"):
            yield from self.begin(Refusal)
            yield self.saying.said(text(delta, "refusal"))
        yield from self.cited(delta.get("annotations"))
        yield from self.called(calls)
        self.ended(choice.get("finish_reason"))

    def ended(self, reason):
        if reason == "error":
            raise errors.UpstreamBadResponse("The upstream reported an error.")
        self.reason = reason if isinstance(reason, str) and reason else self.reason

    def begin(self, kind):
        """Yield what begins a part of this kind, and its item, unless it is being said."""
        if type(self.saying) is kind:
            return
        item = Reasoning if kind is Summary else Message
        if type(self.talk) is not item:
            yield from self.hush()
            self.talk = self.entered(item(len(self.items)))
            yield self.talk.added()
        yield from self.talk.opened(kind)
        self.saying = self.talk.parts[-1]

    def entered(self, item):
        self.items.append(item)
        self.open.append(item)
        return item

    def hush(self):
        """End the message or reasoning, because something else begins."""
        if self.talk is not None:
            self.open.remove(self.talk)
            yield from self.talk.done()
            self.talk = self.saying = None

    def silent(self, known):
        """Keep the probabilities of tokens that have no text, such as half a character."""
        if type(self.saying) is Text:
            yield self.saying.said("", known)
        else:
            self.held += known

    def cited(self, annotations):
        for found in annotations if isinstance(annotations, list) else ():
            annotation = citation(found)
            if annotation:
                yield from self.begin(Text)
                yield self.saying.noted(annotation)

    def called(self, calls):
        for delta in calls if isinstance(calls, list) else ():
            if isinstance(delta, dict):
                asked = self.calls.of(delta)
                piece = asked.hear(delta)
                if asked.item is None and asked.ready(piece):
                    yield from self.begin_call(asked)
                elif asked.item is not None and piece:
                    yield asked.item.said(piece)

    def begin_call(self, asked):
        """Yield the beginning of a tool call, and what has come of it."""
        yield from self.hush()
        kind = CustomCall if asked.custom else Call
        call_id = asked.id or f"call_{secrets.token_hex(16)}"
        asked.item = self.entered(kind(len(self.items), call_id, asked.name))
        yield asked.item.added()
        if asked.pieces:
            yield asked.item.said("".join(asked.pieces))


class Asked:
    """A tool call as its deltas tell of it; it begins as an item once its name has come."""

    def __init__(self):
        self.id, self.name, self.custom, self.pieces, self.item = "", "", False, [], None

    def hear(self, delta):
        """Take a delta; return the piece of the arguments in it."""
        said = inner(delta)
        piece = text(said, "arguments") or text(said, "input")
        if self.item is None:
            self.custom = self.custom or "custom" in delta
            self.id = self.id or text(delta, "id")
            self.name = self.name or text(said, "name")
            if piece:
                self.pieces.append(piece)
        return piece

    def ready(self, piece):
        """Tell whether the call can begin: an id may come late, but not behind arguments."""
        return bool(self.name and (self.id or piece))

    def known(self):
        return bool(self.id or self.name or self.pieces)


def text(found, name):
    """Return a text, "" for null. Raises UpstreamBadResponse for anything else."""
    value = found.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.UpstreamBadResponse()
    return value


def probabilities(logprobs):
    """Return the log probabilities of a choice's text as a response writes them."""
    found = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [
        {
            **probability(token),
            "top_logprobs": list(map(probability, texts(token.get("top_logprobs")))),
        }
        for token in texts(found)
    ]


def texts(tokens):
    """Yield the tokens of a list that have a text."""
    for token in tokens if isinstance(tokens, list) else ():
        if isinstance(token, dict) and isinstance(token.get("token"), str):
            yield token


def probability(token):
    bytes = token.get("bytes")
    return {
        "token": token["token"],
        "logprob": token.get("logprob"),
        "bytes": bytes if isinstance(bytes, list) else [],
    }


def citation(found):
    """Return a chat's citation flat, as a response has it; None for what is none."""
    nested = found.get("url_citation") if isinstance(found, dict) else None
    if not isinstance(nested, dict) or not isinstance(nested.get("url"), str):
        return None
    place = {name: nested.get(name) for name in ("start_index", "end_index")}
    return {
        "type": "url_citation",
        "url": nested["url"],
        "title": nested["title"] if isinstance(nested.get("title"), str) else "",
        **{name: value if type(value) is int else 0 for name, value in place.items()},
    }
