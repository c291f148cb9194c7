"""Jobs over HTTP: accepted, polled, listed and cancelled. Here nothing runs them but the tests."""

import threading
import time

import pytest

from gateway import config, create_app, database, watch
from gateway.endpoints import jobs as module
from tests.contracts.queueing import later, sweep
from tests.endpoints.refused import refused
from tests.serving import KEY, write_config

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hi"}]}
GOOD = {
    "chat/completions": CHAT,
    "responses": {"model": "gpt-test", "input": "hi"},
    "embeddings": {"model": "gpt-test", "input": "hi"},
}
ASYNC = {"Prefer": "respond-async"}
UNKNOWN = "job_" + "0" * 32
FIELDS = [
    "id", "object", "endpoint", "model", "status", "created_at", "started_at", "completed_at",
    "cancelled_at", "expires_at", "request_id", "metadata", "attempts", "usage", "result", "error",
]  # fmt: skip


@pytest.fixture
def app(tmp_path, upstream):
    """An application of each test's own: its queue is empty."""
    more = f"""
[jobs]
per_key = 3

[[upstream]]
name = "embedder"
base_url = "{upstream.url}"
endpoints = ["embeddings"]

[[upstream]]
name = "whole"
base_url = "{upstream.url}"
stream = false

[[model]]
id = "whole-only"
upstreams = [{{ name = "whole" }}]

[[model]]
id = "embed-only"
upstreams = [{{ name = "embedder" }}]
"""
    path = write_config(tmp_path, upstream.url, more=more)
    settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
    database.upgrade(settings.server.database_url)
    found = create_app(settings)
    yield found
    found.extensions["gateway"].close()


@pytest.fixture
def services(app):
    return app.extensions["gateway"]


@pytest.fixture
def waiting(services):
    """Let polls wait: the loop that looks for them runs."""
    thread = threading.Thread(target=services.waiting.run, args=(services.stopping,))
    thread.start()
    yield services.waiting
    services.stopping.set()
    services.waiting.wake.set()
    thread.join()


@pytest.fixture
def other(app, services):
    """A client with another key."""
    client = app.test_client()
    secret = services.keys.create("other")[1]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return client


def accepted(client, path="chat/completions", headers=ASYNC, **more):
    answer = client.post(f"/v1/{path}", json={**GOOD[path], **more}, headers=headers)
    assert answer.status_code == 202, answer.data
    return answer


def finish(services, status="completed", **more):
    """End the next job in the queue as a worker would."""
    claimed = services.jobs.claim("w")
    given = {"result_status": 200, "result": b'{"id":"chatcmpl-1"}'} if not more else more
    assert services.jobs.finish(claimed, status, **given)
    return claimed


def get(client, id, rest="", **how):
    return client.get(f"/v1/jobs/{id}{rest}", **how)


@pytest.mark.parametrize("path", GOOD)
def test_call_is_accepted_as_a_job(client, services, upstream, path):
    answer = accepted(client, path)

    job = answer.json
    assert list(job) == FIELDS
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["openai-poll-after-ms"] == "1000"
    assert answer.headers["x-request-id"] == job["request_id"]
    assert answer.headers["content-type"] == "application/json"
    assert (job["object"], job["status"], job["model"]) == ("job", "queued", "gpt-test")
    assert (job["endpoint"], job["metadata"], job["attempts"]) == (f"/v1/{path}", {}, 0)
    assert abs(job["created_at"] - time.time()) < 60 and type(job["created_at"]) is int
    assert [job[name] for name in FIELDS if job[name] is None] == [None] * 7
    assert services.jobs.claim("w").payload == GOOD[path]
    assert upstream.requests == []
    answer.close()
    assert services.gate.inside == 0


def test_accepting_is_no_use_of_tokens(client, services):
    accepted(client)
    assert not services.recorder.rows
    assert services.jobs.newest(1)


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [
        ("respond-async", True),
        ("Respond-Async", True),
        (' foo=bar , RESPOND-ASYNC ; x="a,b" ', True),
        ('foo="a, b\\", c", respond-async', True),
        ("respond-async=", True),
        ('respond-async=""', True),
        ("wait=10,respond-async", True),
        ("respond-async, respond-async=no", True),
        ("respond-async=no, respond-async", False),
        ("respond-asynchronously", False),
        ('"respond-async"', False),
        ('foo="respond-async"', False),
        ('foo="a, respond-async', False),
        ("foo; respond-async", False),
        ("wait=10", False),
        ("", False),
        (",,;=", False),
        ('"' * 5000, False),
        ("\\" * 5000 + '"', False),
    ],
)
def test_preference_is_found_among_others(client, prefer, wanted):
    answer = client.post("/v1/chat/completions", json=CHAT, headers={"Prefer": prefer})
    assert answer.status_code == (202 if wanted else 200)
    assert ("preference-applied" in answer.headers) == wanted


def test_body_is_checked_before_it_is_accepted(client, services):
    bad = client.post("/v1/chat/completions", json={"model": "gpt-test"}, headers=ASYNC)
    refused(bad, 400, "missing_required_parameter", "messages")
    unknown = client.post("/v1/chat/completions", json={**CHAT, "model": "x"}, headers=ASYNC)
    refused(unknown, 404, "model_not_found", "model")
    unable = {**CHAT, "model": "embed-only"}
    answer = client.post("/v1/chat/completions", json=unable, headers=ASYNC)
    refused(answer, 400, "endpoint_not_supported", "model")
    assert services.jobs.newest(1) == []


def test_job_may_ask_for_a_stream_of_what_cannot_stream(client, services):
    accepted(client, model="whole-only", stream=True)
    assert services.jobs.claim("w").payload["stream"] is True


def test_worker_of_the_same_process_hears_of_it_at_once(client, services, monkeypatch):
    poked = []
    monkeypatch.setattr(services.worker, "poke", lambda: poked.append(services.jobs.newest(1)))
    accepted(client)
    assert [row.status for rows in poked for row in rows] == ["queued"]  # it is there by then


def test_metadata_is_the_request_s_own(client):
    assert accepted(client, metadata={"a": "é"}).json["metadata"] == {"a": "é"}


def test_finished_job_tells_its_result(client, services):
    id = accepted(client).json["id"]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    finish(services, result_status=200, result=b'{"a":[1]}', usage=usage)

    answer = get(client, id)
    job = answer.json
    assert answer.status_code == 200 and list(job) == FIELDS
    assert (job["status"], job["attempts"], job["usage"]) == ("completed", 1, usage)
    assert job["result"] == {"status_code": 200, "body": {"a": [1]}}
    assert (job["error"], job["cancelled_at"]) == (None, None)
    assert job["created_at"] <= job["started_at"] <= job["completed_at"] < job["expires_at"]
    assert "openai-poll-after-ms" not in answer.headers


def test_failed_job_tells_its_error(client, services):
    id = accepted(client).json["id"]
    error = {"message": "m", "type": "t", "param": None, "code": "c"}
    finish(services, "failed", result_status=502, error=error)

    job = get(client, id).json
    assert (job["status"], job["error"], job["result"]) == ("failed", error, None)


def test_running_job_says_when_to_look_again(client, services):
    id = accepted(client).json["id"]
    services.jobs.claim("w")
    answer = get(client, id)
    assert answer.json["status"] == "in_progress" and answer.json["attempts"] == 1
    assert answer.headers["openai-poll-after-ms"] == "1000"


@pytest.mark.parametrize("id", [UNKNOWN, "x", "job_%00", "job_" + "A" * 32, "%ff", "resp_1"])
@pytest.mark.parametrize("way", ["get", "cancel"])
def test_unknown_and_foreign_jobs_are_the_same_404(client, other, id, way):
    mine = accepted(client).json["id"]

    def ask(who, id):
        return get(who, id) if way == "get" else who.post(f"/v1/jobs/{id}/cancel")

    refused(ask(client, id), 404, "job_not_found")
    message = refused(ask(other, mine), 404, "job_not_found")["message"]
    assert message == f"No job with id '{mine}' found."
    assert (
        refused(ask(other, UNKNOWN), 404, "job_not_found")["message"].replace(UNKNOWN, mine)
        == message
    )
    assert get(client, mine).json["status"] == "queued"


def test_jobs_need_a_key(app):
    for answer in (app.test_client().get("/v1/jobs"), get(app.test_client(), UNKNOWN)):
        refused(answer, 401, "invalid_api_key")


def test_queue_that_is_full_says_when_to_come_again(client, other):
    for _ in range(3):
        accepted(client)
    answer = client.post("/v1/chat/completions", json=CHAT, headers=ASYNC)
    refused(answer, 429, "job_queue_full")
    assert answer.headers["x-should-retry"] == "true"
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("5", "5000")
    accepted(other)


def test_job_is_not_accepted_while_the_database_is_away(client, services, tmp_path):
    path = tmp_path / "gateway.db"
    path.rename(tmp_path / "away.db")
    answer = client.post("/v1/chat/completions", json=CHAT, headers=ASYNC)
    (tmp_path / "away.db").rename(path)

    refused(answer, 503, "dependency_unavailable")
    assert answer.headers["retry-after"]
    assert services.jobs.newest(1) == []


def test_queued_job_is_cancelled_at_once_and_for_good(client, services):
    id = accepted(client).json["id"]
    first, second = (client.post(f"/v1/jobs/{id}/cancel") for _ in range(2))

    assert (first.status_code, first.json) == (200, second.json)
    assert first.json["status"] == "cancelled"
    assert (first.json["result"], first.json["error"]["code"]) == (None, "cancelled")
    assert first.json["cancelled_at"] and first.json["completed_at"] is None
    assert services.jobs.claim("w") is None


def test_finished_job_that_is_cancelled_stays_as_it_is(client, services):
    id = accepted(client).json["id"]
    finish(services)
    before = get(client, id).json
    answer = client.post(f"/v1/jobs/{id}/cancel")
    assert (answer.status_code, answer.json) == (200, before)


def test_cancel_of_a_running_job_waits_for_its_worker(client, services, waiting):
    id = accepted(client).json["id"]
    claimed = services.jobs.claim("w")

    def stop():
        while not services.jobs.beat("w", [id])[1]:
            time.sleep(0.01)
        services.jobs.finish(claimed, "cancelled")

    thread = threading.Thread(target=stop)
    thread.start()
    answer = client.post(f"/v1/jobs/{id}/cancel")
    thread.join()
    assert (answer.status_code, answer.json["status"]) == (200, "cancelled")


def test_cancel_that_nobody_hears_answers_with_the_job(client, services, waiting, monkeypatch):
    monkeypatch.setattr(module, "SOON", 0.2)
    id = accepted(client).json["id"]
    services.jobs.claim("w")
    answer = client.post(f"/v1/jobs/{id}/cancel")
    assert (answer.status_code, answer.json["status"]) == (200, "in_progress")


@pytest.mark.parametrize(
    ("rest", "headers"),
    [("?wait=30", {}), ("", {"Prefer": "wait=30"}), ("?wait=99999", {}), ("?wait=60.0", {})],
)
def test_poll_waits_until_the_job_has_ended(client, services, waiting, rest, headers):
    id = accepted(client).json["id"]

    def end():
        while not waiting.waiters:
            time.sleep(0.01)
        finish(services)

    thread = threading.Thread(target=end)
    thread.start()
    began = time.monotonic()
    answer = get(client, id, rest, headers=headers)
    thread.join()
    assert answer.json["status"] == "completed"
    assert time.monotonic() - began < 20
    assert waiting.waiters == {}


def test_poll_that_has_waited_long_enough_shows_the_job_as_it_is(client, services, waiting):
    id = accepted(client).json["id"]
    began, watches = time.monotonic(), set(watch._sweeper().watches)
    assert get(client, id, "?wait=0.3").json["status"] == "queued"
    assert time.monotonic() - began >= 0.3
    assert waiting.waiters == {}
    assert watch._sweeper().watches <= watches


def test_poll_of_an_ended_job_does_not_wait(client, services):
    id = accepted(client).json["id"]
    finish(services)
    assert get(client, id, "?wait=60").json["status"] == "completed"


def test_drain_ends_every_wait(client, services, waiting):
    id = accepted(client).json["id"]

    def drain():
        while not waiting.waiters:
            time.sleep(0.01)
        waiting.close()

    thread = threading.Thread(target=drain)
    thread.start()
    assert get(client, id, "?wait=60").json["status"] == "queued"
    thread.join()
    assert get(client, id, "?wait=60").json["status"] == "queued"


@pytest.mark.parametrize(
    "given", ["", "x", "-1", "1e", "nan", "inf", "٣", "1.", " 1", "0x1", "1e3"]
)
def test_wait_that_is_no_number_is_refused(client, given):
    id = accepted(client).json["id"]
    answer = client.get(f"/v1/jobs/{id}", query_string={"wait": given})
    refused(answer, 400, "invalid_value", "wait")
    if given.isascii() and given.strip() == given:
        answer = get(client, id, headers={"Prefer": f"wait={given}"})
        refused(answer, 400, "invalid_value", "wait")


@pytest.mark.parametrize(
    ("query", "header", "seconds"),
    [
        ({"wait": "60"}, None, 60),
        ({"wait": "61"}, None, 60),
        ({"wait": "9" * 400}, None, 60),
        ({"wait": "0"}, "wait=5", 0),
        ({"wait": "0.5"}, None, 0.5),
        ({}, "wait=100", 60),
        ({}, 'respond-async, Wait="7"; x', 7),
        ({}, "respond-async", 0),
        ({}, None, 0),
    ],
)
def test_poll_waits_for_60_seconds_at_most(query, header, seconds):
    assert module.patience(query, header) == seconds


def test_other_preferences_of_a_poll_are_passed_over(client):
    id = accepted(client).json["id"]
    assert get(client, id, headers={"Prefer": "respond-async, foo=bar"}).status_code == 200


def test_wait_of_a_foreign_job_is_404_at_once(client, other):
    id = accepted(client).json["id"]
    refused(get(other, id, "?wait=60"), 404, "job_not_found")


def test_many_wait_by_one_query(client, services, waiting, monkeypatch):
    ids = [accepted(client).json["id"] for _ in range(3)]
    asked, statuses = [], services.jobs.statuses
    monkeypatch.setattr(services.jobs, "statuses", lambda ids: asked.append(1) or statuses(ids))
    began = time.monotonic()
    threads = [
        threading.Thread(target=waiting.wait, args=(id, 1, lambda function, *args: function(*args)))
        for id in ids * 10
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < len(asked) <= (time.monotonic() - began) / 0.15 + 1
    count = len(asked)
    time.sleep(0.5)
    assert len(asked) <= count + 1  # nobody waits, nobody looks


def test_list_is_paged(client, other, services):
    ids = [accepted(client).json["id"] for _ in range(3)][::-1]
    accepted(other)

    first = client.get("/v1/jobs?limit=2").json
    assert list(first) == ["object", "data", "first_id", "last_id", "has_more"]
    assert [job["id"] for job in first["data"]] == ids[:2]
    assert (first["object"], first["first_id"], first["last_id"]) == ("list", ids[0], ids[1])
    assert first["has_more"] is True
    rest = client.get(f"/v1/jobs?limit=2&after={ids[1]}").json
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[2:], False)
    oldest = client.get("/v1/jobs?order=asc").json
    assert [job["id"] for job in oldest["data"]] == ids[::-1]
    assert all(list(job) == FIELDS for job in oldest["data"])
    assert client.get(f"/v1/jobs?after={ids[2]}").json == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


def test_list_tells_results_without_their_bodies(client, services):
    id = accepted(client).json["id"]
    finish(services)
    (job,) = client.get("/v1/jobs").json["data"]
    assert job["result"] == {"status_code": 200, "body": None}
    assert {**job, "result": get(client, id).json["result"]} == get(client, id).json


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=x", "invalid_type", "limit"),
        ("order=up", "invalid_value", "order"),
        ("after=" + UNKNOWN, "invalid_value", "after"),
        ("after=%00", "invalid_value", "after"),
        ("after=", "invalid_value", "after"),
    ],
)
def test_bad_page_is_refused(client, query, code, param):
    refused(client.get(f"/v1/jobs?{query}"), 400, code, param)


def test_job_after_which_to_list_has_to_be_one_s_own(client, other):
    id = accepted(client).json["id"]
    refused(other.get(f"/v1/jobs?after={id}"), 400, "invalid_value", "after")


def test_lost_job_says_so(client, services):
    id = accepted(client).json["id"]
    assert services.jobs.answered(services.jobs.claim("w"))
    later(services.jobs, 31)
    sweep(services.jobs)
    job = get(client, id).json
    assert (job["status"], job["result"]) == ("failed", None)
    assert list(job["error"]) == ["message", "type", "param", "code"]
    assert (job["error"]["code"], job["error"]["type"]) == ("worker_lost", "server_error")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("post", "/v1/jobs", 405), ("delete", f"/v1/jobs/{UNKNOWN}", 405), ("get", "/v1/jobs/", 404)],
)
def test_what_jobs_do_not_do(client, method, path, status):
    code = "method_not_allowed" if status == 405 else "unknown_url"
    refused(getattr(client, method)(path), status, code)
