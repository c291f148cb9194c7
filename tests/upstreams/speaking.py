"""Streams of chats as upstreams send them, relayed as responses, and what holds for each."""

import orjson

from gateway import sse
from gateway.upstreams.dialects import over_chat
from tests.translate.chats import text
from tests.translate.published import faults
from tests.upstreams.calling import SECRET, events, pure
from tests.upstreams.responding import check

HELLO = text("Hel", "lo ", "you")[0]


def written(*chunks):
    return b"".join(sse.encode(orjson.dumps(found)) for found in chunks)


def relaying(**fields):
    call = pure("responses", **fields)
    call.secrets = (SECRET,)
    return over_chat.Relay(call)


def relayed(data, **fields):
    """Return the relay and the (type, event) that the client gets."""
    made = relaying(**fields)
    return made, events([made.take(data)])


def inner(found):
    """Return the events between the two that begin a stream and those that end it."""
    return found[2:-2]


def check_all(found):
    """Assert what holds for every stream of a response, OpenAI's schemas included."""
    check(found)
    assert [fault for _, event in found[:-1] for fault in faults(event)] == []
