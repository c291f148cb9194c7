"""Jobs end to end: the official SDK and plain requests against a gateway that runs them itself."""

import contextlib
import json
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request

import openai
import pytest
from openai.pagination import SyncCursorPage

from gateway import mock
from tests.live.raw import connected
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

HELLO = [{"role": "user", "content": "Say this is a test"}]
ASYNC = {"Prefer": "respond-async"}
OTHER = "sk-" + "o" * 12 + "-" + "k" * 43
SECOND = 2.0  # "within a second or two" on a machine that others use too
BODIES = {
    "chat/completions": {"messages": HELLO},
    "responses": {"input": "Say this is a test"},
    "embeddings": {"input": ["a", "b"]},
}


class Job(openai.BaseModel):
    id: str
    status: str


@pytest.fixture(scope="module", name="upstream")
def shared_upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module", name="gateway")
def shared_gateway(tmp_path_factory, upstream):
    """One gateway of two workers, so that most polls come to another one than runs the job."""
    path = write_config(tmp_path_factory.mktemp("jobs"), upstream.url, timeouts="total = 20")
    keys = {"GATEWAY_API_KEYS": f"{Gateway(path).key},{OTHER}"}
    with Gateway(path, workers=2, environ=keys) as found:
        yield found


@pytest.fixture
def client(gateway):
    with openai.OpenAI(
        base_url=gateway.url, api_key=gateway.key, max_retries=0, timeout=90
    ) as found:
        yield found


@pytest.fixture
def call(gateway):
    """Return a function that asks the gateway and gives status, headers and parsed body."""
    return caller(gateway)


def caller(gateway):
    def ask(path, body=None, key=gateway.key, method=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{gateway.url}/{path}", data, head, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read())

    return ask


def accepted(call, path="chat/completions", model="gpt-test", **more):
    status, headers, job = call(path, {"model": model, **BODIES[path], **more}, **ASYNC)
    assert status == 202, job
    assert headers["location"] == f"/v1/jobs/{job['id']}"
    return job


def ended(call, id):
    status, _, job = call(f"jobs/{id}?wait=60")
    assert status == 200
    return job


def usage_rows(gateway, request_id):
    place = f"file:{gateway.folder / 'gateway.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(place, uri=True)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("select * from usage where request_id = ?", [request_id])
        return [dict(row) for row in found]


def test_sdk_makes_a_job_and_polls_it(client):
    made = client.chat.completions.with_raw_response.create(
        model="gpt-test", messages=HELLO, extra_headers=ASYNC
    )
    assert made.status_code == 202
    assert made.headers["preference-applied"] == "respond-async"
    id = json.loads(made.content)["id"]

    job = client.get(f"/jobs/{id}?wait=30", cast_to=object)
    assert job["status"] == "completed", job
    answer = openai.types.chat.ChatCompletion.model_validate(job["result"]["body"])
    assert answer.choices[0].message.content == "Say this is a test"
    assert job["usage"]["total_tokens"] == answer.usage.total_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_result_is_the_whole_body_of_the_direct_call(gateway, call, path, stream):
    more = {"stream": True} if stream and path != "embeddings" else {}
    job = ended(call, accepted(call, path, **more)["id"])

    status, _, direct = call(path, {"model": "gpt-test", **BODIES[path]})
    assert (job["status"], job["error"], job["result"]["status_code"]) == ("completed", None, 200)
    body = job["result"]["body"]
    assert body["object"] == direct["object"] and body["model"] == "gpt-test"
    assert job["usage"] == body["usage"] == direct["usage"]
    if path == "chat/completions":
        assert body["choices"][0]["message"]["content"] == "Say this is a test"
        assert body["choices"][0]["finish_reason"] == "stop"
    elif path == "responses":
        assert body["output"][0]["content"] == direct["output"][0]["content"]
        assert call(f"responses/{body['id']}")[2]["status"] == "completed"
    else:
        assert body["data"] == direct["data"]
    (row,) = usage_rows(gateway, job["request_id"])
    assert (row["status"], row["end"], row["usage_source"]) == (200, "ok", "upstream")
    assert row["key"] and row["input_tokens"] > 0


def test_failing_call_is_a_failed_job_with_the_upstream_s_error(gateway, call):
    job = ended(call, accepted(call, model="mock-400")["id"])
    _, _, direct = call("chat/completions", {"model": "mock-400", "messages": HELLO})
    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"] == direct["error"]
    (row,) = usage_rows(gateway, job["request_id"])
    assert row["status"] == 400


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_running_job_that_is_cancelled_closes_its_upstream(gateway, upstream, call, path):
    seen = upstream.received
    job = accepted(call, path, model="mock-endless-50")
    request = upstream.wait_for(seen + 1)[-1]
    time.sleep(0.3)

    began = time.monotonic()
    status, headers, answer = call(f"jobs/{job['id']}/cancel", method="POST")
    assert request.closed.wait(SECOND)
    assert request.closed_at - began < SECOND
    assert status == 200
    if answer["status"] == "in_progress":  # a busy machine may take longer than the answer waits
        answer = ended(call, job["id"])
    assert (answer["status"], answer["result"]) == ("cancelled", None)
    assert answer["error"]["code"] == "cancelled" and answer["cancelled_at"]
    assert call(f"jobs/{job['id']}/cancel", method="POST")[2] == answer
    (row,) = usage_rows(gateway, job["request_id"])
    assert row["end"] == "cancelled"


def test_poll_waits_and_hears_of_the_end_at_once(upstream, call):
    upstream.enqueue(mock.hang(1, mock.reply("late")))
    job = accepted(call)
    began = time.monotonic()
    _, headers, found = call(f"jobs/{job['id']}", Prefer="wait=60")
    assert (found["status"], found["result"]["status_code"]) == ("completed", 200)
    assert time.monotonic() - began < 20
    assert headers["openai-poll-after-ms"] is None


def test_client_that_leaves_a_poll_frees_it(gateway, upstream, call):
    seen = upstream.received
    job = accepted(call, model="mock-endless-50")
    upstream.wait_for(seen + 1)
    client_id = f"left-{job['id'][4:12]}"
    head = (
        f"GET /v1/jobs/{job['id']}?wait=60 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {gateway.key}\r\nX-Client-Request-Id: {client_id}\r\n\r\n"
    )
    with connected(gateway.port) as sock:
        sock.sendall(head.encode())
        time.sleep(0.5)
    (line,) = gateway.wait_lines(1, 5, client_request_id=client_id)
    assert (line["status"], line["end"], line["code"]) == (
        499,
        "cancelled",
        "client_closed_request",
    )
    assert call(f"jobs/{job['id']}")[2]["status"] == "in_progress"
    call(f"jobs/{job['id']}/cancel", method="POST")


def test_job_of_another_key_is_unknown(call):
    id = accepted(call)["id"]
    for path, method in ((f"jobs/{id}", "GET"), (f"jobs/{id}/cancel", "POST")):
        status, _, body = call(path, key=OTHER, method=method)
        assert (status, body["error"]["code"]) == (404, "job_not_found")
    assert call("jobs", key=OTHER)[2]["data"] == []
    ended(call, id)


def test_list_is_paged_by_the_sdk(client, call):
    ids = [accepted(call)["id"] for _ in range(5)]
    for id in ids:
        ended(call, id)

    options = {"params": {"limit": 2, "order": "asc", "after": ids[0]}}
    page = client.get_api_list("/jobs", model=Job, page=SyncCursorPage[Job], options=options)
    assert [job.id for job in page.data] == ids[1:3] and page.has_next_page()
    assert [job.id for job in page] == ids[1:]  # iterating asks for the pages that follow


def test_queue_that_is_full_refuses_and_queued_jobs_can_be_cancelled(upstream, tmp_path):
    more = "[jobs]\nconcurrency = 0\nper_key = 2\n"
    with Gateway(write_config(tmp_path, upstream.url, more=more)) as own:
        ask, seen = caller(own), upstream.received
        first, second = accepted(ask), accepted(ask)
        status, headers, body = ask(
            "chat/completions", {"model": "gpt-test", "messages": HELLO}, **ASYNC
        )
        assert (status, body["error"]["code"]) == (429, "job_queue_full")
        assert headers["x-should-retry"] == "true" and int(headers["retry-after"]) > 0

        assert ask(f"jobs/{first['id']}/cancel", method="POST")[2]["status"] == "cancelled"
        assert accepted(ask)["status"] == "queued"
        assert ask(f"jobs/{second['id']}?wait=0.5")[2]["status"] == "queued"
        assert upstream.received == seen
        assert usage_rows(own, first["request_id"]) == []
        own.wait_lines(1, 3, status=429)
        deadline = time.monotonic() + 20
        while own.metrics().get('gateway_jobs{status="queued"}') != 2:
            assert time.monotonic() < deadline, own.metrics()
            time.sleep(0.2)
        assert own.metrics()['gateway_jobs{status="cancelled"}'] == 1


def test_drain_answers_polls_with_the_job_as_it_is(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url, more="[jobs]\nconcurrency = 0\n")) as own:
        ask, found = caller(own), []
        job = accepted(ask)
        poll = threading.Thread(target=lambda: found.append(ask(f"jobs/{job['id']}?wait=60")))
        poll.start()
        time.sleep(1)
        own.process.send_signal(signal.SIGTERM)
        poll.join(10)
        assert not poll.is_alive()
        assert (found[0][0], found[0][2]["status"]) == (200, "queued")
        assert own.process.wait(10) == 0
