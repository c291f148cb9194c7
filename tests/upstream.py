"""The scripted upstream as tests use it: a factory, dead ends, and the fault table in its words."""

import socket
from contextlib import ExitStack, contextmanager

import pytest

from gateway.mock import ScriptedUpstream

__all__ = ["FAULT_ROWS", "ScriptedUpstream", "black_hole", "more_upstreams", "refused_url"]

# Rows of the fault table that a server can act, and the model names that act them. F1 and F2 are
# refused_url and black_hole below, F34 to F38 are not the server's.
FAULT_ROWS = {
    "F3": ["mock-close"],
    "F4": ["mock-reset"],
    "F5": ["mock-hang"],
    "F6": ["mock-reset-in-head"],
    "F7": ["mock-close-in-head"],
    "F8": ["mock-stall-in-head", "mock-drip-head"],
    "F9": ["mock-garbage"],
    "F10": ["mock-cut-after-3"],
    "F11": ["mock-close-after-3"],
    "F12": ["mock-end-after-3", "mock-no-done"],
    "F13": ["mock-stall-after-3", "mock-pings-after-3"],
    "F14": ["mock-trickle"],
    "F15": ["mock-endless-50"],
    "F16": ["mock-bad-chunk-after-3", "mock-bad-chunk-after-0"],
    "F17": [
        "mock-no-data",
        "mock-bad-json-after-0",
        "mock-bad-json-after-3",
        "mock-bad-utf8-after-3",
        "mock-nan-after-3",
        "mock-scalar-after-3",
        "mock-unfinished-event",
    ],
    "F18": ["mock-error-after-3", "mock-error-after-0"],
    "F19": ["mock-long-line-after-3", "mock-long-event-after-3"],
    "F20": ["mock-long-chunk-size-after-3", "mock-long-chunk-size-after-0"],
    "F21": ["mock-long-header", "mock-many-headers", "mock-huge-head"],
    "F22": ["mock-gzip-bomb", "mock-gzip-nested"],
    "F23": ["mock-gzip"],
    "F24": ["mock-bad-gzip"],
    "F25": ["mock-json", "mock-200-error"],
    "F26": ["mock-sse", "mock-html", "mock-empty", "mock-204", "mock-truncated"],
    "F27": ["mock-301", "mock-302", "mock-307"],
    "F28": ["mock-429", "mock-429-date", "mock-429-9999", "mock-429-garbage", "mock-quota"],
    "F29": ["mock-500-html", "mock-500", "mock-503", "mock-529"],
    "F30": ["mock-401", "mock-402", "mock-403"],
    "F31": ["mock-400", "mock-400-llama", "mock-400-detail", "mock-context-length"],
    "F32": ["mock-200-error"],
    "F33": ["mock-odd-headers", "mock-folded-head", "mock-length-and-chunks", "mock-103"],
}


@pytest.fixture(name="upstreams")
def more_upstreams():
    """Return a function that starts one more upstream, by ScriptedUpstream's arguments."""
    with ExitStack() as stack:
        yield lambda *args, **how: stack.enter_context(ScriptedUpstream(*args, **how))


@contextmanager
def refused_url():
    """Give the URL of a port that nothing listens on and nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


@contextmanager
def black_hole():
    """Give the URL of a port where connecting hangs: its queue of connections is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"
