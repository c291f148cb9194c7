"""Jobs and background responses that are asked for more than once with one Idempotency-Key."""

import pytest

from tests.live.twice import ask, at_once, name, replays, rows, same, scripted, two_workers  # noqa: F401

pytestmark = pytest.mark.live


def test_job_is_made_once(gateway, upstream):
    before, key = upstream.received, name()
    how = {"headers": {"Prefer": "respond-async"}}
    found = at_once(5, ask, gateway, key, **how)
    answer = same(found)
    assert answer.status == 202 and answer.json["object"] == "job"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json['id']}"
    assert replays(found) == 4 and "openai-poll-after-ms" in answer.headers
    # The same body, but waited for, is another call.
    assert ask(gateway, key).status == 409
    upstream.wait_for(before + 1)
    assert ask(gateway, key, **how).json["id"] == answer.json["id"]
    assert len(rows(gateway, "select 1 from jobs")) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_background_response_is_made_once(gateway, upstream, stream):
    before, key = upstream.received, name()
    found = at_once(5, ask, gateway, key, "responses", background=True, stream=stream)
    if stream:
        ids = {answer.events[0]["response"]["id"] for answer in found}
        assert same(found).events[-2]["type"] == "response.completed"
    else:
        ids = {same(found).json["id"]}
        assert "openai-poll-after-ms" in found[0].headers
    assert len(ids) == 1 and replays(found) == 4
    upstream.wait_for(before + 1)
    again = ask(gateway, key, "responses", background=True, stream=stream)
    assert again.body == found[0].body and upstream.received - before == 1
