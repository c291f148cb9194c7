"""What a job says of its usage: what its answer says, and not what the gateway estimates."""

import pytest

from gateway import mock
from gateway.tables import usage
from tests.endpoints.background.asking import accepted, response, rows, run

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "a b c d e f"}]}
ASYNC = {"Prefer": "respond-async"}
COUNTED = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def job(client, id):
    return client.get(f"/v1/jobs/{id}").json


def counts(services):
    (row,) = [*services.recorder.rows, *rows(services, usage)]
    return row["usage_source"], row["input_tokens"], row["output_tokens"]


def failing(found):
    """Return a native stream that ends in a failed Response which has been counted."""
    ended = {**found, "status": "failed", "usage": COUNTED}
    ended["error"] = {"code": "server_error", "message": "It broke."}
    begun = {**found, "status": "in_progress", "usage": None}
    told = [("created", begun), ("failed", ended)]
    return mock.stream([{"type": f"response.{kind}", "response": each} for kind, each in told])


@pytest.mark.parametrize("model", ["mock-cut-after-3", "mock-error-after-3"])
def test_job_without_an_answer_has_no_usage_and_its_row_an_estimate(client, services, model):
    body = {**CHAT, "model": model}
    id = client.post("/v1/chat/completions", json=body, headers=ASYNC).json["id"]
    run(services)

    found = job(client, id)
    assert (found["status"], found["result"], found["usage"]) == ("failed", None, None)
    source, sent, said = counts(services)
    assert (source, said) == ("estimated", 3) and sent > 0


def test_background_response_that_breaks_off_says_the_same_as_its_job(client, services):
    id = accepted(client, model="mock-cut-after-5")["id"]
    run(services)

    assert (job(client, id)["usage"], response(client, id)["usage"]) == (None, None)
    assert counts(services)[0] == "estimated"


def test_failed_response_that_was_counted_says_so_as_its_job_and_row_do(client, services, upstream):
    upstream.enqueue(failing(mock.bodies.response("Hi")))
    id = accepted(client)["id"]
    run(services)

    found = job(client, id)
    assert found["status"] == "failed" and COUNTED.items() <= found["usage"].items()
    assert response(client, id)["usage"] == found["usage"]
    assert counts(services) == ("upstream", 3, 4)


def test_answer_that_nobody_has_counted_has_no_usage_and_its_row_an_estimate(
    client, services, upstream
):
    *said, last = mock.bodies.chunks("Hello there")
    upstream.enqueue(mock.stream([*said, last]))
    id = client.post("/v1/chat/completions", json=CHAT, headers=ASYNC).json["id"]
    run(services)

    found = job(client, id)
    assert (found["status"], found["usage"]) == ("completed", None)
    assert "usage" not in found["result"]["body"] or not found["result"]["body"]["usage"]
    assert counts(services)[0] == "estimated"
