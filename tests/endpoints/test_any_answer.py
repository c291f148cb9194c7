"""Answers of native upstreams with odd values in odd places: kept, listed and gone on from."""

import copy
import random
import re

import pytest

from tests.endpoints.refused import refused
from tests.endpoints.storing import (  # noqa: F401
    RESPONSES,
    answering,
    get,
    key_client,
    shared_app,
    shared_upstream,
    start_app,
)
from tests.translate.test_any_request import VALUES, objects

ITEMS = [
    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Hm.", "annotations": [], "logprobs": []},
        {"type": "refusal", "refusal": "No."},
    ]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
     "content": [{"type": "reasoning_text", "text": "Hm."}], "encrypted_content": "x"},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}",
     "status": "completed"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "f", "input": "x"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
]  # fmt: skip
FIELDS = "output status usage error incomplete_details model id created_at tools metadata".split()
NAMES = "type id role status content text summary call_id name arguments input namespace".split()


def odd(rand):
    """Return items of an answer, some of which are not as they should be."""
    found = copy.deepcopy(rand.sample(ITEMS, rand.randint(1, 3)))
    for _ in range(rand.randint(1, 3)):
        place = rand.choice(objects(found))
        name = rand.choice([*place, *NAMES])
        if rand.random() < 0.3:
            place.pop(name, None)
        else:
            place[name] = copy.deepcopy(rand.choice(VALUES))
    if rand.random() < 0.1:
        found[0] = copy.deepcopy(rand.choice(VALUES))
    return found


def odd_field(rand):
    """Return a field of an answer that is not as it should be, now and then."""
    if rand.random() < 0.7:
        return {}
    return {rand.choice(FIELDS): copy.deepcopy(rand.choice(VALUES))}


def first_turn(client, stream):
    """Return the answer to a first turn, and the id of its Response, None without one."""
    body = {"model": "gpt-test", "input": "One.", "stream": stream}
    answer = client.post(RESPONSES, json=body)
    found = re.search(r'"id":"(resp_\w+)"', answer.text)
    return answer, found and found[1]


def goes_on(client, id, model):
    """Tell whether what is said and kept behind a response is no fault of the gateway."""
    body = {"model": model, "input": "Two.", "previous_response_id": id}
    answer = client.post(RESPONSES, json=body)
    if answer.status_code != 200:
        return answer.status_code in (400, 404)
    return get(client, answer.json["id"], "/input_items").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_answer_of_an_upstream_breaks_what_comes_after_it(client, upstream, seed, stream):
    rand, gone_on = random.Random(seed), 0
    for _ in range(30):
        given = {"output": odd(rand), **odd_field(rand)}
        upstream.enqueue(answering(**given))
        answer, id = first_turn(client, stream)
        assert answer.status_code in (200, 502), (given, answer.text)
        if id is None:
            continue
        for rest in ("", "/input_items"):
            assert get(client, id, rest).status_code in (200, 404), given
        for model in ("gpt-test", "chat-only"):
            assert goes_on(client, id, model), (given, model)
            gone_on += 1
    assert gone_on > 20


def test_answer_that_a_chat_cannot_be_told_is_refused_by_its_place(client, upstream):
    upstream.enqueue(answering({**ITEMS[0], "content": [{"text": "of no type"}]}))
    _, id = first_turn(client, False)
    body = {"model": "chat-only", "input": "Two.", "previous_response_id": id}
    refused(client.post(RESPONSES, json=body), 400, "unsupported_parameter", "input[1]")
    assert client.post(RESPONSES, json={**body, "model": "gpt-test"}).status_code == 200
