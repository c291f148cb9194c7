"""Answers that their upstreams do not count are counted by their text, however they come."""

import pytest

from gateway import mock
from gateway.mock import bodies
from tests.endpoints.storing import (  # noqa: F401
    key_client,
    shared_app,
    shared_upstream,
    start_app,
)

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TEXT = "a text of some words, é among them, which nobody counts"
SIZE = len(TEXT.encode()) // 4
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def rows(app, monkeypatch):
    """The rows of usage, in place of the database."""
    found = []
    monkeypatch.setattr(app.extensions["gateway"].recorder, "add", found.append)
    return found


def whole(request):
    body = bodies.completion(TEXT)
    del body["usage"]
    yield from mock.json(body)(request)


def whole_response(request):
    body = bodies.response(TEXT)
    del body["usage"]
    yield from mock.json(body)(request)


def streamed(*pieces, end=True):
    """Return an answer whose text comes in these pieces, which may break off."""
    chunks = bodies.chunks("@")
    first, last = chunks[0], chunks[-1]
    said = [{**first, "choices": [{"index": 0, "delta": {"content": text}}]} for text in pieces]

    def answer(request):
        yield from mock.stream([first, *said, *([last] if end else [])], done=end)(request)

    return answer


EACH = streamed(*(f"{word} " for word in TEXT.split(" ")))


@pytest.mark.parametrize(
    ("path", "model", "stream", "answer"),
    [
        (CHAT, "gpt-test", False, whole),
        (CHAT, "gpt-test", True, whole),
        (CHAT, "gpt-test", True, streamed(TEXT)),
        (CHAT, "gpt-test", True, EACH),
        (RESPONSES, "chat-only", False, whole),
        (RESPONSES, "chat-only", True, whole),
        (RESPONSES, "chat-only", True, streamed(TEXT)),
        (RESPONSES, "chat-only", True, EACH),
        (RESPONSES, "gpt-test", False, whole_response),
        (RESPONSES, "gpt-test", True, whole_response),
    ],
)
def test_answer_that_came_to_its_end_is_counted_by_its_text(
    client, upstream, rows, path, model, stream, answer
):
    upstream.enqueue(answer)
    asked = {"messages": HELLO} if path == CHAT else {"input": "Hello"}
    with client.post(path, json={"model": model, "stream": stream, **asked}) as found:
        assert found.status_code == 200 and found.data
    (row,) = rows
    assert row["usage_source"] == "estimated" and row["end"] == "ok"
    assert SIZE <= row["output_tokens"] <= SIZE + 1


def test_stream_that_broke_is_counted_by_its_events(client, upstream, rows):
    upstream.enqueue(streamed(TEXT, TEXT, end=False))
    body = {"model": "gpt-test", "stream": True, "messages": HELLO}
    with client.post(CHAT, json=body) as found:
        assert b"upstream_reset" in found.data
    (row,) = rows
    assert (row["usage_source"], row["output_tokens"]) == ("estimated", 3)
