"""One row an exchange, whatever became of it, kept while the database is away."""

import pytest
import sqlalchemy as sa

from gateway import mock, usage
from gateway.database import Database
from gateway.logs import Line
from gateway.tables import usage as table
from gateway.tokens import Usage

CHAT = {"model": "gpt-test", "messages": [{"role": "user", "content": "Say something secret"}]}
PATH = "/v1/chat/completions"


def made(number=1, **values):
    """Return a row."""
    line = Line(f"req_{number}", "POST", PATH, clock=lambda: 5.0)
    return {**usage.row(line, None, usage.ABSENT, 200, 6.5), **values}


def post(client, body, path=PATH):
    """Make a call and read its answer to the end."""
    with client.post(path, json=body) as answer:
        answer.get_data()


def read(database):
    found = database.read(lambda c: [r._asdict() for r in c.execute(sa.select(table))])
    return sorted(found, key=lambda row: row["id"])


@pytest.fixture
def rows(app):
    """Return a function that gives the rows that have been written so far."""
    services = app.extensions["gateway"]

    def written():
        services.recorder.flush()
        return read(services.database)

    return written


def test_row_says_what_is_known_and_null_for_the_rest():
    line = Line("req_1", "POST", PATH, clock=lambda: 5.0)
    line.key, line.endpoint, line.model = "key_1", "chat", "m"
    line.upstream, line.attempts, line.ttft = "a", "a:200", 0.25
    row = usage.row(line, Usage(10, 4, 6, 2), usage.UPSTREAM, 200, 6.5)
    assert row.pop("created_at") > 1e9
    assert row == {
        "request_id": "req_1",
        "key": "key_1",
        "endpoint": "chat",
        "model": "m",
        "upstream": "a",
        "attempts": "a:200",
        "status": 200,
        "code": None,
        "end": "ok",
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 6,
        "reasoning_tokens": 2,
        "usage_source": "upstream",
        "ttft_ms": 250,
        "total_ms": 1500,
        "cost": None,
    }
    unknown = made()
    assert [unknown[name] for name in row if name.endswith("_tokens")] == [None] * 4
    assert unknown["ttft_ms"] is None


def test_counts_of_0_are_not_null():
    row = usage.row(Line("req_1", "POST", PATH), Usage(), usage.UPSTREAM, 200, 6.5)
    assert (row["input_tokens"], row["output_tokens"]) == (0, 0)


def test_row_has_the_columns_of_its_table():
    assert set(made()) == {column.name for column in table.columns} - {"id"}


@pytest.mark.parametrize("stream", [False, True])
def test_answer_is_one_row_with_what_the_upstream_counted(client, rows, stream):
    post(client, {**CHAT, "stream": stream})
    (row,) = rows()
    assert (row["status"], row["end"], row["code"]) == (200, "ok", None)
    assert (row["usage_source"], row["model"], row["upstream"]) == ("upstream", "gpt-test", "mock")
    assert row["input_tokens"] > 0 and row["output_tokens"] > 0
    assert row["attempts"] == "mock:200"
    assert (row["ttft_ms"] is not None) == stream
    assert "secret" not in str(row)


def test_embeddings_and_responses_have_rows_too(client, rows):
    post(client, {"model": "gpt-test", "input": "x"}, "/v1/embeddings")
    post(client, {"model": "gpt-test", "input": "x"}, "/v1/responses")
    assert [(row["endpoint"], row["usage_source"]) for row in rows()] == [
        ("embeddings", "upstream"),
        ("responses", "upstream"),
    ]


@pytest.mark.parametrize(
    "model, code",
    [
        ("mock-close-after-3", "upstream_reset"),
        ("mock-error-after-3", None),
        ("mock-bad-json-after-3", "upstream_bad_response"),
    ],
)
def test_stream_that_broke_is_estimated(client, rows, model, code):
    post(client, {**CHAT, "model": model, "stream": True})
    (row,) = rows()
    assert (row["status"], row["end"], row["usage_source"]) == (200, "error", "estimated")
    assert row["input_tokens"] > 20 and row["output_tokens"] == 3
    assert row["code"] == code if code else row["code"]


def test_stream_whose_client_left_is_estimated_and_cancelled(client, rows):
    body = {**CHAT, "model": "mock-stall-after-3", "stream": True}
    answer = client.post(PATH, json=body, buffered=False)
    next(iter(answer.response))
    answer.close()
    (row,) = rows()
    assert (row["status"], row["end"], row["usage_source"]) == (200, "cancelled", "estimated")
    assert row["output_tokens"] >= 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model, status, code, attempts",
    [
        ("mock-401", 502, "upstream_auth_failed", "mock:401"),
        ("mock-garbage", 502, "upstream_bad_response", "mock:bad"),
        ("mock-400", 400, None, "mock:400"),
        ("mock-429-9999", 429, None, "mock:429"),
    ],
)
def test_call_that_failed_is_one_row_without_counts(
    client, rows, model, status, code, attempts, stream
):
    post(client, {**CHAT, "model": model, "stream": stream})
    (row,) = rows()
    assert (row["status"], row["end"], row["usage_source"]) == (status, "error", "absent")
    assert (row["input_tokens"], row["output_tokens"]) == (None, None)
    assert row["attempts"] == attempts
    assert row["code"] == code if code else row["code"]


def test_call_with_several_tries_is_one_row(app, client, rows, upstream):
    app.extensions["gateway"].router.rand = lambda: 0.0
    upstream.enqueue(mock.error(503, "busy"), mock.error(503, "busy"))
    post(client, CHAT)
    (row,) = rows()
    assert (row["attempts"], row["status"]) == ("mock:503,mock:503,mock:200", 200)


SAID = "é" * 40  # 80 bytes, 20 tokens
MESSAGE = {"role": "assistant", "content": SAID}
CALLS = [{"type": "function", "id": "c", "function": {"name": "f", "arguments": SAID}}]
OUTPUT = {"type": "message", "content": [{"type": "output_text", "text": SAID}]}
SILENT = {
    "chat": (PATH, {"choices": [{"message": MESSAGE, "logprobs": {"content": [{"token": "x"}]}}]}),
    "tools": (PATH, {"choices": [{"message": {"content": None, "tool_calls": CALLS}}]}),
    "nothing": (PATH, {"choices": [{"message": {"role": "assistant", "content": ""}}]}),
    "responses": ("/v1/responses", {"object": "response", "output": [OUTPUT], "text": {"x": SAID}}),
    "embeddings": ("/v1/embeddings", {"data": [{"embedding": [0.5] * 99}]}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SILENT)
def test_whole_answer_that_counts_nothing_is_estimated(client, rows, upstream, name, stream):
    path, answer = SILENT[name]
    body = CHAT if path == PATH else {"model": "gpt-test", "input": "Say something secret"}
    if stream and name != "embeddings":
        body = {**body, "stream": True}
    upstream.enqueue(mock.json({"object": "x", **answer}))
    post(client, body, path)
    (row,) = rows()
    sent = len(upstream.requests[-1].body)
    assert (row["usage_source"], row["input_tokens"]) == ("estimated", sent // 4)
    assert row["output_tokens"] == (0 if name in ("nothing", "embeddings") else 20)
    assert row["cached_tokens"] == row["reasoning_tokens"] == 0


@pytest.mark.parametrize("body", [{}, {"model": "nope"}, {"model": "gpt-test"}])
def test_request_that_was_never_a_call_has_no_row(client, rows, body):
    post(client, body)
    client.get("/v1/models").close()
    assert rows() == []


def test_what_is_left_is_written_when_the_services_close(settings, app, client):
    post(client, CHAT)
    app.extensions["gateway"].close()
    database = Database(settings.server.database_url)
    assert len(read(database)) == 1
    database.close()
