"""Whole output items as a stream: folding the events gives the items again."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.translate.events import unfold
from tests.translate.folding import fold

TEXT = {"type": "output_text", "annotations": [{"type": "url_citation", "url": "x"}]}
PARTS = st.one_of(
    st.builds(lambda text: {**TEXT, "text": text, "logprobs": []}, st.text()),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, st.text()),
    st.builds(lambda text: {"type": "reasoning_text", "text": text}, st.text()),
)
MESSAGE = {"type": "message", "status": "completed", "role": "assistant"}
ITEMS = st.one_of(
    st.builds(lambda parts: {**MESSAGE, "content": parts}, st.lists(PARTS, max_size=3)),
    st.builds(
        lambda text: {"type": "function_call", "name": "f", "arguments": text, "call_id": "c"},
        st.text(),
    ),
    st.builds(lambda text: {"type": "reasoning", "summary": [{"text": text}]}, st.text()),
    st.just({"type": "web_search_call", "status": "completed", "action": {"query": "q"}}),
)


def numbered(items):
    return [{**item, "id": f"item_{number}"} for number, item in enumerate(items)]


@settings(deadline=None, database=None)
@given(st.lists(ITEMS, max_size=4).map(numbered))
def test_folding_the_events_gives_the_items(items):
    before = copy.deepcopy(items)
    folded, done = fold(unfold(items))
    assert done == items == before
    for item in folded:
        if "status" in item:
            assert item["status"] == "in_progress"
            item["status"] = "completed"
    assert folded == items


@settings(deadline=None, database=None)
@given(st.lists(ITEMS, max_size=4).map(numbered))
def test_deltas_alone_hold_every_text(items):
    folded, _ = fold((k, e) for k, e in unfold(items) if k != "response.content_part.done")
    for item, whole in zip(folded, items, strict=True):
        known = [p for p in whole.get("content", []) if p["type"] != "reasoning_text"]
        parts = [p for p in item.get("content", []) if p["type"] != "reasoning_text"]
        assert parts == known and item.get("arguments") == whole.get("arguments")


def test_events_of_a_message_come_in_openais_order():
    part = {**TEXT, "text": "Hi", "logprobs": []}
    events = list(unfold([{**MESSAGE, "id": "msg_1", "content": [part]}]))
    assert [kind.removeprefix("response.") for kind, _ in events] == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    assert events[2][1] == {**place, "delta": "Hi", "logprobs": []}
    assert events[3][1] == {**place, "text": "Hi", "logprobs": []}


def test_events_of_a_function_call_come_in_openais_order():
    item = {"type": "function_call", "id": "fc_1", "name": "f", "arguments": '{"a":1}'}
    place = {"item_id": "fc_1", "output_index": 0}
    assert list(unfold([item])) == [
        ("response.output_item.added", {"output_index": 0, "item": {**item, "arguments": ""}}),
        ("response.function_call_arguments.delta", {**place, "delta": '{"a":1}'}),
        (
            "response.function_call_arguments.done",
            {**place, "name": "f", "arguments": '{"a":1}'},
        ),
        ("response.output_item.done", {"output_index": 0, "item": item}),
    ]


def test_what_is_no_item_or_part_is_passed_over():
    odd = [None, "x", 5, [], {}, {"type": "message"}, {"type": "message", "content": "x"}]
    odd += [{"type": "message", "content": [None, 5, {}]}, {"type": "function_call"}]
    kinds = [kind for kind, _ in unfold(odd)]
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done")
