"""Calls with an Idempotency-Key that fail or are left, over real connections."""

import threading
import time

import pytest

from gateway import mock
from tests.live.twice import (  # noqa: F401
    ask,
    asking,
    chunks,
    database,
    held,
    name,
    rows,
    scripted,
    two_workers,
    wait_for,
)

pytestmark = pytest.mark.live


@pytest.mark.parametrize("text", ["one two three", "other words"])
def test_call_that_has_failed_is_made_again_when_it_is_sent_again_at_once(gateway, upstream, text):
    for _ in range(5):
        key, before = name(), upstream.received
        upstream.enqueue(mock.error(500, "boom"))
        failed = ask(gateway, key)
        assert (failed.status, failed.headers["x-should-retry"]) == (502, "true")
        again = ask(gateway, key, text=text)
        assert again.status == 200 and "idempotent-replayed" not in again.headers
        assert upstream.received - before == 2


@pytest.mark.parametrize("endpoint, word", [("chat", b'"error":{'), ("responses", b".failed")])
def test_stream_that_was_cut_is_made_again_when_it_is_sent_again_at_once(
    gateway, upstream, endpoint, word
):
    """Its client need not wait for the end behind the event that says so: the SDKs do not."""
    model = "mock-close-after-3"
    for _ in range(5):
        key, before = name(), upstream.received
        with asking(gateway, key, endpoint, stream=True, model=model) as cut:
            while word not in cut.readline():
                pass
            with asking(gateway, key, endpoint, stream=True, model=model) as again:
                assert again.getheader("idempotent-replayed") is None
                again.read()
        assert upstream.received - before == 2


def test_news_of_a_failure_does_not_wait_for_a_database_that_is_stuck(gateway, upstream):
    key, go, found = name(), threading.Event(), []
    upstream.enqueue(lambda request: go.wait(15) and mock.error(500, "boom")(request))
    before = upstream.received
    caller = threading.Thread(target=lambda: found.append(ask(gateway, key)))
    caller.start()
    upstream.wait_for(before + 1)
    with database(gateway) as connection:
        connection.execute("begin immediate")
        began = time.monotonic()
        go.set()
        caller.join()
        took = time.monotonic() - began
    assert (found[0].status, found[0].headers["x-should-retry"]) == (502, "true")
    assert took < 4
    wait_for(lambda: not rows(gateway, "select 1 from idempotency where name = ?", key))
    assert ask(gateway, key).status == 200
    assert upstream.received - before == 2


def test_who_leaves_a_call_that_it_has_joined_has_a_line_that_says_so(gateway, upstream):
    key, go = name(), threading.Event()
    upstream.enqueue(held(go, chunks()))
    with asking(gateway, key, stream=True) as began:
        first = began.readline()
        with asking(gateway, key, stream=True) as joined:
            assert (joined.readline(), joined.getheader("idempotent-replayed")) == (first, "true")
            request_id = joined.getheader("x-request-id")
        (line,) = gateway.wait_lines(request_id=request_id)
        assert (line["status"], line["end"], line["code"]) == (200, "cancelled", None)
        go.set()
        assert began.read().endswith(b"data: [DONE]\n\n")
        (line,) = gateway.wait_lines(request_id=began.getheader("x-request-id"))
        assert line["end"] == "ok"
