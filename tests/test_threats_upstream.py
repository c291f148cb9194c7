"""What an upstream says of an error goes into logs and tables: it says it in one line or not."""

import json

import pytest

from gateway import mock
from gateway.tables import usage
from tests.endpoints.refused import refused

PATH = "/v1/chat/completions"
CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "x"}]}
SAID = {"message": "two\nlines are for people", "type": "t", "param": "p", "code": "c"}
UNSAID = {"type": "invalid_request_error", "param": None, "code": "bad_request"}
UNPRINTABLE = ["zero\0byte", "two\nlines", "a\r\nSet-Cookie: a=b", "\x1b[2J", "\u2028"]


def test_message_keeps_its_lines(client, upstream):
    upstream.enqueue(mock.json({"error": SAID}, 400))
    assert refused(client.post(PATH, json=CHAT), 400, "c", "p") == SAID


@pytest.mark.parametrize("text", UNPRINTABLE)
def test_what_cannot_be_printed_is_left_out_but_of_the_message(client, app, upstream, text):
    for name, instead in UNSAID.items():
        upstream.enqueue(mock.json({"error": {**SAID, name: text}}, 400))
        wanted = {**SAID, name: instead}
        assert refused(client.post(PATH, json=CHAT), 400, wanted["code"], wanted["param"]) == wanted
    services = app.extensions["gateway"]
    services.recorder.flush()
    codes = usage.select().with_only_columns(usage.c.code)
    assert services.database.read(lambda c: c.scalars(codes).all()) == ["c", "c", "bad_request"]


@pytest.mark.parametrize("text", UNPRINTABLE)
def test_error_in_a_stream_is_told_alike(client, upstream, text):
    data = json.dumps({"error": {**SAID, "code": text, "param": text}})
    upstream.enqueue(mock.stream([*mock.bodies.chunks("one")[:2], mock.sse(data)]))
    answer = client.post(PATH, json={**CHAT, "stream": True})
    last = answer.data.strip().rpartition(b"\n")[2]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["code"], error["param"]) == ("upstream_bad_response", None), error
