"""Which of the calls that a key's limits refuse leave a row."""

import pytest

from tests.application import shared_app, shared_upstream  # noqa: F401
from tests.endpoints.storing import client_of
from tests.test_usage import PATH, read

MORE = """
[[model]]
id = "priced"
upstreams = [{ name = "mock", model = "echo" }]
price = { input = 1, output = 4 }
"""
CHAT = {"model": "priced", "messages": [{"role": "user", "content": "one two"}]}


@pytest.mark.parametrize(
    ("limits", "code", "rows"),
    [
        ({"rpm": 1}, "rate_limit_exceeded", 0),
        ({"tpm": 1}, "rate_limit_exceeded", 1),
        ({"concurrency": 1}, "concurrency_limit_exceeded", 1),
        ({"budget": 1, "period": "total"}, "insufficient_quota", 1),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_refused_call_has_a_row_unless_it_was_one_request_too_many(app, limits, code, rows):
    services = app.extensions["gateway"]
    client = client_of(app, services.keys.create("limited", **limits)[1])
    under_way = client.post(PATH, json={**CHAT, "stream": True}, buffered=False)
    refused = client.post(PATH, json=CHAT)
    under_way.close()
    assert (refused.status_code, refused.json["error"]["code"]) == (429, code)

    services.recorder.flush()
    asked = refused.headers["x-request-id"]
    found = [row for row in read(services.database) if row["request_id"] == asked]
    told = [(row["status"], row["code"], row["usage_source"], row["cost"]) for row in found]
    assert told == [(429, code, "absent", None)] * rows
