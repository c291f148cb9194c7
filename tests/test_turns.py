import re

import pytest

from gateway import turns
from gateway.stored import History
from gateway.turns import NO_TURN, Turn
from gateway.upstreams.base import Call

CALLED = {
    "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}",
    "status": "completed",
}  # fmt: skip
RETURNED = {"type": "function_call_output", "id": "x", "call_id": "call_1", "output": "5"}
TEXT = {"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}
SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT],
}  # fmt: skip


class Held:
    """Stored responses: one that can be found, and what is put."""

    def __init__(self, items=None, able=True):
        self.items, self.able, self.rows = items, able, []

    def history(self, key, id):
        return History(self.items, 1) if (key, id) == ("mine", "resp_1") else None

    def put(self, *row):
        self.rows.append(row)
        return self.able


def begun(held=None, default=True, key="mine", **payload):
    call = Call("responses", {"model": "m", **payload}, None)
    turn = Turn(held or Held(), default, key)
    turn.begin(call)
    return turn, call


def response(**more):
    return {"id": "resp_2", "output": [], "status": "completed", **more}


def test_call_without_a_past_goes_out_as_it_came():
    _, call = begun(input="hi", store=True)
    assert call.payload is call.asked
    assert call.store is True


@pytest.mark.parametrize("given", ["hi", [{"role": "user", "content": "hi"}], None])
def test_past_comes_before_what_is_said_now(given):
    past = [{"role": "user", "content": "Hi"}, SAID]
    _, call = begun(Held(past), input=given, previous_response_id="resp_1", instructions="Be kind.")

    now = [] if given is None else [{"role": "user", "content": "hi"}]
    told = [{key: item[key] for key in ("role", "content")} for item in call.payload["input"]]
    assert told == [past[0], {"role": "assistant", "content": "Hello."}, *now]
    assert "previous_response_id" not in call.payload
    assert call.payload["instructions"] == "Be kind."
    assert call.asked["previous_response_id"] == "resp_1"


@pytest.mark.parametrize("key", ["mine", None])
@pytest.mark.parametrize("id", ["resp_9", ""])
def test_past_that_is_not_held_is_left_to_upstreams_that_keep_their_own(id, key):
    _, call = begun(key=key, input="hi", previous_response_id=id)
    assert call.payload is call.asked


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("store", [True, False, None])
def test_store_is_what_the_request_says_and_else_the_configuration(default, store):
    held = Held()
    turn, call = begun(held, default, input="hi", store=store)
    found = response()
    call.keep(found)

    wanted = default if store is None else store
    assert (call.store, found["store"], len(held.rows)) == (wanted, wanted, int(wanted))


def test_upstream_that_stores_is_told_of_a_default_that_does_not():
    assert begun(default=False, input="hi")[1].payload["store"] is False
    assert "store" not in begun(default=True, input="hi")[1].payload


def test_response_that_could_not_be_stored_says_so():
    held = Held(able=False)
    _, call = begun(held, input="hi")
    found = response()
    call.keep(found)

    assert found["store"] is False
    assert held.rows[0][1]["store"] is False  # the same object: it is told after the try


def test_stored_response_says_that_it_is_stored():
    seen = []

    class Looking(Held):
        def put(self, key, response, *rest):
            seen.append(response["store"])
            return True

    _, call = begun(Looking(), input="hi")
    call.keep(response())
    assert seen == [True]


def test_response_is_stored_once():
    held = Held()
    turn, call = begun(held, input="hi")
    call.keep(response())
    again = response(status="failed")
    call.keep(again)
    turn.leave(call)

    assert len(held.rows) == 1 and again["store"] is True


def test_what_is_stored_is_what_the_request_added_each_item_with_an_id():
    held = Held([SAID])
    _, call = begun(held, input=[RETURNED, {"role": "user", "content": "hi"}, {"type": "odd"}],
                    previous_response_id="resp_1")  # fmt: skip
    call.keep(response())

    key, _, added, previous, before = held.rows[0]
    assert (key, previous, before.items) == ("mine", "resp_1", [SAID])
    assert added[0] == RETURNED
    assert re.fullmatch("msg_[0-9a-f]{32}", added[1]["id"])
    assert re.fullmatch("item_[0-9a-f]{32}", added[2]["id"])
    assert "id" not in call.asked["input"][1]


class Streaming:
    def __init__(self, found):
        self.found = found

    def snapshot(self):
        return self.found


def test_client_that_leaves_finds_what_had_come():
    held = Held()
    turn, call = begun(held, input="hi")
    call.relay = Streaming(response(status="in_progress", output=[SAID]))
    turn.leave(call)

    stored = held.rows[0][1]
    assert (stored["status"], stored["output"], stored["store"]) == ("cancelled", [SAID], True)


@pytest.mark.parametrize("relay", [None, Streaming(None)])
def test_client_that_leaves_before_it_heard_of_a_response_leaves_none(relay):
    held = Held()
    turn, call = begun(held, input="hi")
    call.relay = relay
    turn.leave(call)
    assert held.rows == []


def test_client_that_wanted_nothing_stored_leaves_nothing():
    held = Held()
    turn, call = begun(held, input="hi", store=False)
    call.relay = Streaming(response())
    turn.leave(call)
    assert held.rows == []


def test_call_without_a_turn_stores_nothing():
    call = Call("chat", {"model": "m"}, None)
    NO_TURN.begin(call)
    NO_TURN.leave(call)
    found = response()
    call.keep(found)
    assert (call.store, found["store"]) == (False, False)


THOUGHT = {"type": "reasoning", "id": "rs_1"}
READ = [{"type": "reasoning_text", "text": "Hm."}]
SUMMED = [{"type": "summary_text", "text": "Hm."}]
SOURCE = {**TEXT, "annotations": [{"type": "url_citation"}], "logprobs": [{"token": "H"}]}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"role": "user", "content": "Hi", "id": "msg_1"}, {"role": "user", "content": "Hi"}),
        (SAID, {"type": "message", "role": "assistant", "content": "Hello."}),
        (
            {**SAID, "content": [TEXT, TEXT], "status": "incomplete", "phase": "final"},
            {"type": "message", "role": "assistant", "content": "Hello.Hello.", "phase": "final"},
        ),
        (
            {**SAID, "content": [{"type": "refusal", "refusal": "No."}]},
            {"type": "message", "role": "assistant",
             "content": [{"type": "refusal", "refusal": "No."}]},
        ),
        (
            {**SAID, "content": [SOURCE]},
            {"type": "message", "role": "assistant", "content": [{**SOURCE, "logprobs": []}]},
        ),
        ({**SAID, "content": []}, None),
        ({**SAID, "content": [5]}, {"type": "message", "role": "assistant", "content": [5]}),
        (CALLED, {key: value for key, value in CALLED.items() if key != "id"}),
        ({**CALLED, "status": "incomplete"}, None),
        ({**CALLED, "status": "in_progress"}, None),
        (RETURNED, {key: value for key, value in RETURNED.items() if key != "id"}),
        ({**THOUGHT, "summary": []}, None),
        ({**THOUGHT, "summary": [], "content": None, "encrypted_content": ""}, None),
        (
            {**THOUGHT, "summary": SUMMED, "content": None, "status": None},
            {"type": "reasoning", "summary": SUMMED},
        ),
        (
            {**THOUGHT, "summary": [], "encrypted_content": "abc", "status": "completed"},
            {"type": "reasoning", "summary": [], "encrypted_content": "abc"},
        ),
        ({**THOUGHT, "content": READ}, {**THOUGHT, "summary": [], "content": READ}),
        (
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": None},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ),
        ("text", None),
        ({"id": 5}, {"id": 5}),
    ],
)  # fmt: skip
def test_item_of_an_earlier_turn_is_told_as_any_upstream_takes_it(item, told):
    assert turns.told([item]) == ([] if told is None else [told])


def test_listed_items_are_full_and_have_ids_of_their_own():
    found = turns.shown([
        {"role": "user", "content": "Hi", "id": "msg_1"}, SAID, CALLED, RETURNED,
        {"type": "message", "role": "assistant", "content": "Oh."}, "text", SAID,
    ])  # fmt: skip

    assert found[0] == {
        "type": "message", "id": "msg_1", "role": "user", "status": "completed",
        "content": [{"type": "input_text", "text": "Hi"}],
    }  # fmt: skip
    assert found[1] == {**SAID, "id": "msg_1_2"}
    assert found[2:4] == [CALLED, {**RETURNED, "status": "completed"}]
    assert found[4]["content"] == [{**TEXT, "text": "Oh."}]
    assert found[5]["id"] == "msg_1_3"
    assert len({item["id"] for item in found}) == 6
