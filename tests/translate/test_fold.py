"""Chunks put together again: what a call without `stream` would have been answered."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mock import bodies
from gateway.translate import result
from gateway.translate.fold import Completion
from tests.translate.chats import CHATS, chunk, piece, token


def folded(chunks):
    found = Completion()
    for each in chunks:
        found.take(each)
    return found.whole()


def meant(value):
    """Return a value without what may be left out: null, empty lists, content of nothing."""
    if isinstance(value, dict):
        found = {name: meant(inner) for name, inner in value.items()}
        if found.get("content") == "":
            found["content"] = None
        return {name: inner for name, inner in found.items() if inner not in (None, [])}
    return [meant(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CHATS)
def test_fold_of_a_stream_is_what_the_whole_call_is_answered(name):
    chunks, completion = CHATS[name]
    # Recordings are of two calls, with an id and a time each.
    own = {field: chunks[0][field] for field in ("id", "created", "model")}
    assert meant(folded(chunks)) == meant({**completion, **own})


@pytest.mark.parametrize("name", CHATS)
def test_whole_answer_in_one_chunk_is_folded_back(name):
    _, completion = CHATS[name]
    assert meant(folded([result.as_chunk(completion)])) == meant(completion)


@pytest.mark.parametrize("n", [1, 3])
def test_scripted_upstream_says_the_same_whole_and_streamed(n):
    how = {"text": "Hello there, you.", "n": n, "asked": 4}
    chunks = bodies.chunks(**how, include_usage=True)
    whole = bodies.completion(**how)
    assert meant(folded(chunks)) == meant(whole)
    assert folded(chunks)["usage"] == whole["usage"]


def test_every_choice_has_a_message_with_a_role_and_content():
    (choice,) = folded([chunk(reason="stop")])["choices"]
    assert choice["message"] == {"role": "assistant", "content": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)


@pytest.mark.parametrize(
    ("delta", "content"),
    [
        ({}, ""),
        ({"reasoning_content": "Hm."}, ""),
        ({"refusal": "No."}, None),
        ({"function_call": {"name": "f", "arguments": ""}}, None),
        (piece(0, "{}", id="call_a", name="f"), None),
    ],
)
def test_content_that_only_began_is_null_where_something_else_was_said(delta, content):
    chunks = [chunk({"role": "assistant", "content": ""}), chunk(delta), chunk(reason="stop")]
    (choice,) = folded(chunks)["choices"]
    assert choice["message"]["content"] == content


def test_stream_that_says_nothing_has_no_choices():
    assert folded([]) == {"object": "chat.completion", "choices": []}


TEXT = st.text(max_size=20)
NAMES = ("content", "refusal", "reasoning_content", "reasoning", "something_new")
TOKENS = st.lists(st.builds(token, TEXT), min_size=1, max_size=4)
MESSAGE = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT},
    optional={
        "refusal": TEXT,
        "reasoning_content": TEXT,
        "something_new": TEXT,
        "annotations": st.lists(st.fixed_dictionaries({"url": TEXT}), min_size=1, max_size=3),
        "function_call": st.fixed_dictionaries({"name": st.just("f"), "arguments": TEXT}),
        "audio": st.fixed_dictionaries(
            {"id": st.just("a"), "data": TEXT, "transcript": TEXT, "expires_at": st.just(5)}
        ),
        "calls": st.lists(TEXT, min_size=1, max_size=3),
    },
)
CHOICE = st.tuples(
    MESSAGE,
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.one_of(st.none(), st.fixed_dictionaries({"content": TOKENS, "refusal": TOKENS})),
)


def made(number, parts):
    """Return a choice as a whole answer has it."""
    message, reason, logprobs = parts
    message = dict(message)
    if arguments := message.pop("calls", None):
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": "f", "arguments": text},
            }
            for place, text in enumerate(arguments)
        ]
    return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason}


def cut(draw, text):
    """Return a text in pieces, of which there is at least one."""
    ends = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    starts = [0, *ends]
    return [text[a:b] for a, b in zip(starts, [*ends, len(text)], strict=True)]


def deltas(draw, choice):
    """Return what streams a choice, in an order in which a server may send it."""
    lanes = []
    for name, value in choice["message"].items():
        if name == "tool_calls":
            lanes += [calling(draw, place, call) for place, call in enumerate(value)]
        elif name in ("function_call", "audio"):
            lanes.append([{name: part} for part in sliced(draw, value)])
        elif name == "annotations":
            lanes.append([{name: [found]} for found in value])
        elif name != "role":
            lanes.append([{name: part} for part in cut(draw, value)])
    return [{"delta": {"role": "assistant"}}, *({"delta": d} for d in mixed(draw, lanes))]


def sliced(draw, table):
    """Return the objects that an object comes in: what is short at once, texts in pieces."""
    long = {name: cut(draw, table[name]) for name in ("arguments", "data") if name in table}
    transcript = {"transcript": table["transcript"]} if "transcript" in table else {}
    short = {n: v for n, v in table.items() if n not in long and n not in transcript}
    (name, pieces), *_ = long.items()
    return [short, *({name: part} for part in pieces), *([transcript] if transcript else [])]


def calling(draw, place, call):
    first, *rest = cut(draw, call["function"]["arguments"])
    begun = {"index": place, **call, "function": {**call["function"], "arguments": first}}
    return [{"tool_calls": [begun]}, *(piece(place, text) for text in rest)]


def mixed(draw, lanes):
    """Return the items of some lists in one, those of each in their order."""
    order = [number for number, lane in enumerate(lanes) for _ in lane]
    waiting = [iter(lane) for lane in lanes]
    return [next(waiting[number]) for number in draw(st.permutations(order))]


def tokens(choice):
    if not choice["logprobs"]:
        return []
    lists = choice["logprobs"]
    return [{"logprobs": {name: [found]}} for name in lists for found in lists[name]]


@given(st.data(), st.lists(CHOICE, min_size=1, max_size=3))
@settings(deadline=None, database=None, max_examples=150)
def test_it_does_not_matter_how_a_completion_is_cut(data, parts):
    choices = [made(number, part) for number, part in enumerate(parts)]
    head = {"id": "c", "created": 7, "model": "m", "system_fingerprint": "fp", "service_tier": "t"}
    lanes = []
    for choice in choices:
        said = [*deltas(data.draw, choice), *tokens(choice)]
        ended = {"delta": {}, "finish_reason": choice["finish_reason"]}
        lanes.append([{"index": choice["index"], **found} for found in [*said, ended]])
    chunks = [{**head, "choices": [choice]} for choice in mixed(data.draw, lanes)]
    chunks.append({**head, "choices": [], "usage": {"prompt_tokens": 3}})

    whole = {**head, "object": "chat.completion", "choices": choices}
    assert meant(folded(chunks)) == meant({**whole, "usage": {"prompt_tokens": 3}})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([{"service_tier": None}, {"service_tier": "flex"}], {"service_tier": "flex"}),
        ([{"service_tier": "flex"}, {"service_tier": None}], {"service_tier": "flex"}),
        ([{"citations": ["a"]}, {"citations": ["a", "b"]}], {"citations": ["a", "b"]}),
        ([{"usage": {"n": 1}}, {"usage": {"n": 2}}, {"usage": None}], {"usage": {"n": 2}}),
        ([{"usage": None}], {"usage": None}),
        ([{"id": "a", "created": 1}, {"id": "b", "created": 2}], {"id": "a", "created": 1}),
        ([{"obfuscation": "xx"}], {}),
    ],
)  # fmt: skip
def test_fields_beside_the_choices(given, expected):
    found = folded([{"choices": [], **each} for each in given])
    assert found == {"object": "chat.completion", "choices": [], **expected}


def test_fields_of_a_choice_that_nobody_knows_are_kept():
    said = [{"stop_reason": None, "token_ids": [1, 2]}, {"stop_reason": 7, "token_ids": [3]}]
    (choice,) = folded([{"choices": [{"index": 0, **each}]} for each in said])["choices"]
    assert (choice["stop_reason"], choice["token_ids"]) == (7, [1, 2, 3])


def test_deep_objects_are_taken_as_they_are():
    deep = {}
    for _ in range(900):
        deep = {"x": deep}
    chunks = [chunk({"odd": deep}), chunk({"odd": deep})]
    (choice,) = folded(chunks)["choices"]
    depth, found = 0, choice["message"]["odd"]
    while found:
        found, depth = found["x"], depth + 1
    assert depth == 900


def test_long_answer_takes_time_in_proportion():
    # A text that is copied with every piece would take minutes.
    chunks = [chunk({"content": "x" * 100})] * 100_000
    assert len(folded(chunks)["choices"][0]["message"]["content"]) == 10_000_000


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [None, 1, "x", []]},
        {"choices": [{"index": "x", "delta": 5, "logprobs": "x"}]},
        {"choices": [{"delta": {"tool_calls": "x", "content": {"a": 1}, "role": 5}}]},
        {"choices": [{"delta": {"tool_calls": [None, {"index": 0, "id": 5, "function": "x"}]}}]},
        {"choices": [{"delta": {"content": ["x"], "function_call": "x"}, "finish_reason": {}}]},
    ],
)
def test_nonsense_between_good_chunks_breaks_nothing(odd):
    good = [chunk({"content": "Hello"}), chunk(reason="stop")]
    found = folded([good[0], odd, good[1], odd, *good])
    json.dumps(found)
    assert found["choices"][0]["finish_reason"] is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["index", "id", "content", "tool_calls", "function", "name", "delta",
                         "logprobs", "arguments", "role", "type"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(st.fixed_dictionaries({"choices": st.lists(JSON, max_size=3)}), max_size=4))
@settings(deadline=None, database=None)
def test_nothing_that_is_json_breaks_it(chunks):
    json.dumps(folded(chunks))
