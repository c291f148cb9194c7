"""What has come of a stream is told from its events."""

import itertools

import pytest

from gateway.mock import bodies
from gateway.translate.growth import Growth

EVENTS = bodies.response_events("Hello you there")


def grown(events):
    found = Growth()
    for event in events:
        found.see(event["type"], event)
    return found.items()


def at(index=0, **more):
    return {"output_index": index, "item_id": f"id_{index}", **more}


def event(kind, index=0, **more):
    return {"type": f"response.{kind}", **at(index, **more)}


def begun(index=0, **item):
    return event("output_item.added", index, item={"id": f"id_{index}", **item})


def test_stream_that_has_ended_has_the_output_of_its_end():
    assert grown(EVENTS) == EVENTS[-1]["response"]["output"]


def test_every_beginning_of_a_stream_has_what_was_said():
    for count in range(len(EVENTS)):
        said = "".join(e.get("delta", "") for e in EVENTS[:count])
        items = grown(EVENTS[:count])
        assert "".join(p["text"] for item in items for p in item["content"]) == said
        ended = any(e["type"] == "response.output_item.done" for e in EVENTS[:count])
        assert {item["status"] for item in items} <= {"completed" if ended else "incomplete"}
    assert grown(EVENTS[:2]) == []


def test_part_keeps_what_it_began_with():
    (item,) = grown(EVENTS[:6])
    assert item["content"] == [{**EVENTS[3]["part"], "text": "Hello you"}]


@pytest.mark.parametrize(
    ("kind", "field", "item"),
    [
        ("function_call_arguments", "arguments", "function_call"),
        ("mcp_call_arguments", "arguments", "mcp_call"),
        ("custom_tool_call_input", "input", "custom_tool_call"),
        ("code_interpreter_call_code", "code", "code_interpreter_call"),
    ],
)
def test_half_of_a_tool_s_call_is_told(kind, field, item):
    (found,) = grown([
        begun(type=item, **{field: ""}), event(f"{kind}.delta", delta="{"),
        event(f"{kind}.delta", delta='"a'),
    ])  # fmt: skip
    assert found == {"id": "id_0", "type": item, field: '{"a', "status": "incomplete"}


def test_items_side_by_side_are_kept_apart():
    deltas = [event("function_call_arguments.delta", i, delta=str(i)) for i in (0, 1)]
    found = grown([begun(1, type="function_call"), begun(0, type="function_call"),
                   *itertools.chain(*[deltas] * 3)])  # fmt: skip
    assert [item["arguments"] for item in found] == ["000", "111"]


def test_thoughts_and_their_summaries_are_told():
    (found,) = grown([
        begun(type="reasoning", summary=[]),
        event("reasoning_summary_text.delta", summary_index=0, delta="One."),
        event("reasoning_summary_text.delta", summary_index=1, delta="Two"),
        event("reasoning_text.delta", content_index=0, delta="Hm"),
    ])  # fmt: skip
    assert found["summary"] == [
        {"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two"},
    ]  # fmt: skip
    assert found["content"] == [{"type": "reasoning_text", "text": "Hm"}]


def test_text_that_comes_whole_takes_the_place_of_its_pieces():
    (found,) = grown([
        begun(type="message", content=[]), event("output_text.delta", content_index=0, delta="He"),
        event("output_text.done", content_index=0, text="Hello"),
    ])  # fmt: skip
    assert found["content"] == [{"type": "output_text", "text": "Hello"}]


def test_message_that_nobody_began_is_told():
    (found,) = grown([event("refusal.delta", content_index=0, delta="No")])
    assert (found["id"], found["role"]) == ("id_0", "assistant")
    assert found["content"] == [{"type": "refusal", "refusal": "No"}]


@pytest.mark.parametrize("value", [None, [], {}, "0", True, 1.5])
@pytest.mark.parametrize("name", ["output_index", "content_index", "delta", "item", "part"])
def test_value_of_a_wrong_type_breaks_nothing(name, value):
    odd = [{**event("output_text.delta", content_index=0, delta="a"), name: value}]
    odd += [{**begun(), name: value}, {**EVENTS[3], name: value}, {**EVENTS[-2], name: value}]
    for count in range(len(odd) + 1):
        grown(odd[:count])
