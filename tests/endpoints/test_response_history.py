"""What a response that names an earlier one builds on, and what upstreams are told of it."""

import re

import pytest

from gateway import stored
from tests.endpoints.refused import refused
from tests.endpoints.storing import (  # noqa: F401
    GOOD,
    RESPONSES,
    UNKNOWN,
    answering,
    ask,
    count,
    gone,
    kept,
    key_client,
    leave,
    other_client,
    shared_app,
    shared_upstream,
    start_app,
    user,
)

TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]


def call(number, city):
    return {
        "type": "function_call", "id": f"fc_theirs_{number}", "call_id": f"call_{number}",
        "name": "weather", "arguments": f'{{"city":"{city}"}}', "status": "completed",
    }  # fmt: skip


def result(number, text):
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": text}


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
