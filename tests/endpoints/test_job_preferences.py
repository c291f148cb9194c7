"""What a POST makes of the `wait` in its Prefer: nothing. It is the polls that wait."""

import pytest

from tests.endpoints.refused import refused

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "hi"}]}
WAITS = ["wait=60", "wait=0", "wait=abc", "wait=-1", "wait", 'wait=""']


@pytest.mark.parametrize("wait", WAITS)
def test_post_is_accepted_at_once_whatever_its_wait(client, wait):
    headers = {"Prefer": f"respond-async, {wait}"}
    answer = client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert (answer.status_code, answer.json["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "respond-async"


@pytest.mark.parametrize("wait", WAITS)
def test_post_that_asks_for_no_job_is_answered_whatever_its_wait(client, wait):
    answer = client.post("/v1/chat/completions", json=CHAT, headers={"Prefer": wait})
    assert answer.status_code == 200 and "preference-applied" not in answer.headers


@pytest.mark.parametrize("wait", WAITS[2:])
def test_poll_says_what_is_no_number(client, wait):
    answer = client.get("/v1/jobs/job_x", headers={"Prefer": wait})
    refused(answer, 400, "invalid_value", "wait")
