"""Stored responses: what is kept of a call, and who may read and delete it."""

import contextlib
import os
import sqlite3

import pytest

from gateway import stored
from tests.endpoints.refused import refused
from tests.endpoints.storing import (  # noqa: F401
    GOOD,
    RESPONSES,
    UNKNOWN,
    answering,
    ask,
    client_of,
    count,
    get,
    gone,
    kept,
    key_client,
    leave,
    other_client,
    shared_app,
    shared_upstream,
    start_app,
)
from tests.raw_client import events


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [{}, {"store": True}, {"store": None}])
def test_stored_response_is_read_as_it_was_answered(client, model, stream, store):
    found = ask(client, model=model, stream=stream, metadata={"a": "b"}, **store)

    assert (found["store"], found["status"]) == (True, "completed")
    assert kept(client, found) == found
    assert get(client, found["id"]).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
@pytest.mark.parametrize("stream", [False, True])
def test_response_that_is_not_to_be_stored_is_not(client, upstream, app, model, stream):
    found = ask(client, model=model, stream=stream, store=False, input="a secret of mine")

    assert found["store"] is False
    gone(client, found["id"])
    path = app.extensions["gateway"].database.url.database
    with sqlite3.connect(path) as connection:
        rows = connection.execute("select input, output, rest from responses").fetchall()
    connection.close()
    assert not any(b"a secret of mine" in field for row in rows for field in row)


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
def test_response_can_be_read_before_its_client_hears_that_it_has_ended(client, model):
    answer = client.post(RESPONSES, json={**GOOD, "model": model, "stream": True}, buffered=False)
    id = None
    for block in answer.response:
        for event in events(block):
            if event == "[DONE]":
                continue
            id = event.get("response", {}).get("id", id)
            if event["type"] == "response.completed":
                assert get(client, id).json == event["response"]
    assert id


def test_configuration_says_what_is_stored_by_default(start, upstream):
    client = client_of(start("[responses]\nstore = false\n"))

    found = ask(client)
    assert found["store"] is False
    gone(client, found["id"])
    assert ask(client, model="kept") and upstream.requests[-1].json["store"] is False
    assert kept(client, ask(client, store=True))["store"] is True


@pytest.mark.parametrize("method", ["get", "delete", "input_items", "cancel"])
def test_response_of_another_key_is_not_found(client, other, method):
    id = ask(client)["id"]
    ways = {
        "get": lambda: get(other, id),
        "delete": lambda: other.delete(f"{RESPONSES}/{id}"),
        "input_items": lambda: get(other, id, "/input_items"),
        "cancel": lambda: other.post(f"{RESPONSES}/{id}/cancel"),
    }
    refused(ways[method](), 404, "response_not_found")
    assert get(client, id).status_code == 200


def test_history_of_another_key_is_not_found(client, other):
    id = ask(client)["id"]
    answer = other.post(RESPONSES, json={**GOOD, "previous_response_id": id})
    refused(answer, 404, "response_not_found", "previous_response_id")


@pytest.mark.parametrize(
    ("method", "rest"), [("get", ""), ("delete", ""), ("get", "/input_items"), ("post", "/cancel")]
)
def test_stored_responses_need_a_key(app, method, rest):
    answer = getattr(app.test_client(), method)(f"{RESPONSES}/{UNKNOWN}{rest}")
    refused(answer, 401, "invalid_api_key")


@pytest.mark.parametrize("id", [UNKNOWN, "resp_x", "%00", "%F0%9F%98%80", "x" * 3000])
def test_unknown_id_is_not_found(client, id):
    refused(get(client, id), 404, "response_not_found")


def test_deleted_response_is_gone(client):
    id = ask(client)["id"]
    answer = client.delete(f"{RESPONSES}/{id}")

    assert answer.json == {"id": id, "object": "response", "deleted": True}
    gone(client, id)
    refused(client.delete(f"{RESPONSES}/{id}"), 404, "response_not_found")
    answer = client.post(RESPONSES, json={**GOOD, "previous_response_id": id})
    refused(answer, 404, "response_not_found", "previous_response_id")


def test_only_background_responses_are_cancelled(client):
    id = ask(client)["id"]
    error = refused(client.post(f"{RESPONSES}/{id}/cancel"), 400, "invalid_value")
    assert error["message"] == "Cannot cancel a synchronous response."
    assert get(client, id).json["status"] == "completed"
    refused(client.post(f"{RESPONSES}/{UNKNOWN}/cancel"), 404, "response_not_found")


def test_stored_response_is_not_streamed_again(client):
    id = ask(client)["id"]
    refused(
        get(client, id, "?stream=true&starting_after=3"), 400, "unsupported_parameter", "stream"
    )
    assert get(client, id, "?stream=false&include=reasoning.encrypted_content").status_code == 200


def test_incomplete_response_is_stored_as_it_ended(client, upstream):
    details = {"reason": "max_output_tokens"}
    upstream.enqueue(answering(status="incomplete", incomplete_details=details))
    found = kept(client, ask(client))

    assert (found["status"], found["incomplete_details"]) == ("incomplete", details)


@pytest.mark.parametrize("model", ["mock-cut-after-6", "mock-error-after-6"])
def test_failed_stream_is_stored_with_its_error_and_what_had_come(client, model):
    found = ask(client, model=model, stream=True)
    assert kept(client, found) == found

    assert (found["status"], found["store"]) == ("failed", True)
    assert set(found["error"]) == {"code", "message"}
    assert found["output"][0]["status"] == "incomplete"
    assert GOOD["input"].startswith(found["output"][0]["content"][0]["text"])
    assert found["output"][0]["content"][0]["text"]


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
def test_client_that_leaves_finds_what_had_come(client, upstream, model):
    id, said = leave(client, upstream, model)

    found = get(client, id).json
    assert (found["status"], found["store"], found["error"]) == ("cancelled", True, None)
    assert [item["status"] for item in found["output"]] == ["incomplete"]
    assert found["output"][0]["content"][0]["text"] == said
    assert said and GOOD["input"].startswith(said) and said != GOOD["input"]


@pytest.mark.parametrize("stream", [False, True])
def test_response_that_is_too_large_is_answered_and_says_that_it_is_not_stored(
    client, monkeypatch, stream
):
    monkeypatch.setattr(stored, "LARGEST", 100)
    found = ask(client, stream=stream)

    assert (found["status"], found["store"]) == ("completed", False)
    gone(client, found["id"])


@pytest.mark.parametrize("stream", [False, True])
def test_answer_reaches_its_client_while_the_database_is_away(start, tmp_path, stream):
    app = start()
    client = client_of(app)
    first = ask(client)
    path = app.extensions["gateway"].database.url.database
    app.extensions["gateway"].keys.refresh()
    with away(path):
        found = ask(client, stream=stream)
        assert (found["status"], found["store"]) == ("completed", False)
        body = {**GOOD, "stream": stream, "previous_response_id": first["id"]}
        refused(client.post(RESPONSES, json=body), 503, "dependency_unavailable")
        refused(get(client, first["id"]), 503, "dependency_unavailable")
        refused(client.delete(f"{RESPONSES}/{first['id']}"), 503, "dependency_unavailable")

    assert kept(client, first) == first


def test_fault_of_the_store_costs_nobody_the_answer(client, app, monkeypatch):
    def fail(*args):
        raise ValueError("a prompt")

    monkeypatch.setattr(app.extensions["gateway"].stored, "row", fail)
    assert ask(client)["store"] is False


def test_refused_call_leaves_nothing(client, app):
    held = app.extensions["gateway"].database.read(count)
    assert client.post(RESPONSES, json={**GOOD, "model": "mock-400"}).status_code == 400
    assert client.post(RESPONSES, json={**GOOD, "model": "mock-html"}).status_code == 502
    assert app.extensions["gateway"].database.read(count) == held


@contextlib.contextmanager
def away(path):
    """Take a SQLite file away for a while."""
    os.rename(path, f"{path}.away")
    yield
    os.rename(f"{path}.away", path)
