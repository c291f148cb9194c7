"""How much of large bodies a worker holds at once, and that all of it is given back."""

import io
import json
from dataclasses import replace

import pytest

from gateway import create_app, database, errors
from gateway.endpoints.body import LARGE
from gateway.gate import Gate

PATH = "/v1/chat/completions"
ROOM = 3 * LARGE


def chat(size, **fields):
    """Return a chat of so many bytes."""
    body = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return json.dumps(body).encode().ljust(size)


@pytest.fixture
def app(settings):
    """A gateway that holds little."""
    database.upgrade(settings.server.database_url)
    app = create_app(replace(settings, server=replace(settings.server, max_body_mb=1)))
    app.extensions["gateway"].gate.room = ROOM
    yield app
    app.extensions["gateway"].close()


@pytest.fixture
def gate(app):
    return app.extensions["gateway"].gate


def send(client, data, length=True, **headers):
    sent = {} if length else {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(data)}
    data = data if length else None
    return client.post(
        PATH, data=data, content_type="application/json", headers=headers, environ_overrides=sent
    )


def test_gate_holds_up_to_its_room_and_refuses_at_once():
    gate = Gate(2, room=100)
    gate.enter()
    gate.hold(60)
    for size, left in ((41, 0), (1, 40)):
        with pytest.raises(errors.ServerOverloaded):
            gate.hold(size, left)
    gate.hold(20, left=20)
    assert gate.held == 80
    gate.leave(80)
    assert (gate.inside, gate.held) == (0, 0)


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
def test_large_body_beyond_the_room_is_refused_and_a_small_one_is_not(
    client, gate, upstream, length
):
    gate.held = ROOM - LARGE
    answer = send(client, chat(3 * LARGE), length)
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "server_overloaded")
    assert answer.headers["retry-after"] == "1"
    assert upstream.received == 0
    answer.close()
    with send(client, chat(LARGE - 1), length) as answer:
        assert answer.status_code == 200
    assert gate.held == ROOM - LARGE


class Unread(io.BytesIO):
    def read(self, *size):
        raise AssertionError("the body was read")


def test_what_a_body_announces_is_refused_before_it_is_read(client, gate):
    gate.held = LARGE
    sent = {"CONTENT_LENGTH": str(3 * LARGE), "wsgi.input": Unread()}
    answer = client.post(PATH, content_type="application/json", environ_overrides=sent)
    assert answer.status_code == 503


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize(
    "fields, headers, status",
    [
        ({}, {}, 200),
        ({"stream": True}, {}, 200),
        ({"messages": 1}, {}, 400),
        ({"model": "nope"}, {}, 404),
        ({"model": "mock-garbage"}, {}, 502),
        ({}, {"Prefer": "respond-async"}, 202),
    ],
    ids=["whole", "stream", "invalid", "unknown", "failed", "job"],
)
def test_room_comes_back_after_every_kind_of_answer(client, gate, fields, headers, status, length):
    for _ in range(3):
        answer = send(client, chat(2 * LARGE, **fields), length, **headers)
        assert answer.status_code == status
        assert answer.get_data()
        answer.close()
        assert gate.held == 0


def test_room_is_held_while_a_stream_is_open(client, gate):
    answer = client.post(
        PATH, data=chat(2 * LARGE, stream=True), content_type="application/json", buffered=False
    )
    assert gate.held == 2 * LARGE
    assert send(client, chat(2 * LARGE)).status_code == 503
    answer.close()
    assert gate.held == 0
