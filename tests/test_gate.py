"""How many calls a worker takes at once, and that every place comes back."""

import io
from dataclasses import replace

import pytest

from gateway import create_app, database, errors
from gateway import gate as gating
from gateway.endpoints import replies
from gateway.gate import Gate

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"


class Clock:
    """Stands in for the module time: waiting takes none, and lets others act."""

    def __init__(self, busy=lambda: None):
        self.now, self.busy = 1000.0, busy

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.busy()


def free(gate):
    return gate.limit - gate.inside


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(gating, "time", found)
    return found


def test_gate_lets_its_limit_in_and_nobody_more(clock):
    gate = Gate(3)
    for _ in range(3):
        gate.enter()
    assert clock.now == 1000
    with pytest.raises(errors.ServerOverloaded) as caught:
        gate.enter()
    assert 1000.5 <= clock.now < 1000.55  # half a second, not more
    assert (caught.value.status, caught.value.headers()["retry-after"]) == (503, "1")
    gate.leave()
    gate.enter()
    assert free(gate) == 0


def test_who_waits_gets_the_next_place(clock):
    gate = Gate(1)
    gate.enter()
    clock.busy = lambda: clock.now > 1000.3 and gate.inside and gate.leave()
    gate.enter()
    assert 1000.3 < clock.now < 1000.35 and free(gate) == 0


def test_place_that_another_has_taken_is_not_given_twice(clock):
    gate = Gate(1)
    gate.enter()
    gate.leave()
    gate.enter()
    clock.busy = lambda: (gate.leave(), gate.enter())
    with pytest.raises(errors.ServerOverloaded):
        gate.enter()
    assert free(gate) == 0


@pytest.fixture
def app(settings):
    """A gateway that takes one call at a time."""
    database.upgrade(settings.server.database_url)
    app = create_app(replace(settings, server=replace(settings.server, max_in_flight=1)))
    app.extensions["gateway"].gate.patience = 0.001
    yield app
    app.extensions["gateway"].close()


@pytest.fixture
def gate(app):
    return app.extensions["gateway"].gate


class Body(io.BytesIO):
    """A body whose reading fails."""

    def __init__(self, failure):
        super().__init__(b"x" * 10)
        self.failure = failure

    def read(self, *args):
        raise self.failure


def sent(client, body):
    return client.post(PATH, input_stream=body, content_type="application/json")


def test_call_above_the_limit_is_refused_before_its_body_is_read(client, gate, upstream):
    gate.enter()
    answer = sent(client, Body(AssertionError("the body was read")))
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "server_overloaded")
    assert answer.json["error"]["type"] == "server_error"
    told = ("retry-after", "retry-after-ms", "x-should-retry", "x-gateway-error-source")
    assert [answer.headers[name] for name in told] == ["1", "1000", "true", "gateway"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert upstream.received == 0 and free(gate) == 0


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-test", "/healthz", "/readyz"])
def test_what_calls_no_upstream_needs_no_place(client, gate, path):
    gate.enter()
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", [PATH, "/v1/responses", "/v1/embeddings"], ids=["chat", "responses", "embeddings"]
)
def test_every_endpoint_that_calls_an_upstream_needs_a_place(client, gate, path):
    gate.enter()
    assert client.post(path, json=CHAT).status_code == 503


def test_wrong_key_is_told_so_before_the_limit(client, gate):
    gate.enter()
    answer = client.post(PATH, json=CHAT, headers={"Authorization": "Bearer sk-wrong"})
    assert answer.status_code == 401
    assert client.post("/v1/nope", json=CHAT).status_code == 404


@pytest.mark.parametrize(
    "body, status",
    [
        (CHAT, 200),
        ({**CHAT, "stream": True}, 200),
        ({**CHAT, "model": "nope"}, 404),
        ({"model": "gpt-test"}, 400),
        ({**CHAT, "model": "mock-400"}, 400),
        ({**CHAT, "model": "mock-429-9999"}, 429),
        ({**CHAT, "model": "mock-401"}, 502),
        ({**CHAT, "model": "mock-garbage"}, 502),
        ({**CHAT, "model": "mock-close-after-3", "stream": True}, 200),
        ({**CHAT, "model": "mock-error-after-3", "stream": True}, 200),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else None,
)
def test_place_comes_back_after_every_kind_of_answer(client, gate, body, status):
    for _ in range(2):
        answer = client.post(PATH, json=body)
        assert answer.status_code == status
        assert answer.get_data()
        answer.close()
        assert free(gate) == 1


def test_place_is_held_while_a_stream_is_open(client, gate):
    answer = client.post(PATH, json={**CHAT, "stream": True}, buffered=False)
    assert free(gate) == 0
    assert client.post(PATH, json=CHAT).status_code == 503
    assert answer.data.endswith(b"data: [DONE]\n\n")
    answer.close()
    assert free(gate) == 1


@pytest.mark.parametrize("blocks", [0, 1])
def test_place_comes_back_when_a_stream_is_given_up(client, gate, blocks):
    answer = client.post(PATH, json={**CHAT, "stream": True}, buffered=False)
    for _ in range(blocks):
        next(iter(answer.response))
    answer.close()
    assert free(gate) == 1


def test_place_comes_back_from_a_client_that_left_while_sending(client, gate):
    answer = sent(client, Body(ConnectionResetError()))
    assert answer.status_code == 499
    answer.close()
    assert free(gate) == 1


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_place_comes_back_from_a_call_that_is_given_up(client, gate, failure, monkeypatch):
    def broken(*args):
        raise failure

    monkeypatch.setattr(replies, "run", broken)
    try:
        client.post(PATH, json=CHAT).close()
    except failure:
        pass
    assert free(gate) == 1
