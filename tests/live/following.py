"""Clients that make background responses and follow their streams."""

import contextlib
import http.client
import time

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.serving import KEY, Gateway, write_config
from tests.upstream import ScriptedUpstream

EVENT = TypeAdapter(ResponseStreamEvent)
TIMEOUTS = (
    "connect = 2\nfirst_token = 20\nidle = 20\ntotal = 20\nstream_total = 30\nkeepalive = 1\n"
)
CHAT_ONLY = """
[[upstream]]
name = "chat"
base_url = "$URL"
endpoints = ["chat"]

[[model]]
id = "chat-*"
upstreams = [{ name = "chat", model = "*" }]
"""
TEXT = "one two three four five six seven eight nine ten"
MODELS = ["mock-slow-100", "chat-mock-slow-100"]
LEASE = 2


@pytest.fixture(scope="module", name="upstream")
def scripted():
    with ScriptedUpstream() as found:
        yield found


@contextlib.contextmanager
def serving(folder, upstream, more="", **how):
    """A gateway for background responses, in whose log there are no tracebacks in the end."""
    more = CHAT_ONLY.replace("$URL", upstream.url) + more
    path = write_config(folder, upstream.url, timeouts=TIMEOUTS, more=more)
    with Gateway(path, **how) as found:
        yield found
        assert "Traceback" not in found.log_path.read_text()


def client_of(gateway):
    return openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=40)


def create(client, model="gpt-test", **more):
    return client.responses.create(model=model, input=TEXT, background=True, **more)


def ended(client, id):
    """Poll a response as the SDK's users do, and return it when it has ended."""
    found = client.responses.retrieve(id)
    while found.status in ("queued", "in_progress"):
        time.sleep(0.1)
        found = client.responses.retrieve(id)
    return found


def valid(found):
    """Assert that events are what the SDK says they are, and return them as objects."""
    events = [EVENT.validate_python(event.to_dict()).to_dict() for event in found]
    for event in events:
        if "response" in event:
            Response.model_validate(event["response"])
    return events


def numbers(events):
    return [event["sequence_number"] for event in events]


def taken(stream, count):
    """Return the first events of a stream, and leave it."""
    with stream:
        return valid([event for event, _ in zip(stream, range(count), strict=False)])


def followed(gateway, id, after=None):
    """Return the events of a response over a connection of its own."""
    more = {} if after is None else {"starting_after": after}
    with client_of(gateway) as own, own.responses.retrieve(id, stream=True, **more) as stream:
        return valid(stream)


def raw(gateway, id, after=None):
    """Return the bytes of a response's stream, over a connection of its own."""
    query = "" if after is None else f"&starting_after={after}"
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=40)
    with contextlib.closing(connection):
        head = {"Authorization": f"Bearer {KEY}"}
        connection.request("GET", f"/v1/responses/{id}?stream=true{query}", headers=head)
        return connection.getresponse().read()


def without_pings(data):
    return data.replace(b": keepalive\n\n", b"")
