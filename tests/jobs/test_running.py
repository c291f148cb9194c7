"""One job from claimed to ended: what is asked of the upstream, and what its row says then."""

import time

import orjson
import pytest

from gateway import errors, sse
from gateway.jobs import running as runs
from gateway.jobs.running import Running
from gateway.jobs.store import nothing
from gateway.key import Key
from gateway.mock import bodies, chat, json, responses, stream
from tests.jobs.conftest import KEY_ID, asked

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}
OWN = ("id", "created", "created_at", "completed_at", "annotations")


def meant(value):
    """Return a body without what differs from call to call."""
    if isinstance(value, list):
        return [meant(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {name: meant(inner) for name, inner in value.items() if name not in OWN}


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"stream": False}], ids=str)
@pytest.mark.parametrize(
    ("endpoint", "model"),
    [
        ("chat", "gpt-test"),
        ("chat", "whole-only"),
        ("chat", "mock-json"),
        ("chat", "mock-odd-sse"),
        ("responses", "gpt-test"),
        ("responses", "chat-only"),
        ("responses", "mock-careless"),
        ("embeddings", "gpt-test"),
    ],
)
def test_result_is_the_body_that_a_call_without_stream_is_answered(
    desk, client, endpoint, model, more
):
    given = {"model": model, **asked(endpoint)}
    direct = client.post(PATHS[endpoint], json=given).json
    row = desk.run(endpoint, **{**given, **more})

    assert (row.status, row.result_status, row.error) == ("completed", 200, None)
    assert meant(orjson.loads(row.result)) == meant(direct)
    assert orjson.loads(row.usage) == direct["usage"]


def test_several_choices_come_back(desk):
    row = desk.run(n=3)
    choices = orjson.loads(row.result)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]


@pytest.mark.parametrize(
    ("endpoint", "payload", "sent"),
    [
        ("chat", {}, (True, {"include_usage": True})),
        ("chat", {"stream": False, "stream_options": {"x": 1}}, (True, {"include_usage": True})),
        (
            "chat",
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            (True, {"include_obfuscation": True, "include_usage": True}),
        ),
        ("chat", {"model": "whole-only", "stream_options": {"x": 1}}, (None, None)),
        ("chat", {"modalities": ["text", "audio"], "stream": True}, (None, None)),
        ("chat", {"audio": {"voice": "x", "format": "wav"}}, (None, None)),
        ("responses", {}, (True, None)),
        ("responses", {"background": True, "stream": True}, (True, None)),
        ("responses", {"modalities": 5}, (True, None)),
        ("responses", {"model": "chat-only"}, (True, {"include_usage": True})),
        ("embeddings", {}, (None, None)),
        ("chat", {"model": "whole-first"}, (None, None)),
    ],
)
def test_upstream_is_asked_for_a_stream_where_it_can_give_one(desk, endpoint, payload, sent):
    row = desk.run(endpoint, **payload)
    asked = desk.upstream.requests[-1].json

    assert row.status == "completed"
    assert (asked.get("stream"), asked.get("stream_options")) == sent
    assert "background" not in asked


@pytest.mark.parametrize("model", ["mock-no-stream", "stream-first"])
def test_call_whose_stream_was_refused_is_made_whole(desk, model):
    before = desk.upstream.received
    row = desk.run(model=model)

    assert row.status == "completed"
    requests = desk.upstream.requests[before:]
    assert requests[0].json["stream"] is True
    assert requests[-1].json.get("stream") is not True


@pytest.mark.parametrize(
    "model",
    ["mock-400", "mock-401", "mock-429", "mock-quota", "mock-503", "mock-500-html", "mock-close"]
    + ["mock-context-length", "mock-hang", "mock-garbage", "nope"],
)
def test_error_is_the_one_that_a_client_would_have_heard(desk, client, model):
    direct = client.post(PATHS["chat"], json={"model": model, "stream": True, **asked("chat")})
    desk.services.router.breakers.clear()
    row = desk.run(model=model)

    assert (row.status, row.result_status, row.result) == ("failed", direct.status_code, None)
    assert orjson.loads(row.error) == direct.json["error"]
    (line,) = [line for line in desk.lines if line["request_id"] == row.request_id]
    assert (line["end"], line["code"]) == ("error", direct.json["error"]["code"])
    assert line["status"] == direct.status_code


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("mock-cut-after-3", 502, "upstream_reset"),
        ("mock-end-after-3", 502, "upstream_reset"),
        ("mock-stall-after-3", 504, "upstream_timeout"),
        ("mock-bad-json-after-3", 502, "upstream_bad_response"),
    ],
)
def test_answer_that_breaks_off_is_a_failure_whose_usage_is_estimated(
    desk, endpoint, model, status, code
):
    row = desk.run(endpoint, model=model)

    assert (row.status, row.result_status, row.result) == ("failed", status, None)
    assert orjson.loads(row.error)["code"] == code
    (used,) = desk.usage(row.request_id)
    assert (used["usage_source"], used["end"]) == ("estimated", "error")
    assert (used["status"], used["code"]) == (status, code)
    assert used["output_tokens"] > 0


def test_length_is_completed_for_a_chat_and_incomplete_for_a_response(desk):
    desk.upstream.enqueue(cut_short())
    assert desk.run("chat").status == "completed"
    desk.upstream.enqueue(cut_short())
    row = desk.run("responses", model="chat-only")
    assert (row.status, row.result_status, row.error) == ("incomplete", 200, None)
    assert orjson.loads(row.result)["status"] == "incomplete"


def cut_short():
    *said, last = bodies.chunks("Hello")
    ended = {**last, "choices": [{**last["choices"][0], "finish_reason": "length"}]}
    return stream([*said, ended])


@pytest.mark.parametrize("whole", [False, True])
def test_response_that_failed_is_a_failed_job(desk, whole):
    done = {**bodies.response("Hello"), "status": "failed"}
    done["error"] = {"code": "server_error", "message": "It broke."}
    begun = bodies.response_events("Hello")[:3]
    events = [*begun, {"type": "response.failed", "sequence_number": 3, "response": done}]
    desk.upstream.enqueue(json(done) if whole else stream(events))
    row = desk.run("responses")

    assert (row.status, row.result) == ("failed", None)
    assert orjson.loads(row.error) == {
        "message": "It broke.",
        "type": "upstream_error",
        "param": None,
        "code": "server_error",
    }


def test_one_row_of_usage_and_one_line_in_the_log(desk):
    row = desk.run()

    (used,) = desk.usage(row.request_id)
    counted = orjson.loads(row.usage)
    assert used["output_tokens"] == counted["completion_tokens"] > 0
    assert (used["status"], used["end"], used["usage_source"]) == (200, "ok", "upstream")
    assert (used["key"], used["upstream"], used["endpoint"]) == (KEY_ID, "mock", "chat")
    (line,) = desk.lines
    assert (line["path"], line["method"], line["status"]) == (PATHS["chat"], "POST", 200)
    assert (line["request_id"], line["key"]) == (row.request_id, KEY_ID)
    waiting = [found["request_id"] for found in desk.services.recorder.rows]
    assert row.request_id not in waiting  # it was written with the job's end, and only then


class Store:
    """The store, with some of its answers scripted: a value, or an exception to raise."""

    def __init__(self, store, **script):
        self.store, self.script, self.calls = store, script, []

    def __getattr__(self, name):
        def scripted(*args, **values):
            self.calls.append(name)
            if self.script.get(name):
                found = self.script[name].pop(0)
                if isinstance(found, Exception):
                    raise found
                return found
            return getattr(self.store, name)(*args, **values)

        return scripted


@pytest.fixture
def script(desk, monkeypatch):
    """Return a function that scripts the store's answers."""

    def replace(**answers):
        found = Store(desk.services.jobs, **answers)
        monkeypatch.setattr(desk.services, "jobs", found)
        return found

    return replace


class Sink:
    """Notes what it is told, beside what the store is asked."""

    def __init__(self, notes):
        self.notes, self.blocks = notes, []

    def join(self, turn):
        pass

    def add(self, block):
        self.notes.append("block")
        self.blocks.append(block)

    def end(self, claimed, ended):
        self.notes.append("end")
        self.ended = ended
        return nothing


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_answer_is_noted_before_anything_behind_its_first_event_is_read(desk, script, endpoint):
    store = script()
    desk.upstream.enqueue((chat if endpoint == "chat" else responses)(delay=0.02))
    sink = Sink(store.calls)
    row = desk.run(endpoint, sink=sink)

    assert row.status == "completed"
    first = store.calls.index("block")
    assert store.calls[first - 1] == "answered" and store.calls.count("answered") == 1
    assert store.calls[first:] == ["block"] * len(sink.blocks) + ["end", "finish", "get"]
    assert len(sink.blocks) > 3


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_sink_gets_what_a_client_that_streams_is_sent(desk, client, endpoint):
    given = {**asked(endpoint), "model": "gpt-test", "stream": True}
    if endpoint == "chat":
        given["stream_options"] = {"include_usage": True}
    sent = client.post(PATHS[endpoint], json=given).data
    sink = Sink([])
    desk.run(endpoint, sink=sink, **given)

    ours = [event.type for event in sse.parse(b"".join(sink.blocks))]
    assert ours == [event.type for event in sse.parse(sent)]
    assert sink.ended.status == "completed"


def test_sink_gets_the_events_that_end_a_broken_stream(desk):
    sink = Sink([])
    desk.run("responses", sink=sink, model="mock-cut-after-3")
    last = b"".join(sink.blocks)
    assert b"event: response.failed" in last and last.endswith(sse.DONE)
    assert sink.ended.status == "failed"


def test_whole_call_is_not_noted_before_it_has_ended(desk, script):
    store = script()
    desk.run(model="whole-only")
    assert "answered" not in store.calls


def test_job_that_is_no_longer_ours_at_its_first_event_writes_nothing(desk, script):
    store = script(answered=[False])
    row = desk.run(model="mock-endless-20")

    assert row.status == "in_progress"
    assert "finish" not in store.calls and "release" not in store.calls
    assert desk.lines == [] and desk.usage(row.request_id) == []
    assert desk.upstream.requests[-1].closed.wait(5)


def test_job_that_is_no_longer_ours_at_its_end_leaves_no_line(desk, script):
    script(finish=[False])
    row = desk.run()
    assert row.status == "in_progress"
    assert desk.lines == [] and desk.usage(row.request_id) == []


AWAY = errors.DependencyUnavailable


@pytest.mark.parametrize("name", ["answered", "finish"])
def test_database_that_is_away_is_asked_until_it_answers(desk, script, name, monkeypatch):
    monkeypatch.setattr(runs, "AGAIN", 0.01)
    store = script(**{name: [AWAY(), AWAY(), AWAY()]})
    row = desk.run()

    assert row.status == "completed" and len(desk.usage(row.request_id)) == 1
    assert store.calls.count(name) == 4


def test_end_that_the_database_refuses_becomes_an_error(desk, script):
    script(finish=[ValueError("no such text")])
    row = desk.run()
    assert (row.status, row.result_status) == ("failed", 500)
    assert orjson.loads(row.error)["code"] == "internal_error"


@pytest.mark.parametrize("stop", [runs.CANCELLED, runs.DRAINED, runs.LOST])
@pytest.mark.parametrize(
    ("model", "begun"),
    [("mock-hang", False), ("mock-endless-50", True), ("mock-stall-after-3", True)],
)
def test_job_that_is_stopped(desk, stop, model, begun):
    claimed = desk.claim(model=model)
    before = desk.upstream.received
    running, greenlet = desk.begin(claimed)
    desk.wait(lambda: desk.upstream.received > before)
    request = desk.upstream.requests[-1]
    desk.wait(lambda: running.answered or not begun)
    if stop == runs.CANCELLED:
        desk.services.jobs.cancel(claimed.key, claimed.id)
    running.stop(stop)
    greenlet.join(5)

    assert greenlet.dead and request.closed.wait(5)
    row, used = desk.row(claimed), desk.usage(claimed.request_id)
    if stop == runs.LOST:
        assert (row.status, used, desk.lines) == ("in_progress", [], [])
    elif stop == runs.CANCELLED:
        assert (row.status, row.result_status) == ("cancelled", None)
        assert orjson.loads(row.error)["code"] == "cancelled"
        assert [(u["end"], u["code"], u["status"]) for u in used] == [
            ("cancelled", "cancelled", 499)
        ]
        assert used[0]["usage_source"] == ("estimated" if begun else "absent")
    elif begun:
        assert (row.status, orjson.loads(row.error)["code"]) == ("failed", "worker_lost")
        assert [(u["end"], u["code"]) for u in used] == [("error", "worker_lost")]
    else:
        assert (row.status, row.attempts, used) == ("queued", 0, [])


def test_stop_before_the_call_has_begun_is_obeyed(desk):
    before = desk.upstream.received
    running = Running(desk.services, claimed := desk.claim())
    running.stop(runs.CANCELLED)
    running.run()
    assert desk.row(claimed).status == "cancelled"
    assert desk.upstream.received == before


def test_completion_that_comes_first_stays(desk):
    claimed = desk.claim()
    running = Running(desk.services, claimed)
    running.run()
    running.stop(runs.CANCELLED)
    desk.services.jobs.cancel(claimed.key, claimed.id)
    assert desk.row(claimed).status == "completed"


class Ticket:
    def __init__(self, error):
        self.error, self.settled = error, 0

    def reserve(self, call):
        self.size = call.size
        if self.error:
            raise self.error

    def settle(self, *args):
        self.settled += 1


@pytest.fixture
def limited(desk, monkeypatch):
    """Return a function that gives every job's key a ticket."""

    def give(error=None):
        ticket, key = Ticket(error), Key(KEY_ID, "k", rpm=1)
        monkeypatch.setattr(desk.services.keys, "working", lambda id: key)
        monkeypatch.setattr(desk.services.limits, "admitted", lambda key: ticket)
        return ticket

    return give


@pytest.mark.parametrize("error", [errors.RateLimited, errors.ConcurrencyLimited])
def test_job_whose_key_is_at_its_limit_waits_in_the_queue(desk, limited, error):
    limited(error(retry_after=20))
    before, now = desk.upstream.received, time.time()
    row = desk.run()

    assert (row.status, row.attempts, desk.upstream.received) == ("queued", 0, before)
    assert desk.usage(row.request_id) == [] and desk.lines == []
    assert desk.services.jobs.claim("me") is None
    desk.services.jobs.clock = lambda: now + 21
    try:
        assert desk.services.jobs.claim("me").id == row.id
    finally:
        desk.services.jobs.clock = time.time


def test_job_whose_key_has_spent_its_budget_fails(desk, limited):
    limited(errors.InsufficientQuota())
    row = desk.run()
    assert (row.status, row.result_status) == ("failed", 429)
    assert orjson.loads(row.error)["type"] == "insufficient_quota"


def test_ticket_is_settled_and_knows_the_size_of_the_body(desk, limited):
    ticket = limited()
    assert desk.run().status == "completed"
    assert ticket.settled == 1 and ticket.size > 50


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "invalid_api_key"),
        (Key(KEY_ID, "k", models=("other-*",)), "model_not_found"),
        (Key(KEY_ID, "k", endpoints=("embeddings",)), "endpoint_not_allowed"),
    ],
)
def test_key_that_may_no_longer_do_this_fails_the_job(desk, monkeypatch, key, code):
    monkeypatch.setattr(desk.services.keys, "working", lambda id: key)
    before = desk.upstream.received
    row = desk.run()
    assert (row.status, orjson.loads(row.error)["code"]) == ("failed", code)
    assert desk.upstream.received == before


@pytest.mark.parametrize("change", ["revoked", "expired"])
def test_key_that_ends_while_its_job_waits_fails_the_job(desk, change):
    store = desk.services.keys
    expires = {"expires_at": time.time() + 0.2} if change == "expired" else {}
    key, _ = store.create("mine", **expires)
    claimed = desk.claim(key=key.id)
    if change == "revoked":
        store.revoke(key.id)
    else:
        time.sleep(0.25)
    Running(desk.services, claimed).run()
    assert orjson.loads(desk.row(claimed).error)["code"] == "invalid_api_key"


@pytest.mark.parametrize("model", ["gpt-test", "chat-only", "kept", "whole-only"])
@pytest.mark.parametrize("streams", [True, False])
def test_background_response_has_the_job_s_id_and_is_stored(desk, monkeypatch, model, streams):
    if model == "whole-only":
        monkeypatch.setattr(desk.services.upstreams["whole"], "endpoints", {"chat"})
    name = {"gpt-test": "mock", "chat-only": "chat", "kept": "keeper", "whole-only": "whole"}[model]
    if name != "whole":
        monkeypatch.setattr(desk.services.upstreams[name], "streams", streams)
    id = f"resp_{time.monotonic_ns():032x}"
    row = desk.run("responses", id=id, background=True, model=model)

    assert row.status == "completed" and row.id == id
    assert orjson.loads(row.result)["id"] == id
    stored = desk.services.stored.get(KEY_ID, id)
    assert stored["id"] == id and stored["status"] == "completed"


@pytest.mark.parametrize(("stop", "stored"), [(runs.CANCELLED, "cancelled"), (runs.DRAINED, None)])
def test_what_had_come_of_a_response_is_stored_where_it_was_cancelled(desk, stop, stored):
    id = f"resp_{time.monotonic_ns():032x}"
    desk.upstream.enqueue(responses("word " * 500, delay=0.02))
    claimed = desk.claim("responses", id=id, background=True)
    running, greenlet = desk.begin(claimed)
    desk.wait(lambda: running.answered)
    running.stop(stop)
    greenlet.join(5)

    found = desk.services.stored.get(KEY_ID, id)
    assert (found and found["status"]) == stored
