"""Kinds of calls that are one request, or a few in a row; each returns what became of it."""

import http.client
import random
import time
from functools import partial

from bench.soak.client import Answer

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
BAD = [
    (b'{"model": "fast", "messages": [', "invalid_json"),
    (b'{"model": "fast", "messages": [{"role": "user", "content": NaN}]}', "invalid_json"),
    (b'{"model": "fast"}', "missing_required_parameter"),
    (b'{"model": "fast", "messages": "hello"}', "invalid_type"),
    (b'{"model": "fast", "messages": []}', "empty_array"),
    (b'{"messages": [{"role": "user", "content": "a"}]}', "missing_required_parameter"),
    (b"[" * 300 + b"]" * 300, "invalid_json"),
    (b"\xff\xfe{}", "invalid_json"),
]


def body_of(path, model, text, **more):
    said = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"input": text}
    return {"model": model, **said, **more}


def whole(call, site, path=CHAT, model="fast", words=8, key="open", **more):
    """Ask for a whole answer, and look that it says what was asked."""
    body = body_of(path, model, call.text(words), **more)
    began = time.monotonic()
    answer = site.client.post(call, path, body, secret=site.secret(key))
    call.took = time.monotonic() - began
    if answer.status == 200 and path != EMBEDDINGS and b"soak %d" % call.number not in answer.body:
        return "200 with another's answer"
    return answer.said


def streamed(call, site, path=CHAT, model="fast", words=8, key="open", size=0, pace=None, **more):
    """Ask for a stream and read it to its end, `pace` seconds a piece if that is given."""
    body = body_of(path, model, call.text(words, size), stream=True, **more)
    how = {"buffer": 65536} if pace else {}
    with site.client.stream(call, path, body, secret=site.secret(key), **how) as stream:
        if isinstance(stream, Answer):
            return stream.said
        while pace and stream.next() is not None:
            time.sleep(pace)
        return complete(call, stream)


def complete(call, stream):
    ended, said = stream.rest(), b"".join(stream.raw)
    number = call.number
    if ended == "done" and b'" %d"' % number not in said and b"soak %d" % number not in said:
        return "done with another's answer"
    return ended


def conversation(call, site, model="fast"):
    """Ask for a response, then for one that follows it."""
    body = body_of(RESPONSES, model, call.text(6))
    first = site.client.post(call, RESPONSES, body)
    if first.status != 200:
        return first.said
    call.words = None
    more = body_of(RESPONSES, model, f"soak {call.number} again")
    more["previous_response_id"] = first.json["id"]
    return site.client.post(call, RESPONSES, more).said


def leaves_whole(call, site):
    """Hang up while the upstream is at work on a whole answer."""
    body = body_of(CHAT, "mock-late-1500", call.text(8))
    connection = site.client.connect()
    connection.request("POST", CHAT, *site.client.request(call, body))
    time.sleep(random.uniform(0.2, 0.5))
    connection.close()
    call.left = time.monotonic()
    return "left"


def leaves_stream(call, site, path=CHAT, model="mock-slow-50"):
    """Hang up after three events."""
    body = body_of(path, model, call.text(40), stream=True)
    with site.client.stream(call, path, body) as stream:
        if isinstance(stream, Answer):
            return stream.said
        for _ in range(3):
            if stream.next() is None:
                return stream.ending or "cut"
        stream.connection.close()
        stream.response.close()
        call.left = time.monotonic()
    return "left"


def stops_reading(call, site):
    """Ask for more than the sockets' buffers hold, and read none of it for a while."""
    body = body_of(CHAT, "fast", call.text(52, 100_000), stream=True)
    with site.client.stream(call, CHAT, body, buffer=65536) as stream:
        if isinstance(stream, Answer):
            return stream.said
        time.sleep(6)
        try:
            return stream.rest()
        except (OSError, http.client.HTTPException):  # an end in the middle, or a reset
            return "cut off"


def bad_body(call, site):
    body, code = random.choice(BAD)
    answer = site.client.post(call, CHAT, body)
    return answer.said if answer.said != f"400 {code}" else "400"


def wrong_key(call, site):
    return whole(call, site, key=None)


def models(call, site):
    return site.client.ask(call, "GET", random.choice(["/v1/models", "/v1/models/fast"])).said


native = partial(whole, path=RESPONSES)
translated = partial(whole, path=RESPONSES, model="translated")
embeddings = partial(whole, path=EMBEDDINGS)
