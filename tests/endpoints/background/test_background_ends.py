"""How background responses end otherwise than well: failed, cancelled, lost, deleted."""

import threading
import time

import pytest

from gateway import errors, mock
from gateway.endpoints import jobs as jobs_module
from gateway.jobs import running
from gateway.mock import bodies
from gateway.tables import usage
from tests.contracts.queueing import later, sweep
from tests.endpoints.background.asking import (
    TEXT,
    accepted,
    begin,
    gone,
    kinds,
    response,
    rows,
    run,
    streamed,
    wait_for,
)
from tests.endpoints.storing import RESPONSES, answering


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("mock-400", "invalid_prompt"),
        ("mock-401", "server_error"),
        ("mock-429", "rate_limit_exceeded"),
        ("mock-500-html", "server_error"),
        ("mock-close", "server_error"),
    ],
)
def test_failure_before_any_event_is_a_failed_response(client, services, model, code):
    id = accepted(client, model=model)["id"]
    run(services)
    found = response(client, id)

    job = client.get(f"/v1/jobs/{id}").json
    assert (found["status"], found["output"], job["status"]) == ("failed", [], "failed")
    assert found["error"] == {"code": code, "message": job["error"]["message"]}
    stream = streamed(client, id)
    assert kinds(stream) == ["created", "queued", "failed"]
    assert stream[-1]["response"] == found


def test_stream_that_breaks_off_is_a_failed_response_with_what_had_come(client, services):
    id = accepted(client, model="mock-cut-after-5")["id"]
    run(services)
    found = response(client, id)
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    assert found["output"][0]["content"][0]["text"]
    stream = streamed(client, id)
    assert kinds(stream).count("failed") == 1 and stream[-1]["response"] == found


def test_upstream_s_own_failure_is_a_failed_response(client, services, upstream):
    found = list(bodies.response_events("one two"))
    failed = {**found[-1], "type": "response.failed"}
    failed["response"] = {
        **failed["response"],
        "status": "failed",
        "error": {"code": "rate_limit_exceeded", "message": "Too much."},
    }
    upstream.enqueue(mock.stream([*found[:-1], failed]))
    id = accepted(client)["id"]
    run(services)
    error = response(client, id)["error"]
    assert (error["code"], error["message"]) == ("rate_limit_exceeded", "Too much.")
    assert kinds(streamed(client, id))[-1] == "failed"


def test_incomplete_response_says_so(client, services, upstream):
    upstream.enqueue(
        answering(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    )
    id = accepted(client, model="whole-only")["id"]
    run(services)
    assert response(client, id)["incomplete_details"] == {"reason": "max_output_tokens"}
    assert kinds(streamed(client, id))[-1] == "incomplete"
    assert client.get(f"/v1/jobs/{id}").json["status"] == "incomplete"


@pytest.mark.parametrize("path", [RESPONSES, "/v1/jobs"])
def test_queued_response_is_cancelled_at_once(client, services, path):
    id = accepted(client)["id"]
    first = client.post(f"{path}/{id}/cancel")
    assert (first.status_code, first.json["status"]) == (200, "cancelled")
    assert client.post(f"{path}/{id}/cancel").json == first.json

    found = response(client, id)
    assert (found["status"], found["output"], found["error"]) == ("cancelled", [], None)
    stream = streamed(client, id)
    assert kinds(stream) == ["created", "queued", "incomplete"]
    assert stream[-1]["response"] == found
    assert services.jobs.claim("w") is None and rows(services, usage) == []


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
def test_running_response_is_cancelled_with_what_had_come(client, services, upstream, model):
    id = accepted(client, model=model)["id"]
    job, thread = begin(services, upstream, mock.reply(TEXT, delay=0.1))
    services.jobs.cancel(job.claimed.key, id)
    job.stop(running.CANCELLED)
    thread.join()

    found = response(client, id)
    assert (found["status"], found["error"]) == ("cancelled", None)
    assert TEXT.startswith(found["output"][0]["content"][0]["text"])
    stream = streamed(client, id)
    assert kinds(stream)[-1] == "incomplete" and stream[-1]["response"] == found
    (row,) = rows(services, usage)
    assert row["end"] == "cancelled"
    assert client.post(f"{RESPONSES}/{id}/cancel").json == found


def test_response_that_has_ended_is_not_cancelled(client, services):
    id = accepted(client)["id"]
    run(services)
    answer = client.post(f"{RESPONSES}/{id}/cancel")
    assert (answer.status_code, answer.json) == (200, response(client, id))
    assert answer.json["status"] == "completed"


def test_deleted_response_leaves_nothing(client, services, upstream):
    id = accepted(client)["id"]
    run(services)
    answer = client.delete(f"{RESPONSES}/{id}")
    assert answer.json == {"id": id, "object": "response", "deleted": True}
    gone(client, services, id)
    assert len(rows(services, usage)) == 1


def test_queued_response_is_deleted(client, services):
    id = accepted(client)["id"]
    client.delete(f"{RESPONSES}/{id}")
    gone(client, services, id)
    assert services.jobs.claim("w") is None and rows(services, usage) == []


@pytest.mark.parametrize("hears", [True, False])
def test_running_response_is_deleted_even_if_its_worker_hears_late(
    client, services, upstream, loops, monkeypatch, hears
):
    monkeypatch.setattr(jobs_module, "SOON", 0.1)
    id = accepted(client)["id"]
    job, thread = begin(services, upstream)
    assert client.delete(f"{RESPONSES}/{id}").status_code == 200
    time.sleep(0.2)  # it writes on, for it has not heard
    if hears:
        job.stop(running.LOST)
    thread.join()
    gone(client, services, id)
    (row,) = rows(services, usage)
    assert (row["end"], row["usage_source"]) == ("cancelled", "absent")


def test_whole_answer_to_a_response_that_was_deleted_leaves_nothing(
    client, services, upstream, loops, monkeypatch
):
    monkeypatch.setattr(jobs_module, "SOON", 0.1)
    seen, go = upstream.received, threading.Event()
    id = accepted(client, model="whole-only")["id"]
    upstream.enqueue(lambda request: go.wait(10) and mock.responses(TEXT)(request))
    job = services.running(services.jobs.claim("w"))
    thread = threading.Thread(target=job.run)
    thread.start()
    upstream.wait_for(seen + 1)
    assert client.delete(f"{RESPONSES}/{id}").status_code == 200
    go.set()
    thread.join()
    time.sleep(0.2)  # for the loop that writes recordings
    gone(client, services, id)


def test_response_is_deleted_even_if_its_client_does_not_wait(
    client, services, upstream, monkeypatch
):
    def leave(id, seconds):
        raise errors.ClientGone()

    monkeypatch.setattr(jobs_module, "wait", leave)
    id = accepted(client)["id"]
    job, thread = begin(services, upstream)
    client.delete(f"{RESPONSES}/{id}")
    job.stop(running.LOST)
    thread.join()
    gone(client, services, id)


def test_lost_worker_fails_the_response_and_ends_its_stream(client, services, upstream):
    id = accepted(client)["id"]
    job, thread = begin(services, upstream)
    job.sink.writer.flush_now()
    seen = job.sink.writer.seq
    later(services.jobs, 31, id)
    sweep(services.jobs)
    sweep(services.jobs)

    found = response(client, id)
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    assert client.get(f"/v1/jobs/{id}").json["error"]["code"] == "worker_lost"
    stream = streamed(client, id)
    assert kinds(stream)[-1] == "failed" and len(stream) == seen + 1
    assert stream[-1]["response"] == found

    for _ in range(3):  # it was alive after all, and writes on
        wait_for(lambda: job.sink.writer.blocks or not thread.is_alive())
        job.sink.writer.flush_now()
    thread.join()
    assert streamed(client, id) == stream
    assert streamed(client, id, f"?stream=true&starting_after={seen + 2}") == []
    assert response(client, id) == found
    assert len(rows(services, usage)) == 1


def test_worker_lost_before_any_event_leaves_no_trace(client, services):
    id = accepted(client)["id"]
    services.jobs.claim("lost")
    later(services.jobs, 31, id)
    sweep(services.jobs)
    assert response(client, id)["status"] == "queued"
    run(services)
    assert kinds(streamed(client, id))[:3] == ["created", "queued", "in_progress"]
    assert client.get(f"/v1/jobs/{id}").json["attempts"] == 2


def test_response_that_waited_too_long_has_failed(client, services):
    id = accepted(client)["id"]
    later(services.jobs, 25 * 3600, id)
    sweep(services.jobs)
    found = response(client, id)
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    assert kinds(streamed(client, id)) == ["created", "queued", "failed"]
    assert client.get(f"/v1/jobs/{id}").json["status"] == "expired"


def test_cancel_that_a_lost_worker_has_not_heard_is_made_good(client, services, monkeypatch):
    monkeypatch.setattr(jobs_module, "SOON", 0)
    id = accepted(client)["id"]
    services.jobs.claim("lost")
    assert client.post(f"{RESPONSES}/{id}/cancel").json["status"] == "in_progress"
    later(services.jobs, 31, id)
    sweep(services.jobs)
    assert response(client, id)["status"] == "cancelled"
    assert kinds(streamed(client, id)) == ["created", "queued", "incomplete"]
