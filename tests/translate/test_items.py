"""Output items get what an upstream leaves out; what it gives is kept."""

import re

import pytest

from gateway.translate.items import Items, named


@pytest.mark.parametrize(
    "item, pattern",
    [
        ({"type": "message"}, "msg_[0-9a-f]{32}"),
        ({"type": "function_call"}, "fc_[0-9a-f]{32}"),
        ({"type": "reasoning"}, "rs_[0-9a-f]{32}"),
        ({"type": "custom_tool_call"}, "ctc_[0-9a-f]{32}"),
        ({"type": "web_search_call"}, "item_[0-9a-f]{32}"),
        ({"type": []}, "item_[0-9a-f]{32}"),
        ({}, "item_[0-9a-f]{32}"),
    ],
)
def test_item_without_a_name_gets_a_new_one_of_its_kind(item, pattern):
    assert re.fullmatch(pattern, named(item, None, "", 5))


def test_first_name_that_is_one_counts():
    assert named({}, None, "", "a", "b") == "a"


def test_whole_output_keeps_its_names_and_gets_those_it_lacks():
    given = [{"id": "a"}, {"type": "function_call", "call_id": "c"}, {"type": "message"}, 5, None]
    found = Items().output(given)
    assert found[:2] == [{"id": "a"}, {"type": "function_call", "call_id": "c", "id": "c"}]
    assert found[2]["id"].startswith("msg_") and found[3:] == [5, None]
    assert "id" not in given[1]


@pytest.mark.parametrize("given", [None, [], {}, "x", 5])
def test_output_that_is_left_out_is_what_has_ended(given):
    items = Items()
    items.place("response.output_item.added", {"item": {"id": "a"}})
    items.place("response.output_item.added", {"item": {"id": "b"}})
    items.place("response.output_item.done", {"item": {"id": "b", "status": "completed"}})
    assert items.output(given) == [{"id": "b", "status": "completed"}]
    assert Items().output(given) == []


def test_item_that_was_never_added_gets_an_index_of_its_own():
    items = Items()
    items.place("response.output_item.added", {"item": {"id": "a"}})
    found = items.place("response.output_item.done", {"item": {"id": "b"}})
    assert found["output_index"] == 1


@pytest.mark.parametrize(
    "kind", ["custom_tool_call_input", "mcp_call_arguments", "code_interpreter_call_code"]
)
def test_piece_of_any_call_gets_the_place_of_the_latest_item(kind):
    items = Items()
    items.place("response.output_item.added", {"item": {"id": "a"}})
    items.place("response.output_item.added", {"item": {"id": "b"}})
    found = items.place(f"response.{kind}.delta", {"delta": "x"})
    assert found == {"delta": "x", "item_id": "b", "output_index": 1}


def test_indexes_that_are_given_are_kept():
    items = Items()
    for kind in ("added", "done"):
        event = {"output_index": 3, "item": {"id": "a"}}
        assert items.place(f"response.output_item.{kind}", dict(event)) == event
    event = {"item_id": "a", "output_index": 3, "content_index": 2, "delta": "", "logprobs": [1]}
    assert items.place("response.output_text.delta", dict(event)) == event
    assert items.place("response.output_item.added", {"item": {"id": "b"}})["output_index"] == 4
