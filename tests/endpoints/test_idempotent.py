"""Which Idempotency-Keys there are, and which calls are equal."""

import json
from types import SimpleNamespace

import pytest

from gateway import logs, watch
from gateway.endpoints.idempotent import FORM, Client, fingerprint
from gateway.errors import ServerDraining
from gateway.recordings import Recordings, cut_short
from gateway.recordings.rows import Row

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("name", ["", "x" * 256, "\x7f", "a\tb", "caf\xe9", "a\x01"])
@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings"])
def test_bad_name_is_refused(client, upstream, name, path):
    body = {**CHAT, "input": "hi"}
    answer = client.post(f"/v1/{path}", json=body, environ_base={"HTTP_IDEMPOTENCY_KEY": name})
    assert answer.status_code == 400
    error = answer.json["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "Idempotency-Key")
    assert answer.headers["x-should-retry"] == "false"
    assert upstream.received == 0


@pytest.mark.parametrize("name", ["x", "x" * 255, "a,b", " ", "~!\"'\\"])
def test_printable_ascii_is_a_name(name):
    assert FORM.fullmatch(name)


def test_body_that_is_wrong_is_said_before_the_name(client):
    answer = client.post("/v1/chat/completions", json={}, headers={"Idempotency-Key": ""})
    assert answer.json["error"]["param"] == "model"


def test_name_means_nothing_where_nothing_is_called(client):
    assert client.get("/v1/models", headers={"Idempotency-Key": ""}).status_code == 200


@pytest.mark.parametrize(
    "other, prefer, equal",
    [
        ({"b": [1, {"d": 2, "c": 3}], "a": 1}, None, True),
        ({"a": 1, "b": [1, {"c": 3, "d": 2}]}, "wait=5", True),
        ({"a": 1, "b": [1, {"c": 3, "d": 2}]}, "respond-async", False),
        ({"a": 1, "b": [{"c": 3, "d": 2}, 1]}, None, False),
        ({"a": 1.0, "b": [1, {"c": 3, "d": 2}]}, None, False),
        ({"a": 1, "b": [1, {"c": 3, "d": 2}], "stream": False}, None, False),
    ],
)
def test_calls_are_equal_whose_bodies_mean_the_same(other, prefer, equal):
    environ = {} if prefer is None else {"HTTP_PREFER": prefer}
    one = fingerprint({}, {"a": 1, "b": [1, {"c": 3, "d": 2}]})
    assert (fingerprint(environ, other) == one) is equal
    assert len(one) == 64


class Rows:
    """A database that holds the first rows of a recording."""

    def __init__(self, *rows):
        self.rows = rows

    def read(self, fn):
        return list(self.rows)


def sse_events(data):
    return [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: {")]


def reader_of(*rows, seen=-1):
    found = Recordings(Rows(*rows)).reader("r")
    found.seen = seen
    return found


CREATED = b'event: response.created\ndata: {"response":{"id":"resp_1","status":"in_progress"}}\n\n'


def test_cut_response_ends_as_failed_under_its_own_id_and_the_next_number():
    reader = reader_of(Row(0, 0, 1, None, CREATED), seen=4)
    data = cut_short.events("responses", reader, ServerDraining(), dict)
    (failed,) = sse_events(data)
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 5)
    assert (failed["response"]["id"], failed["response"]["status"]) == ("resp_1", "failed")
    assert failed["response"]["error"]["code"] == "server_draining"
    assert data.endswith(b"data: [DONE]\n\n")


def test_cut_response_of_which_nothing_has_come_is_created_first():
    data = cut_short.events("responses", reader_of(), ServerDraining(), lambda: {"id": "resp_2"})
    created, failed = sse_events(data)
    assert [created["type"], failed["type"]] == ["response.created", "response.failed"]
    assert [created["sequence_number"], failed["sequence_number"]] == [0, 1]
    assert created["response"]["id"] == failed["response"]["id"] == "resp_2"


def test_cut_chat_ends_in_an_error_and_no_done():
    data = cut_short.events("chat", reader_of(), ServerDraining(), dict)
    assert sse_events(data) == [ServerDraining().body()]
    assert b"[DONE]" not in data


def reading(drained=None):
    """A client of a stream, who has to leave where `drained` gives the reason."""
    visit = SimpleNamespace(services=None, line=logs.Line("req_1", "POST", "/"))
    return Client(visit, "chat", {"stream": True}, SimpleNamespace(drained=drained), None)


def said(client):
    return client.visit.line.end, client.visit.line.code


def leaving():
    yield b"a"
    raise watch.Gone


@pytest.mark.parametrize("way", [Client.rest, Client.pieces])
def test_who_leaves_a_call_that_it_has_joined_is_written_as_cancelled(way):
    client = reading()
    assert b"".join(way(client, leaving())) == b"a"
    assert said(client) == ("cancelled", None)


@pytest.mark.parametrize("way", [Client.rest, Client.pieces])
def test_who_has_to_leave_is_written_with_the_error(way):
    client = reading(drained=ServerDraining)
    assert b"".join(way(client, leaving())).startswith(b"a")
    assert said(client) == ("error", "server_draining")


@pytest.mark.parametrize(("count", "end"), [(1, "cancelled"), (2, "cancelled"), (3, "ok")])
def test_who_does_not_take_all_of_an_answer_is_written_as_cancelled(count, end):
    client = reading()
    blocks = client.taken(iter([b"a", b"b"]))
    for _ in range(count):
        next(blocks, None)
    blocks.close()
    assert said(client) == (end, None)


@pytest.mark.parametrize("ended", [True, False])
def test_what_the_client_was_told_counts_before_what_the_call_has_come_to(ended):
    client, call = reading(drained=ServerDraining), logs.Line("req_1", "POST", "/")
    call.end, call.upstream = "cancelled", "mock"
    list(client.rest(leaving()))
    client.learn(SimpleNamespace(live=SimpleNamespace(closed=ended)), call)
    assert said(client) == ("error", "server_draining")
    assert client.visit.line.upstream == "mock"
