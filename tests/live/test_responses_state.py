"""Stored responses under gunicorn with two workers, as openai-python uses them."""

import contextlib
import json
import os
import signal
import sqlite3
import time

import openai
import pytest

from gateway import mock
from gateway.mock import bodies
from tests.serving import KEY, Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

OTHER = "sk-" + "o" * 12 + "-" + "k" * 43
MORE = """
[[upstream]]
name = "chat"
base_url = "URL"
endpoints = ["chat"]

[[model]]
id = "chat-only"
upstreams = [{ name = "chat", model = "upstream-model" }]

[retry]
attempts = 0
"""
MODELS = ["gpt-test", "chat-only"]  # native and translated
TOOL = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CITIES = {"call_1": "Paris", "call_2": "Rome"}


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("gateway")
    path = write_config(folder, upstream.url, more=MORE.replace("URL", upstream.url))
    environ = {"GATEWAY_API_KEYS": f"{KEY},{OTHER}"}
    with Gateway(path, workers=2, environ=environ) as running:
        yield running


def client_of(gateway, key=KEY):
    return openai.OpenAI(base_url=gateway.url, api_key=key, max_retries=0, timeout=10)


@pytest.fixture
def client(gateway):
    with client_of(gateway) as found:
        yield found


@contextlib.contextmanager
def stopped(pid):
    """Keep a process from running, so that another one has to answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def finished(client, stream, **asked):
    if not stream:
        return client.responses.create(**asked)
    with client.responses.create(**asked, stream=True) as events:
        *_, last = events
    return last.response


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_response_is_read_on_the_other_worker_at_once(gateway, stream, model):
    one, two = gateway.worker_pids()
    with stopped(one), client_of(gateway) as client:
        made = finished(client, stream, model=model, input="Say this is a test")
    with stopped(two), client_of(gateway) as client:
        found = client.responses.retrieve(made.id)
        again = client.responses.create(model=model, input="Go on", previous_response_id=made.id)

    assert found == made and found.store is True
    assert (again.output_text, again.previous_response_id) == ("Go on", made.id)


def test_response_outlives_the_worker_that_answered_it(gateway):
    one, two = gateway.worker_pids()
    with stopped(two), client_of(gateway) as client:
        made = finished(client, True, model="gpt-test", input="Say this is a test")
        os.kill(one, signal.SIGKILL)
    with client_of(gateway) as client:
        assert client.responses.retrieve(made.id) == made
    deadline = time.monotonic() + 10
    while len(gateway.worker_pids()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_input_items_are_paged_through(client):
    given = [{"role": "user", "content": str(number)} for number in range(7)]
    first = client.responses.create(model="gpt-test", input=given)
    second = client.responses.create(model="gpt-test", input="last", previous_response_id=first.id)

    pages = client.responses.input_items.list(second.id, limit=2, order="asc")
    texts = [item.content[0].text for item in pages]
    assert texts == [*map(str, range(7)), "6", "last"]
    assert [i.content[0].text for i in client.responses.input_items.list(second.id)] == texts[::-1]
    with pytest.raises(openai.BadRequestError) as found:
        client.responses.input_items.list(second.id, limit=101)
    assert (found.value.code, found.value.param) == ("integer_above_max_value", "limit")


def test_deleted_response_is_gone_for_everybody(client):
    made = client.responses.create(model="gpt-test", input="Hi")
    assert client.responses.delete(made.id) is None

    for ask in (
        client.responses.retrieve,
        client.responses.delete,
        client.responses.cancel,
        client.responses.input_items.list,
        lambda id: client.responses.create(model="gpt-test", input="x", previous_response_id=id),
    ):
        with pytest.raises(openai.NotFoundError) as found:
            ask(made.id)
        assert found.value.code == "response_not_found"


def test_response_of_another_key_is_not_found(gateway, client):
    made = client.responses.create(model="gpt-test", input="Hi")
    with client_of(gateway, OTHER) as stranger, pytest.raises(openai.NotFoundError) as found:
        stranger.responses.retrieve(made.id)

    assert found.value.code == "response_not_found"
    assert found.value.body["message"] == f"Response with id '{made.id}' not found."
    assert client.responses.retrieve(made.id) == made


def test_response_that_ran_here_is_no_background_one(client):
    made = client.responses.create(model="gpt-test", input="Hi")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id)


def calling(request):
    """Call the weather twice at once, whichever endpoint and form was asked for."""
    if request.path.endswith("/responses"):
        output = [
            {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": "weather",
             "arguments": json.dumps({"city": city}), "status": "completed"}
            for id, city in CITIES.items()
        ]  # fmt: skip
        body = {**bodies.response(settings=request.fields), "output": output}
    else:
        body = bodies.completion(model=request.fields["model"])
        body["choices"][0]["finish_reason"] = "tool_calls"
        body["choices"][0]["message"].update(
            content=None,
            tool_calls=[
                {"id": id, "type": "function",
                 "function": {"name": "weather", "arguments": json.dumps({"city": city})}}
                for id, city in CITIES.items()
            ],
        )  # fmt: skip
    yield from mock.json(body)(request)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_agent_with_two_parallel_tools_ends_right_over_three_turns(client, upstream, stream, model):
    upstream.enqueue(mock.reply("Which cities?"), calling, mock.reply("Paris is hot, Rome is not."))
    asked = {"model": model, "tools": [TOOL], "instructions": "Be brief."}
    first = finished(client, stream, input="Weather?", **asked)
    second = finished(
        client, stream, input="Paris and Rome.", previous_response_id=first.id, **asked
    )
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"{call.arguments}!"}
        for call in second.output
        if call.type == "function_call"
    ]
    third = finished(client, stream, input=results, previous_response_id=second.id, **asked)

    assert third.output_text == "Paris is hot, Rome is not."
    assert [call.call_id for call in second.output] == list(CITIES)
    assert told(upstream.requests[-1].json) == [
        ("user", "Weather?"), ("assistant", "Which cities?"), ("user", "Paris and Rome."),
        *[("call", id) for id in CITIES], *[("result", id) for id in CITIES],
    ]  # fmt: skip
    kinds = [item.type for item in client.responses.input_items.list(third.id, order="asc")]
    assert kinds == ["message"] * 3 + ["function_call"] * 2 + ["function_call_output"] * 2


def told(sent):
    """Return who said what in a request to an upstream, in either form."""
    found = []
    for item in sent.get("input") or sent["messages"]:
        role, kind = item.get("role"), item.get("type")
        if role in ("user", "assistant") and item["content"]:
            found.append((role, item["content"]))
        found += [("call", made["id"]) for made in item.get("tool_calls", ())]
        if kind == "function_call":
            found.append(("call", item["call_id"]))
        if role == "tool" or kind == "function_call_output":
            found.append(("result", item.get("tool_call_id") or item["call_id"]))
    return found


@pytest.mark.parametrize("model", MODELS)
def test_client_that_leaves_a_stream_finds_what_had_come(client, upstream, model):
    upstream.enqueue(mock.reply("one two three four five six seven", delay=0.15))
    said = ""
    with client.responses.create(model=model, input="Count", stream=True) as events:
        for event in events:
            if event.type == "response.created":
                id = event.response.id
            if event.type == "response.output_text.delta":
                said += event.delta
                if said.endswith("two"):
                    break

    found = waited_for(client, id)
    assert (found.status, found.store) == ("cancelled", True)
    assert found.output_text.startswith(said)
    assert found.output_text != "one two three four five six seven"
    assert found.output[0].status == "incomplete"
    again = client.responses.create(model=model, input="Go on", previous_response_id=id)
    assert again.status == "completed"
    assert told(upstream.requests[-1].json)[1] == ("assistant", found.output_text)


def waited_for(client, id, seconds=3):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return client.responses.retrieve(id)
        except openai.NotFoundError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("model", ["mock-cut-after-6", "mock-error-after-6"])
def test_broken_stream_is_found_as_failed(client, model):
    made = finished(client, True, model=model, input="Say this is a test")
    found = client.responses.retrieve(made.id)

    assert found == made and found.status == "failed" and found.error.code
    assert "Say this is a test".startswith(found.output_text) and found.output_text


def test_responses_are_gone_after_their_retention(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url, more="[responses]\nretention_hours = 0.0005\n")
    with Gateway(path, workers=2) as gateway, client_of(gateway) as client:
        ids = [client.responses.create(model="gpt-test", input="my secret").id for _ in range(5)]
        assert client.responses.retrieve(ids[-1]).id == ids[-1]
        deadline = time.monotonic() + 15
        while rows(tmp_path / "gateway.db"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(ids[-1])
        assert not [line for line in gateway.log() if line["level"] in ("warning", "error")]


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("select count(*) from responses").fetchone()[0]


def test_prompts_and_answers_are_in_no_log_and_no_other_table(gateway, client):
    client.responses.create(model="gpt-test", input="mellon, said he")
    assert "mellon" not in gateway.log_path.read_text()
    with contextlib.closing(sqlite3.connect(gateway.folder / "gateway.db")) as connection:
        assert not [line for line in dumped(connection) if "mellon" in line]


def dumped(connection):
    for table in ("keys", "usage"):
        for row in connection.execute(f"select * from {table}"):
            yield repr(row)
