"""The client's own timeout, from its header to the last try."""

import math

import pytest

from gateway import mock
from gateway.endpoints.replies import PATIENCE, patience

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    "sent, seconds",
    [
        ("600", 600),
        ("600.0", 600),
        (" 0.5 ", 0.5),
        ("1e3", 1000),
        ("inf", math.inf),
        ("0", math.inf),
        ("-5", math.inf),
        ("nan", math.inf),
        ("None", math.inf),
        ("", math.inf),
        ("60, 60", math.inf),
        ("\xb2", math.inf),
    ],
)
def test_client_s_own_timeout_is_seconds_and_garbage_is_none(sent, seconds):
    for name in ("HTTP_X_STAINLESS_READ_TIMEOUT", "HTTP_X_STAINLESS_TIMEOUT"):
        assert patience({name: sent}) == seconds
        assert patience(dict.fromkeys(PATIENCE, "30") | {name: sent}) == min(seconds, 30)
    assert patience({}) == math.inf


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sent, status, calls", [("0.2", 503, 1), ("600", 200, 2), ("x", 200, 2)])
def test_nothing_is_tried_past_the_client_s_own_timeout(
    app, client, upstream, stream, sent, status, calls
):
    # A repeat would come after 0.25 s, and at once where there is time for it.
    app.extensions["gateway"].router.rand = lambda: 1.0 if sent == "0.2" else 0.0
    upstream.enqueue(mock.error(503, "busy"))
    headers = {"x-stainless-read-timeout": sent}
    answer = client.post("/v1/chat/completions", json={**CHAT, "stream": stream}, headers=headers)
    assert answer.get_data() and answer.status_code == status
    assert upstream.received == calls
    tried = "mock:503,mock:200" if calls == 2 else None
    assert answer.headers.get("x-gateway-attempts") == tried
    answer.close()
