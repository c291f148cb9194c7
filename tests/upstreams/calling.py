"""Requests and calls as the modules around the upstreams would make them, with short timers."""

import json
import time

import pytest
import requests

from gateway import errors
from gateway.config import Timeouts, Upstream
from gateway.upstreams.base import PING, Call
from gateway.upstreams.openai import OpenAI
from gateway.watch import Watch

SECRET = "sk-upstream-secret"
TIMERS = {
    "connect": 1,
    "first_token": 5,
    "idle": 5,
    "total": 5,
    "stream_total": 5,
    "keepalive": 5,
}
BODIES = {
    "chat": {"messages": [{"role": "user", "content": "Say hi"}]},
    "responses": {"input": "Say hi"},
    "embeddings": {"input": "Say hi"},
}


def configured(url, timers=(), **settings):
    """Return an upstream's settings; `timers` are those that differ from TIMERS."""
    shown = {"name": "mock", "base_url": url, "api_key": SECRET, "endpoints": tuple(BODIES)}
    return Upstream(**{**shown, "timeouts": Timeouts(**{**TIMERS, **dict(timers)}), **settings})


class Calls:
    """Makes upstreams and calls, and closes what they leave open."""

    def __init__(self):
        self.closing = []

    def upstream(self, url, timers=(), **settings):
        made = OpenAI(configured(url, timers, **settings))
        self.closing.append(made.close)
        return made

    def call(self, endpoint="chat", client=None, stream=False, model="asked-model", **fields):
        payload = {"model": model, **BODIES[endpoint], **fields}
        if stream:
            payload["stream"] = True
        made = Call(endpoint, payload, Watch(client))
        self.closing.append(made.watch.close)
        return made

    def close(self):
        for close in self.closing:
            close()


def pure(endpoint="chat", stream=True, **fields):
    """Return a call that nothing waits for."""
    payload = {"model": "asked-model", **BODIES[endpoint], "stream": stream, **fields}
    return Call(endpoint, payload, None)


def prepared(url, body=b"{}", headers=(), method="POST"):
    """Return a request as an upstream prepares it."""
    request = requests.PreparedRequest()
    request.method, request.url, request.hooks = method, url, {"response": []}
    request.headers = {"Content-Length": str(len(body)), **dict(headers)}
    request.body = body
    return request


def events(blocks):
    """Return what is in blocks of events: (type, JSON), text, or PING."""
    found = []
    for block in blocks:
        if block is PING:
            found.append(PING)
        for event in block.decode().split("\n\n")[:-1]:
            kind, _, data = event.rpartition("data: ")
            parsed = data if data == "[DONE]" else json.loads(data)
            found.append((kind.removeprefix("event: ").strip(), parsed))
    return found


def closed_after(request, since):
    """Return the seconds from `since` until the scripted upstream saw the connection closed."""
    assert request.closed.wait(2)
    return request.closed_at - since


def timed(function, *args, **how):
    """Return what a function returns or raises, and the seconds that it took."""
    began = time.monotonic()
    try:
        found = function(*args, **how)
    except BaseException as exc:
        found = exc
    return found, time.monotonic() - began


def timed_out(function, param, seconds):
    """Assert that a function ends by a timer, in time."""
    error, took = timed(function)
    assert isinstance(error, errors.UpstreamTimeout), error
    assert (error.param, error.status, error.upstream_status) == (param, 504, None)
    assert seconds <= took < seconds + 1


CALLED = pytest.mark.parametrize("way", ["whole", "stream"])
STREAMED = pytest.mark.parametrize("endpoint", ["chat", "responses"])


def asked(calls, mock, way, endpoint="chat", **fields):
    """Make a call one way or the other; return what the client gets."""
    call = calls.call(endpoint, stream=way == "stream", **fields)
    if way == "whole":
        return mock.whole(call, "upstream-model")
    return list(mock.stream(call, "upstream-model"))
