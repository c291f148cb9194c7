"""Background responses: accepted, polled, and built upon."""

import time

import pytest

from gateway import stored
from gateway.endpoints import jobs as jobs_module
from gateway.jobs import running
from gateway.tables import responses as table
from tests.endpoints.background.asking import (
    TEXT,
    TOOL,
    accepted,
    ask,
    begin,
    get,
    response,
    run,
    streamed,
    valid,
)
from tests.endpoints.refused import refused
from tests.endpoints.storing import GOOD, RESPONSES, UNKNOWN, client_of


def test_background_response_is_queued(client, services, upstream):
    before = upstream.received
    answer = ask(client, instructions="Be brief.", tools=[TOOL], metadata={"a": "b"})
    found = valid(answer.json)

    assert answer.status_code == 200
    assert answer.headers["openai-poll-after-ms"] == "1000"
    assert (found["object"], found["status"], found["output"]) == ("response", "queued", [])
    assert (found["background"], found["store"], found["error"]) == (True, True, None)
    assert (found["instructions"], found["metadata"]) == ("Be brief.", {"a": "b"})
    assert found["tools"][0]["name"] == "f" and found["model"] == "gpt-test"
    assert abs(found["created_at"] - time.time()) < 60
    assert upstream.received == before
    assert services.jobs.claim("w").id == found["id"]
    answer.close()
    assert services.gate.inside == 0


def test_queued_response_is_shown_as_it_was_accepted(client):
    made = ask(client).json
    answer = get(
        client, made["id"], "?include[]=message.output_text.logprobs&include_obfuscation=0"
    )
    assert answer.json == made
    assert answer.headers["openai-poll-after-ms"] == "1000"
    listed = get(client, made["id"], "/input_items").json["data"]
    assert listed[0]["content"][0]["text"] == TEXT


@pytest.mark.parametrize("model", ["gpt-test", "chat-only", "whole-only", "mock-careless", "kept"])
def test_response_ends_as_it_would_have_at_once(client, services, model):
    made = accepted(client, model=model)
    direct = client.post(RESPONSES, json={**GOOD, "model": model}).json
    run(services)

    answer = get(client, made["id"])
    found = valid(answer.json)
    assert "openai-poll-after-ms" not in answer.headers
    assert (found["id"], found["status"]) == (made["id"], "completed")
    assert found["created_at"] == made["created_at"] and found["completed_at"]
    assert (found["background"], found["store"]) == (True, True)
    assert found["output"][0]["content"] == direct["output"][0]["content"]
    assert found["usage"] == direct["usage"]
    job = client.get(f"/v1/jobs/{made['id']}").json
    assert (job["status"], job["result"]["body"]) == ("completed", found)
    assert client.get("/v1/jobs").json["data"][0]["id"] == made["id"]
    assert streamed(client, made["id"])[-1]["response"] == found


def test_later_turn_builds_on_a_response_that_has_ended(client, services, upstream):
    first = accepted(client)["id"]
    run(services)
    second = accepted(client, previous_response_id=first, input="And now?")["id"]
    run(services)

    said = [item["content"] for item in upstream.requests[-1].json["input"]]
    assert said == [TEXT, TEXT, "And now?"]
    assert response(client, second)["previous_response_id"] == first
    listed = get(client, second, "/input_items?order=asc").json["data"]
    assert [item["content"][0]["text"] for item in listed] == [TEXT, TEXT, "And now?"]
    third = client.post(RESPONSES, json={**GOOD, "previous_response_id": second})
    assert third.status_code == 200


@pytest.mark.parametrize("how", ["run out", "swept"])
def test_response_that_has_run_out_is_found_nowhere_though_its_job_is(client, services, how):
    id = accepted(client)["id"]
    run(services)
    change = table.update().values(expires_at=1) if how == "run out" else table.delete()
    services.database.write(lambda c: c.execute(change) and None)

    for query in ("", "/input_items"):
        refused(get(client, id, query), 404, "response_not_found")
    refused(client.post(f"{RESPONSES}/{id}/cancel"), 404, "response_not_found")
    assert client.get(f"/v1/jobs/{id}").json["status"] == "completed"
    assert client.delete(f"{RESPONSES}/{id}").status_code == 200


def test_response_that_is_too_large_to_be_stored_is_kept_as_long(client, services, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST", 100)
    id = accepted(client)["id"]
    run(services)
    assert response(client, id) == streamed(client, id)[-1]["response"]
    listed = get(client, id, "/input_items").json["data"]
    assert [item["content"][0]["text"] for item in listed] == [TEXT]

    later = time.time() + services.stored.seconds
    monkeypatch.setattr(services.stored, "clock", lambda: later)
    for query in ("", "/input_items"):
        refused(get(client, id, query), 404, "response_not_found")


@pytest.mark.parametrize("background", [True, False])
def test_nothing_builds_on_a_response_that_has_not_ended(client, background):
    first = accepted(client)["id"]
    body = {**GOOD, "background": background, "previous_response_id": first}
    error = refused(client.post(RESPONSES, json=body), 400, "invalid_value", "previous_response_id")
    assert "still queued" in error["message"]


@pytest.mark.parametrize("model", ["gpt-test", "kept"])
@pytest.mark.parametrize(
    ("more", "status", "code", "param"),
    [
        ({"store": False}, 400, "invalid_value", "store"),
        ({"previous_response_id": UNKNOWN}, 404, "response_not_found", "previous_response_id"),
        ({"previous_response_id": "resp_x"}, 404, "response_not_found", "previous_response_id"),
        ({"conversation": "conv_1"}, 404, "response_not_found", "conversation"),
        ({"conversation": {"id": "conv_1"}}, 404, "response_not_found", "conversation"),
        ({"input": 5}, 400, "invalid_type", "input"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_cannot_be_answered_is_refused_at_once(
    client, services, model, more, status, code, param, stream
):
    refused(ask(client, model=model, stream=stream, **more), status, code, param)
    assert services.jobs.newest(1) == []


def test_another_key_s_response_is_nothing_to_build_on(client, app, services):
    id = accepted(client)["id"]
    other = client_of(app, services.keys.create("other")[1])
    for answer in (
        ask(other, previous_response_id=id),
        get(other, id),
        get(other, id, "?stream=true"),
        get(other, id, "/input_items"),
        other.post(f"{RESPONSES}/{id}/cancel"),
        other.delete(f"{RESPONSES}/{id}"),
    ):
        refused(
            answer,
            404,
            "response_not_found",
            "previous_response_id" if b"Previous" in answer.data else None,
        )
    assert response(client, id)["status"] == "queued"


def test_queue_that_is_full_refuses(client):
    for _ in range(3):
        accepted(client)
    answer = ask(client)
    refused(answer, 429, "job_queue_full")
    assert answer.headers["x-should-retry"] == "true"


def test_response_runs_and_is_polled(client, services, upstream, loops, monkeypatch):
    monkeypatch.setattr(jobs_module, "SOON", 0.1)
    made = accepted(client)
    job, thread = begin(services, upstream)
    answer = get(client, made["id"])
    assert answer.json == {**made, "status": "in_progress"}
    assert answer.headers["openai-poll-after-ms"] == "1000"
    slow = client.post(f"{RESPONSES}/{made['id']}/cancel")
    assert (slow.status_code, slow.json["status"]) == (200, "in_progress")
    job.stop(running.CANCELLED)
    thread.join()


def test_job_of_another_kind_is_no_response(client, services):
    job = client.post(RESPONSES, json=GOOD, headers={"Prefer": "respond-async"}).json["id"]
    refused(get(client, job), 404, "response_not_found")
    refused(client.post(f"{RESPONSES}/{job}/cancel"), 404, "response_not_found")
    refused(client.delete(f"{RESPONSES}/{job}"), 404, "response_not_found")
    assert client.get(f"/v1/jobs/{job}").json["status"] == "queued"


def test_preference_for_a_job_changes_nothing(client):
    answer = ask(client, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json["object"]) == (200, "response")
