"""Stored responses: what is kept, who may read it, and what the next turn builds on."""

import contextlib
import os
import re
import sqlite3

import pytest

from gateway import config, create_app, database, mock, stored
from gateway.mock import bodies
from tests.endpoints.refused import refused
from tests.raw_client import events
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream

RESPONSES = "/v1/responses"
GOOD = {"model": "gpt-test", "input": "Say this is a test"}
UNKNOWN = "resp_" + "0" * 32
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
MORE = """
[[upstream]]
name = "keeper"
base_url = "URL"
endpoints = ["chat", "responses"]
stateful = true

[[upstream]]
name = "chat"
base_url = "URL"
endpoints = ["chat"]

[[model]]
id = "kept"
upstreams = [{ name = "keeper", model = "echo" }]

[[model]]
id = "either"
upstreams = [{ name = "mock", model = "echo" }, { name = "keeper", model = "echo", priority = 1 }]

[[model]]
id = "chat-only"
upstreams = [{ name = "chat", model = "echo" }]

[[model]]
id = "twins"
upstreams = [{ name = "mock", model = "echo" }, { name = "chat", model = "echo" }]

[retry]
attempts = 0
"""


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def start(tmp_path_factory, upstream):
    """Return a function that makes an application; `more` is added to its configuration."""
    apps = []

    def make(more=""):
        folder = tmp_path_factory.mktemp("app")
        path = write_config(folder, upstream.url, more=MORE.replace("URL", upstream.url) + more)
        settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
        database.upgrade(settings.server.database_url)
        apps.append(create_app(settings))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["gateway"].close()


@pytest.fixture(scope="module")
def app(start):
    return start()


def client_of(app, key=KEY):
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return found


@pytest.fixture
def client(app):
    return client_of(app)


@pytest.fixture
def other(app):
    """A client with another key."""
    return client_of(app, app.extensions["gateway"].keys.create("other")[1])


def ask(client, **more):
    answer = client.post(RESPONSES, json={**GOOD, **more})
    assert answer.status_code == 200, answer.data
    return events(answer.data)[-2]["response"] if more.get("stream") else answer.json


def get(client, id, rest=""):
    return client.get(f"{RESPONSES}/{id}{rest}")


def kept(client, found):
    answer = get(client, found["id"])
    assert answer.status_code == 200
    return answer.json


def gone(client, id):
    error = refused(get(client, id), 404, "response_not_found")
    assert error["message"] == f"Response with id '{id}' not found."


def answering(*output, **more):
    """Return an answer of these output items, whole or streamed as it is asked for."""

    def answer(request):
        found = {**bodies.response(settings=request.fields), "output": list(output), **more}
        yield from mock.json(found)(request)

    return answer


def call(number, city):
    return {
        "type": "function_call", "id": f"fc_theirs_{number}", "call_id": f"call_{number}",
        "name": "weather", "arguments": f'{{"city":"{city}"}}', "status": "completed",
    }  # fmt: skip


def result(number, text):
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": text}


def user(text):
    return {"role": "user", "content": text}


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [{}, {"store": True}, {"store": None}])
def test_stored_response_is_read_as_it_was_answered(client, model, stream, store):
    found = ask(client, model=model, stream=stream, metadata={"a": "b"}, **store)

    assert (found["store"], found["status"]) == (True, "completed")
    assert kept(client, found) == found
    assert get(client, found["id"]).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
@pytest.mark.parametrize("stream", [False, True])
def test_response_that_is_not_to_be_stored_is_not(client, upstream, app, model, stream):
    found = ask(client, model=model, stream=stream, store=False, input="a secret of mine")

    assert found["store"] is False
    gone(client, found["id"])
    path = app.extensions["gateway"].database.url.database
    with sqlite3.connect(path) as connection:
        rows = connection.execute("select input, output, rest from responses").fetchall()
    connection.close()
    assert not any(b"a secret of mine" in field for row in rows for field in row)


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
def test_response_can_be_read_before_its_client_hears_that_it_has_ended(client, model):
    answer = client.post(RESPONSES, json={**GOOD, "model": model, "stream": True}, buffered=False)
    id = None
    for block in answer.response:
        for event in events(block):
            if event == "[DONE]":
                continue
            id = event.get("response", {}).get("id", id)
            if event["type"] == "response.completed":
                assert get(client, id).json == event["response"]
    assert id


def test_configuration_says_what_is_stored_by_default(start, upstream):
    client = client_of(start("[responses]\nstore = false\n"))

    found = ask(client)
    assert found["store"] is False
    gone(client, found["id"])
    assert ask(client, model="kept") and upstream.requests[-1].json["store"] is False
    assert kept(client, ask(client, store=True))["store"] is True


@pytest.mark.parametrize("method", ["get", "delete", "input_items", "cancel"])
def test_response_of_another_key_is_not_found(client, other, method):
    id = ask(client)["id"]
    ways = {
        "get": lambda: get(other, id),
        "delete": lambda: other.delete(f"{RESPONSES}/{id}"),
        "input_items": lambda: get(other, id, "/input_items"),
        "cancel": lambda: other.post(f"{RESPONSES}/{id}/cancel"),
    }
    refused(ways[method](), 404, "response_not_found")
    assert get(client, id).status_code == 200


def test_history_of_another_key_is_not_found(client, other):
    id = ask(client)["id"]
    answer = other.post(RESPONSES, json={**GOOD, "previous_response_id": id})
    refused(answer, 404, "response_not_found", "previous_response_id")


@pytest.mark.parametrize(
    ("method", "rest"), [("get", ""), ("delete", ""), ("get", "/input_items"), ("post", "/cancel")]
)
def test_stored_responses_need_a_key(app, method, rest):
    answer = getattr(app.test_client(), method)(f"{RESPONSES}/{UNKNOWN}{rest}")
    refused(answer, 401, "invalid_api_key")


@pytest.mark.parametrize("id", [UNKNOWN, "resp_x", "%00", "%F0%9F%98%80", "x" * 3000])
def test_unknown_id_is_not_found(client, id):
    refused(get(client, id), 404, "response_not_found")


def test_deleted_response_is_gone(client):
    id = ask(client)["id"]
    answer = client.delete(f"{RESPONSES}/{id}")

    assert answer.json == {"id": id, "object": "response", "deleted": True}
    gone(client, id)
    refused(client.delete(f"{RESPONSES}/{id}"), 404, "response_not_found")
    answer = client.post(RESPONSES, json={**GOOD, "previous_response_id": id})
    refused(answer, 404, "response_not_found", "previous_response_id")


def test_only_background_responses_are_cancelled(client):
    id = ask(client)["id"]
    error = refused(client.post(f"{RESPONSES}/{id}/cancel"), 400, "invalid_value")
    assert error["message"] == "Cannot cancel a synchronous response."
    assert get(client, id).json["status"] == "completed"
    refused(client.post(f"{RESPONSES}/{UNKNOWN}/cancel"), 404, "response_not_found")


def test_stored_response_is_not_streamed_again(client):
    id = ask(client)["id"]
    refused(
        get(client, id, "?stream=true&starting_after=3"), 400, "unsupported_parameter", "stream"
    )
    assert get(client, id, "?stream=false&include=reasoning.encrypted_content").status_code == 200


def test_incomplete_response_is_stored_as_it_ended(client, upstream):
    details = {"reason": "max_output_tokens"}
    upstream.enqueue(answering(status="incomplete", incomplete_details=details))
    found = kept(client, ask(client))

    assert (found["status"], found["incomplete_details"]) == ("incomplete", details)


@pytest.mark.parametrize("model", ["mock-cut-after-6", "mock-error-after-6"])
def test_failed_stream_is_stored_with_its_error_and_what_had_come(client, model):
    found = ask(client, model=model, stream=True)
    assert kept(client, found) == found

    assert (found["status"], found["store"]) == ("failed", True)
    assert set(found["error"]) == {"code", "message"}
    assert found["output"][0]["status"] == "incomplete"
    assert GOOD["input"].startswith(found["output"][0]["content"][0]["text"])
    assert found["output"][0]["content"][0]["text"]


def leave(client, upstream, model="gpt-test"):
    """Leave a stream after its first words; return the response's id and these words."""
    upstream.enqueue(mock.reply(GOOD["input"], delay=0.1))
    answer = client.post(RESPONSES, json={**GOOD, "model": model, "stream": True}, buffered=False)
    id, said, blocks = None, "", iter(answer.response)
    while not said:
        for event in events(next(blocks)):
            id = event.get("response", {}).get("id", id)
            said += event.get("delta", "")
    answer.close()
    return id, said


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
def test_client_that_leaves_finds_what_had_come(client, upstream, model):
    id, said = leave(client, upstream, model)

    found = get(client, id).json
    assert (found["status"], found["store"], found["error"]) == ("cancelled", True, None)
    assert [item["status"] for item in found["output"]] == ["incomplete"]
    assert found["output"][0]["content"][0]["text"] == said
    assert said and GOOD["input"].startswith(said) and said != GOOD["input"]


@contextlib.contextmanager
def away(path):
    """Take a SQLite file away for a while."""
    os.rename(path, f"{path}.away")
    yield
    os.rename(f"{path}.away", path)


def count(connection):
    return len(connection.exec_driver_sql("select id from responses").all())


# History


@pytest.mark.parametrize("stream", [False, True])
def test_next_turn_is_told_all_that_was_said_before(client, upstream, stream):
    first = ask(client, input="One.", stream=stream, instructions="Be brief.")
    second = ask(client, input=[user("Two.")], stream=stream, previous_response_id=first["id"])
    third = ask(client, input="Three.", stream=stream, previous_response_id=second["id"])

    sent = upstream.requests[-1].json
    assert [(item["role"], item["content"]) for item in sent["input"]] == [
        ("user", "One."), ("assistant", "One."), ("user", "Two."), ("assistant", "Two."),
        ("user", "Three."),
    ]  # fmt: skip
    assert sent["store"] is False and "previous_response_id" not in sent
    assert "instructions" not in sent
    assert "id" not in sent["input"][1]
    assert third["previous_response_id"] == second["id"]
    assert kept(client, third) == third


@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
def test_parallel_tool_calls_and_thoughts_are_part_of_the_past(client, upstream, model):
    thought = {"type": "reasoning", "id": "rs_theirs", "content": None, "encrypted_content": None,
               "summary": [{"type": "summary_text", "text": "Two cities."}]}  # fmt: skip
    upstream.enqueue(answering(thought, call(1, "Paris"), call(2, "Rome")))
    first = ask(client, input="Weather?", tools=TOOLS)
    more = {"model": model, "tools": TOOLS}
    ask(
        client,
        input=[result(2, "hot"), result(1, "cold")],
        previous_response_id=first["id"],
        **more,
    )

    sent = upstream.requests[-1].json
    if model == "gpt-test":
        bare = [{k: v for k, v in call(*given).items() if k != "id"}
                for given in ((1, "Paris"), (2, "Rome"))]  # fmt: skip
        assert sent["input"][1:] == [
            {"type": "reasoning", "summary": thought["summary"]}, *bare,
            result(2, "hot"), result(1, "cold"),
        ]  # fmt: skip
    else:
        asked, said, *results = sent["messages"]
        assert (asked["role"], asked["content"]) == ("user", "Weather?")
        assert [made["id"] for made in said["tool_calls"]] == ["call_1", "call_2"]
        assert [made["content"] for made in results] == ["hot", "cold"]


def test_conversation_forks_at_any_turn(client, upstream):
    first = ask(client, input="One.")
    for text in ("Left.", "Right."):
        ask(client, input=text, previous_response_id=first["id"])
        said = [item["content"] for item in upstream.requests[-1].json["input"]]
        assert said == ["One.", "One.", text]


def test_turn_without_input_goes_on_from_the_past(client, upstream):
    first = ask(client, input="One.")
    body = {"model": "gpt-test", "previous_response_id": first["id"]}
    assert client.post(RESPONSES, json=body).status_code == 200
    assert [item["content"] for item in upstream.requests[-1].json["input"]] == ["One.", "One."]


def test_past_that_is_not_stored_again_stays_as_it_is(client):
    first = ask(client, input="One.")
    second = ask(client, input="Two.", previous_response_id=first["id"], store=False)
    assert second["previous_response_id"] == first["id"]
    gone(client, second["id"])
    assert kept(client, first) == first


def test_cancelled_turn_can_be_gone_on_from(client, upstream):
    id, said = leave(client, upstream)

    ask(client, input="Go on.", previous_response_id=id)
    told = [item["content"] for item in upstream.requests[-1].json["input"]]
    assert told == [GOOD["input"], said, "Go on."]


@pytest.mark.parametrize("id", [UNKNOWN, "resp_x", "\0", ""])
@pytest.mark.parametrize("model", ["gpt-test", "chat-only"])
@pytest.mark.parametrize("stream", [False, True])
def test_unknown_past_is_not_found(client, upstream, id, model, stream):
    received = upstream.received
    body = {**GOOD, "model": model, "stream": stream, "previous_response_id": id}
    answer = client.post(RESPONSES, json=body)
    error = refused(answer, 404, "response_not_found", "previous_response_id")
    shown = id.replace("\0", "\\x00")
    assert error["message"] == f"Previous response with id '{shown}' not found."
    assert upstream.received == received


def test_conversation_that_grew_too_long_is_refused(client, monkeypatch):
    monkeypatch.setattr(stored, "LONGEST", 100)
    body = {**GOOD, "previous_response_id": ask(client)["id"]}
    answer = client.post(RESPONSES, json=body)
    refused(answer, 400, "context_length_exceeded", "previous_response_id")


def test_conversation_keeps_to_one_upstream(client, upstream):
    chosen = set()
    for topic in range(8):
        id, seen = None, set()
        for turn in range(3):
            body = {"model": "twins", "input": f"Topic {topic}, turn {turn}"}
            answer = client.post(
                RESPONSES, json={**body, **({"previous_response_id": id} if id else {})}
            )
            id = answer.json["id"]
            seen.add(answer.headers["x-gateway-upstream"])
        assert len(seen) == 1
        chosen |= seen
    assert chosen == {"mock", "chat"}


# Upstreams that keep their own


def test_stateful_upstream_is_asked_for_what_is_not_held_here(client, upstream):
    found = ask(client, model="kept", previous_response_id="resp_theirs", input="Go on.")

    sent = upstream.requests[-1].json
    assert (sent["previous_response_id"], sent["input"]) == ("resp_theirs", "Go on.")
    assert "store" not in sent
    assert not re.fullmatch("resp_[0-9a-f]{32}", found["id"])
    gone(client, found["id"])


def test_id_that_is_not_held_here_goes_to_the_one_upstream_that_may_know_it(client):
    body = {**GOOD, "model": "either", "previous_response_id": "resp_theirs"}
    assert client.post(RESPONSES, json=body).headers["x-gateway-upstream"] == "keeper"


def test_stateful_upstream_is_told_the_past_that_is_held_here(client, upstream):
    first = ask(client, input="One.")
    ask(client, model="kept", input="Two.", previous_response_id=first["id"])

    sent = upstream.requests[-1].json
    assert [item["content"] for item in sent["input"]] == ["One.", "One.", "Two."]
    assert "previous_response_id" not in sent


def test_stream_of_a_stateful_upstream_is_not_kept_when_its_client_leaves(client, app):
    held = app.extensions["gateway"].database.read(count)
    body = {**GOOD, "model": "kept", "stream": True}
    answer = client.post(RESPONSES, json=body, buffered=False)
    next(iter(answer.response))
    answer.close()
    assert app.extensions["gateway"].database.read(count) == held


# Bounds and outages


@pytest.mark.parametrize("stream", [False, True])
def test_response_that_is_too_large_is_answered_and_says_that_it_is_not_stored(
    client, monkeypatch, stream
):
    monkeypatch.setattr(stored, "LARGEST", 100)
    found = ask(client, stream=stream)

    assert (found["status"], found["store"]) == ("completed", False)
    gone(client, found["id"])


@pytest.mark.parametrize("stream", [False, True])
def test_answer_reaches_its_client_while_the_database_is_away(start, tmp_path, stream):
    app = start()
    client = client_of(app)
    first = ask(client)
    path = app.extensions["gateway"].database.url.database
    app.extensions["gateway"].keys.refresh()
    with away(path):
        found = ask(client, stream=stream)
        assert (found["status"], found["store"]) == ("completed", False)
        body = {**GOOD, "stream": stream, "previous_response_id": first["id"]}
        refused(client.post(RESPONSES, json=body), 503, "dependency_unavailable")
        refused(get(client, first["id"]), 503, "dependency_unavailable")
        refused(client.delete(f"{RESPONSES}/{first['id']}"), 503, "dependency_unavailable")

    assert kept(client, first) == first


def test_fault_of_the_store_costs_nobody_the_answer(client, app, monkeypatch):
    def fail(*args):
        raise ValueError("a prompt")

    monkeypatch.setattr(app.extensions["gateway"].stored, "row", fail)
    assert ask(client)["store"] is False


def test_refused_call_leaves_nothing(client, app):
    held = app.extensions["gateway"].database.read(count)
    assert client.post(RESPONSES, json={**GOOD, "model": "mock-400"}).status_code == 400
    assert client.post(RESPONSES, json={**GOOD, "model": "mock-html"}).status_code == 502
    assert app.extensions["gateway"].database.read(count) == held


# Input items


def listing(client, id, query=""):
    answer = get(client, id, f"/input_items?{query}")
    assert answer.status_code == 200, answer.data
    assert set(answer.json) == {"object", "data", "first_id", "last_id", "has_more"}
    assert answer.json["object"] == "list"
    return answer.json


def test_text_is_listed_as_a_message(client):
    found = listing(client, ask(client)["id"])

    (item,) = found["data"]
    assert re.fullmatch("msg_[0-9a-f]{32}", item.pop("id"))
    assert item == {
        "type": "message", "role": "user", "status": "completed",
        "content": [{"type": "input_text", "text": GOOD["input"]}],
    }  # fmt: skip
    assert found["first_id"] == found["last_id"] and found["has_more"] is False


def test_listing_twice_gives_the_same_ids(client):
    id = ask(client, input=[user("a"), user("b"), {"type": "odd", "x": 1}])["id"]
    assert listing(client, id) == listing(client, id)


def test_earlier_turns_are_listed_too(client):
    first = ask(client, input="One.")
    id = ask(client, input="Two.", previous_response_id=first["id"])["id"]
    found = listing(client, id, "order=asc")["data"]

    assert [item["content"][0]["text"] for item in found] == ["One.", "One.", "Two."]
    assert [item["role"] for item in found] == ["user", "assistant", "user"]
    assert len({item["id"] for item in found}) == 3


def test_response_without_input_lists_nothing(client, upstream):
    upstream.enqueue(answering())
    body = {"model": "gpt-test", "prompt": {"id": "pmpt_1"}}
    id = client.post(RESPONSES, json=body).json["id"]
    assert listing(client, id) == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def long(app):
    """The id of a response of 45 input items, which say 0 to 44, and its pages of 20 by query."""
    client = client_of(app)
    return ask(client, input=[user(str(number)) for number in range(45)])["id"]


def told(page):
    return [int(item["content"][0]["text"]) for item in page["data"]]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 20, 44, 45, 100])
def test_pages_come_to_the_whole(client, long, order, limit):
    seen, query = [], ""
    while True:
        page = listing(client, long, f"order={order}&limit={limit}{query}")
        seen += told(page)
        assert len(page["data"]) <= limit
        assert (page["first_id"], page["last_id"]) == (
            page["data"][0]["id"],
            page["data"][-1]["id"],
        )
        if not page["has_more"]:
            break
        query = f"&after={page['last_id']}"
    assert seen == (list(range(45)) if order == "asc" else list(range(44, -1, -1)))


def test_page_has_20_items_the_newest_first(client, long):
    page = listing(client, long)
    assert told(page) == list(range(44, 24, -1)) and page["has_more"]


def test_page_before_an_item_ends_right_before_it(client, long):
    page = listing(client, long, "order=asc&limit=10")
    after = listing(client, long, f"order=asc&limit=10&after={page['last_id']}")
    before = listing(client, long, f"order=asc&limit=10&before={after['first_id']}")
    assert before["data"] == page["data"] and before["has_more"] is False
    between = f"order=asc&after={page['first_id']}&before={page['last_id']}"
    assert told(listing(client, long, between)) == list(range(1, 9))


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=-1", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=x", "invalid_type", "limit"),
        ("limit=", "invalid_type", "limit"),
        ("limit=1.5", "invalid_type", "limit"),
        ("limit=" + "9" * 5000, "invalid_type", "limit"),
        ("limit=%D9%A3", "invalid_type", "limit"),
        ("order=up", "invalid_value", "order"),
        ("after=msg_x", "invalid_value", "after"),
        ("before=msg_x", "invalid_value", "before"),
        ("after=%00%ff", "invalid_value", "after"),
    ],
)
def test_bad_query_is_named(client, long, query, code, param):
    refused(get(client, long, f"/input_items?{query}"), 400, code, param)


def test_include_is_taken(client, long):
    query = "include[]=message.input_image.image_url&include=reasoning.encrypted_content"
    assert listing(client, long, query)["data"]
