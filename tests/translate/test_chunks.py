"""A chat's chunks as events, pinned to its whole answer: folding the one gives the other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import errors
from gateway.translate import result
from gateway.translate.chunks import Speech
from tests.translate.chats import ARGUMENTS, CHATS, CITATION, MIXED, TWO, USAGE, chat, chunk, text
from tests.translate.folding import fold, nameless


def spoken(chunks):
    """Return what was heard, and its events."""
    speech = Speech()
    events = [event for chunk in chunks for event in speech.feed(chunk)]
    return speech, [*events, *speech.finish()]


def folded(chunks):
    """Return a stream's result whose output is made up of its deltas."""
    speech, events = spoken(chunks)
    items, done = fold(events)
    ends = speech.result()
    assert done == ends["output"]
    for item, ended in zip(items, done, strict=True):
        assert item["status"] == "in_progress"
        item["status"] = ended["status"]
    return {**ends, "output": nameless(items)}


def kinds(events):
    return [kind.removeprefix("response.") for kind, _ in events]


@pytest.mark.parametrize("name", CHATS)
def test_folding_the_events_gives_exactly_the_whole_result(name):
    chunks, completion = CHATS[name]
    whole = result.from_chat(completion)
    assert folded(chunks) == {**whole, "output": nameless(whole["output"])}


@given(
    st.lists(st.text(), max_size=3),
    st.lists(st.text(), max_size=3),
    st.lists(st.text(), max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.text()), max_size=9),
    st.sampled_from(["stop", "length", "content_filter", "tool_calls"]),
)
@settings(deadline=None, database=None)
def test_it_does_not_matter_how_an_answer_is_cut(thoughts, said, refused, pieces, reason):
    arguments = {index: "" for index, _ in pieces}
    deltas = [{"reasoning_content": p} for p in thoughts] + [{"content": p} for p in said]
    deltas += [{"refusal": p} for p in refused]
    for index, piece in pieces:
        new = {} if arguments[index] else {"id": f"call_{index}"}
        function = {"arguments": piece, **({"name": "f"} if new else {})}
        deltas.append({"tool_calls": [{"index": index, **new, "function": function}]})
        arguments[index] += piece
    calls = [
        {"id": f"call_{index}", "function": {"name": "f", "arguments": whole}}
        for index, whole in arguments.items()
    ]
    message = {"reasoning_content": "".join(thoughts), "content": "".join(said)}
    message.update(refusal="".join(refused), tool_calls=calls)
    chunks, completion = chat(deltas, message, reason=reason)
    whole = result.from_chat(completion)
    assert folded(chunks) == {**whole, "output": nameless(whole["output"])}


@pytest.mark.parametrize(
    "name, status, why",
    [
        ("text", "completed", None),
        ("two calls, mixed", "completed", None),
        ("function_call", "completed", None),
        ("another reason", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_finish_reason_becomes_the_status(name, status, why):
    found = folded(CHATS[name][0])
    assert found["status"] == found["output"][-1]["status"] == status
    assert found["incomplete_details"] == (why and {"reason": why})


def test_only_what_was_being_said_last_is_incomplete():
    chunks, _ = CHATS["calls that are cut"]
    assert [item["status"] for item in folded(chunks)["output"]] == ["completed", "incomplete"]


def test_events_of_a_text_come_in_openais_order():
    _, events = spoken(CHATS["text"][0])
    assert kinds(events) == [
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]


def test_reasoning_comes_before_the_text_and_ends_where_that_begins():
    _, events = spoken(CHATS["reasoning_content"][0])
    assert kinds(events) == [
        "output_item.added",
        "reasoning_summary_part.added",
        *["reasoning_summary_text.delta"] * 2,
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]
    thought, said = folded(CHATS["reasoning_content"][0])["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "The user greets."}]
    assert said["content"][0]["text"] == "Hello"


def test_pieces_of_two_calls_that_come_mixed_reach_their_own():
    _, events = spoken(CHATS["two calls, mixed"][0])
    deltas = [(e["output_index"], e["delta"]) for kind, e in events if kind.endswith(".delta")]
    assert [index for index, _ in deltas] == [0, 1, 0, 1]
    one, two = folded(CHATS["two calls, mixed"][0])["output"]
    wanted = [(c["id"], c["function"]["name"]) for c in TWO["tool_calls"]]
    assert [(c["call_id"], c["name"]) for c in (one, two)] == wanted


def test_call_is_told_as_soon_as_its_name_and_id_are_known():
    speech = Speech()
    first, begun, *pieces = CHATS["arguments letter by letter"][0]
    assert list(speech.feed(first)) == []
    assert kinds(speech.feed(begun)) == ["output_item.added"]
    for piece, letter in zip(pieces, ARGUMENTS, strict=False):
        ((_, event),) = speech.feed(piece)
        assert event["delta"] == letter


def test_what_is_said_behind_something_else_is_an_item_of_its_own():
    _, events = spoken(
        [
            chunk({"content": "a"}),
            chunk({"reasoning": "b"}),
            chunk({"content": "c"}),
            *(chunk(delta) for delta in MIXED),
            chunk({"content": "d"}),
        ]
    )
    items, done = fold(events)
    assert [item["type"] for item in items] == [
        *("message", "reasoning", "message"),
        *("function_call", "function_call", "message"),
    ]
    assert all(item["status"] == "completed" for item in done)


def test_usage_is_told_with_all_its_details():
    assert folded(CHATS["text"][0])["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": USAGE["prompt_tokens_details"],
        "output_tokens": 9,
        "output_tokens_details": USAGE["completion_tokens_details"],
        "total_tokens": 29,
    }
    assert folded(CHATS["bare usage"][0])["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }
    assert folded(CHATS["no usage"][0])["usage"] is None


def test_usage_counts_wherever_it_comes():
    beside = [chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1})]
    beside.append(chunk(reason="stop", usage=USAGE))
    assert folded(beside)["usage"]["total_tokens"] == 29


def test_citation_is_told_with_its_place():
    _, events = spoken(CHATS["annotations"][0])
    (one, two) = [event for kind, event in events if kind.endswith("annotation.added")]
    assert one["annotation"] == {"type": "url_citation", **CITATION}
    assert (one["annotation_index"], two["annotation_index"]) == (0, 1)


def test_log_probability_without_bytes_has_none():
    part = folded(CHATS["log probabilities"][0])["output"][0]["content"][0]
    assert part["logprobs"][2] == {"token": "!", "logprob": -1.5, "bytes": [], "top_logprobs": []}


def test_other_choices_are_passed_over():
    other = {"index": 1, "delta": {"content": "x"}, "finish_reason": "length"}
    chunks = [chunk({"content": "a"}), {**chunk(), "choices": [other, None, 5]}, chunk({}, "stop")]
    found = folded(chunks)
    assert found["status"] == "completed" and found["output"][0]["content"][0]["text"] == "a"


def test_what_has_come_can_be_told_before_the_end():
    speech = Speech()
    for piece in CHATS["reasoning, text and a call"][0][:-4]:
        list(speech.feed(piece))
    found = nameless(speech.result()["output"])
    assert [item["status"] for item in found] == ["completed", "completed", *["incomplete"] * 2]


@pytest.mark.parametrize(
    "delta",
    [
        {"content": ["x"]},
        {"content": 5},
        {"refusal": {"a": 1}},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]},
        {"tool_calls": [{"index": 0, "id": 5}]},
        {"tool_calls": [{"index": 0, "function": {"name": []}}]},
    ],
)
def test_what_is_no_text_is_a_bad_answer(delta):
    with pytest.raises(errors.UpstreamBadResponse):
        spoken([chunk(delta)])


def test_answer_that_ends_in_an_error_is_one():
    chunks, completion = text("Hello", reason="error")
    with pytest.raises(errors.UpstreamBadResponse):
        spoken(chunks)
    with pytest.raises(errors.UpstreamBadResponse):
        result.from_chat(completion)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
NAMES = ("content", "refusal", "reasoning", "reasoning_content", "annotations", "tool_calls")
CALL = st.fixed_dictionaries(
    {}, optional={n: JSON for n in ("index", "id", "function", "custom", "type")}
)
FUNCTION = st.fixed_dictionaries({"name": JSON, "arguments": JSON})
CALLED = st.fixed_dictionaries(
    {}, optional={"index": st.integers(0, 2), "id": st.text(max_size=1), "function": FUNCTION}
)
DELTA = st.fixed_dictionaries(
    {}, optional={**{n: JSON for n in NAMES}, "tool_calls": st.lists(CALL | CALLED) | JSON}
)
CHOICE = st.fixed_dictionaries(
    {}, optional={"index": JSON, "delta": DELTA | JSON, "logprobs": JSON, "finish_reason": JSON}
)
CHUNK = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE | JSON, max_size=3)},
    optional={"usage": JSON, "service_tier": JSON},
)


@given(st.lists(CHUNK, max_size=5))
@settings(deadline=None, database=None, max_examples=300)
def test_nothing_that_a_chunk_holds_is_more_than_a_bad_answer(chunks):
    try:
        speech, events = spoken(chunks)
    except errors.UpstreamBadResponse:
        return
    fold(events)
    speech.result()
