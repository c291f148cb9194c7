"""The items of an input as messages: neighbours together, everything in its order, no item ids."""

import pytest

from gateway import errors
from tests.translate.asking import HELLO, said, text, translated, user


def answered(words, **more):
    part = {"type": "output_text", "text": words, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part], **more}


def thought(words, **more):
    summary = [{"type": "summary_text", "text": words}] if words else []
    return {"type": "reasoning", "id": "rs_1", "summary": summary, **more}


def call(number, **more):
    names = {"id": f"fc_{number}", "call_id": f"call_{number}"}
    return {"type": "function_call", **names, "name": "f", "arguments": "{}", **more}


def called(*numbers):
    function = {"name": "f", "arguments": "{}"}
    return [{"id": f"call_{n}", "type": "function", "function": function} for n in numbers]


def output(number, found="done"):
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": found}


def tool(number, content="done"):
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


def test_instructions_are_the_first_system_message():
    assert translated(instructions="Be brief")["messages"] == [
        {"role": "system", "content": "Be brief"},
        HELLO,
    ]


def test_system_messages_at_the_beginning_are_one():
    first = {"role": "developer", "content": "Use metres."}
    second = {"role": "system", "content": [text("Say please.")]}
    later = {"role": "developer", "content": "Hurry."}
    assert said(first, second, HELLO, later, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief.\n\nUse metres.\n\nSay please."},
        HELLO,
        {"role": "system", "content": "Hurry."},
    ]


def test_parts_of_a_system_message_stay_parts():
    marked = {**text("b"), "prompt_cache_breakpoint": {"mode": "explicit"}}
    found = said({"role": "system", "content": [marked]}, HELLO, instructions="a")
    assert found[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]


PARTS = [
    ([text("a")], "a"),
    ([], ""),
    ([text("a"), text("b")], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    (
        [{"type": "input_image", "image_url": "data:x", "detail": "low"}],
        [{"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}],
    ),
    (
        [text("a"), {"type": "input_image", "image_url": "https://x", "file_id": None}],
        [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x"}}],
    ),
    (
        [{"type": "input_file", "filename": "a.pdf", "file_data": "data:x", "detail": "auto"}],
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x"}}],
    ),
    (
        [{"type": "input_file", "file_id": "file_1", "file_url": None}],
        [{"type": "file", "file": {"file_id": "file_1"}}],
    ),
    (
        [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}],
        [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}],
    ),
]


@pytest.mark.parametrize("parts, content", PARTS)
def test_content_is_told_in_a_chats_words(parts, content):
    assert said(user(*parts)) == [{"role": "user", "content": content}]
    assert said(call(1), output(1, parts))[1] == tool(1, content)


def test_image_without_any_source_misses_its_url():
    with pytest.raises(errors.MissingParameter) as found:
        said(user({"type": "input_image"}))
    assert found.value.param == "input[0].content[0].image_url"


def test_turn_of_thoughts_words_and_calls_is_one_message_without_item_ids():
    items = [HELLO, thought("Hm."), answered("Let me look."), call(1), call(2)]
    found = said(*items, output(1), output(2, [text("a"), text("b")]))
    assert found == [
        HELLO,
        {
            "role": "assistant",
            "content": "Let me look.",
            "reasoning_content": "Hm.",
            "tool_calls": called(1, 2),
        },
        tool(1),
        tool(2, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ]


def test_calls_and_outputs_that_take_turns_stay_in_turns():
    assert said(call(1), output(1), thought("Hm."), call(2), output(2)) == [
        {"role": "assistant", "content": None, "tool_calls": called(1)},
        tool(1),
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "tool_calls": called(2),
        },
        tool(2),
    ]


def test_thoughts_and_words_between_calls_do_not_part_them_from_their_outputs():
    items = [call(1), thought("Hm."), answered("And now"), thought("Well."), call(2)]
    first, *rest = said(*items, output(1), output(2))
    assert first == {
        "role": "assistant",
        "content": "And now",
        "reasoning_content": "Hm.\n\nWell.",
        "tool_calls": called(1, 2),
    }
    assert rest == [tool(1), tool(2)]


def test_two_answers_in_a_row_stay_two():
    assert said(thought("a"), answered("A"), thought("b"), answered("B")) == [
        {"role": "assistant", "content": "A", "reasoning_content": "a"},
        {"role": "assistant", "content": "B", "reasoning_content": "b"},
    ]


def test_words_on_both_sides_of_a_call_are_parts():
    (message, _) = said(answered("a"), call(1), answered("b"), output(1))
    assert message["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_refusal_is_told_as_one():
    part = {"type": "refusal", "refusal": "No."}
    item = answered("Well.")
    assert said({**item, "content": [*item["content"], part]}) == [
        {"role": "assistant", "content": "Well.", "refusal": "No."}
    ]
    assert said({"role": "assistant", "content": [part]}) == [
        {"role": "assistant", "content": "", "refusal": "No."}
    ]


@pytest.mark.parametrize(
    "item, words",
    [
        (thought("a", content=None), "a"),
        (thought("a", content=[{"type": "reasoning_text", "text": "b"}]), "b"),
        (thought("a", status="completed", encrypted_content="x"), "a"),
    ],
)
def test_thought_is_told_as_reasoning_content(item, words):
    assert said(item, answered("A"))[0]["reasoning_content"] == words


def test_thought_that_is_only_encrypted_is_left_out():
    assert said(thought("", encrypted_content="x"), answered("A")) == [
        {"role": "assistant", "content": "A"}
    ]


def test_thought_that_came_to_nothing_is_a_message_without_words():
    assert said(thought("Hm."), HELLO) == [
        {"role": "assistant", "content": "", "reasoning_content": "Hm."},
        HELLO,
    ]


@pytest.mark.parametrize("context, first", [("current_turn", False), ("all_turns", True)])
def test_thoughts_of_earlier_turns_are_told_unless_the_request_asks_for_the_current_one(
    context, first
):
    items = [thought("a"), answered("A"), HELLO, thought("b"), call(1), output(1)]
    found = said(*items, reasoning={"context": context})
    assert ("reasoning_content" in found[0]) is first
    assert found[2]["reasoning_content"] == "b"


def test_custom_calls_are_told_as_such():
    items = [
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "run", "input": "1"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
    ]
    assert said(*items) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "custom", "custom": {"name": "run", "input": "1"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]


def test_output_of_no_call_is_a_missing_id():
    with pytest.raises(errors.MissingParameter) as found:
        said({"type": "function_call_output", "output": "x"})
    assert found.value.param == "input[0].call_id"


def test_no_text_of_a_conversation_is_lost():
    items = [
        {"role": "developer", "content": "w1"},
        user(text("w2"), text("w3")),
        thought("w4"),
        answered("w5"),
        call(1, arguments='"w6"'),
        output(1, "w7"),
        thought("w8"),
        call(2, name="w9"),
        output(2, [text("w10")]),
        answered("w11"),
        {"role": "user", "content": "w12"},
    ]
    found = str(translated(input=items, instructions="w0")["messages"])
    places = [found.index(f"w{n}") for n in (0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11, 12)]
    assert places[:4] == sorted(places[:4]) and places[6:] == sorted(places[6:])
    assert not any(name in found for name in ("msg_1", "rs_1", "fc_1", "fc_2"))
