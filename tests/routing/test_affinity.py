"""Which of several equal upstreams gets a conversation."""

import collections
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing import affinity
from gateway.routing.catalogue import Target
from tests.routing.fakes import Clock, Upstream, call

ROOT = Path(__file__).parents[2]
SYSTEM = {"role": "system", "content": "You are brief."}


def targets(*weights, names="abcdefgh"):
    return [
        Target(SimpleNamespace(name=name), "m", weight)
        for name, weight in zip(names, weights, strict=False)
    ]


def names(found):
    return [target.upstream.name for target in found]


def idle(target):
    return 0


def named(endpoint="chat", key="key_1", **payload):
    return affinity.conversation(call(Clock(), endpoint, **payload), key)


def user(content):
    return {"role": "user", "content": content}


def spread(found, count=4000):
    """Return how many of so many conversations begin at each target."""
    rows = (affinity.order(found, f"conversation {n}", idle) for n in range(count))
    return collections.Counter(row[0].upstream.name for row in rows)


def test_conversation_keeps_its_name_while_it_grows():
    messages = [SYSTEM, user("What is 2 + 2?")]
    name = named(messages=messages)
    for turn in range(20):
        messages += [{"role": "assistant", "content": f"{turn}"}, user(f"And + {turn}?")]
        assert named(messages=messages) == name


def test_conversation_of_responses_keeps_its_name_while_it_grows():
    first = named("responses", instructions="Be brief.", input="Hello")
    items = [user([{"type": "input_text", "text": "Hello"}])]
    assert named("responses", instructions="Be brief.", input=items) == first
    items += [{"type": "reasoning", "summary": []}, {"type": "message", "content": []}, user("x")]
    assert named("responses", instructions="Be brief.", input=items) == first


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [SYSTEM, user("Something else")]},
        {"messages": [user("Hello")]},
        {"model": "other"},
        {"key": "key_2"},
        {"key": None},
    ],
)
def test_what_tells_conversations_apart(change):
    base = {"messages": [SYSTEM, user("Hello")]}
    assert named(**base) != named(**{**base, **change})


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize(
    "given",
    [
        {"prompt_cache_key": "mine"},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt_cache_key": "mine", "previous_response_id": "resp_1"},
        {"prompt_cache_key": "mine", "input": "x", "messages": [user("x")]},
    ],
)
def test_what_the_client_names_it_by_wins(endpoint, given):
    name = named(endpoint, **given)
    assert named(endpoint, **{**given, "messages": [user("Other")], "input": "Other"}) == name
    assert name != named(endpoint)
    assert name != named(endpoint, "key_2", **given)


def test_prompt_cache_key_comes_before_the_response():
    both = named("responses", prompt_cache_key="mine", previous_response_id="resp_1")
    assert both == named("responses", prompt_cache_key="mine")
    assert named("responses", prompt_cache_key="", previous_response_id="resp_1") == named(
        "responses", previous_response_id="resp_1"
    )


def test_embeddings_belong_to_no_conversation():
    assert named("embeddings", input="Hello") is None


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "type", "id", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
FIELDS = ["messages", "input", "instructions", "prompt_cache_key", "previous_response_id"]


@settings(max_examples=100, deadline=None)
@given(
    endpoint=st.sampled_from(["chat", "responses", "embeddings"]),
    payload=st.dictionaries(st.sampled_from([*FIELDS, "conversation"]), ODD),
)
def test_no_payload_however_odd_is_a_fault(endpoint, payload):
    asked = call(Clock(), endpoint)
    asked.payload = {"model": "m", **payload}
    name = affinity.conversation(asked, "key_1")
    assert len(affinity.order(targets(1, 1), name, idle)) == 2


@pytest.mark.parametrize(
    "content", [None, 7, [], {}, [None, 3, {"type": "image_url"}], [{"text": None}], "\ud800"]
)
def test_message_without_text_still_has_an_order(content):
    name = named(messages=[user(content)])
    assert sorted(names(affinity.order(targets(1, 1, 1), name, idle))) == ["a", "b", "c"]


def test_order_is_the_same_however_the_configuration_is_ordered():
    found = targets(1, 2, 3, 4)
    for number in range(50):
        expected = names(affinity.order(found, f"{number}", idle))
        random.Random(number).shuffle(found)
        assert names(affinity.order(found, f"{number}", idle)) == expected


def test_order_is_the_same_in_every_process():
    script = (
        "from tests.routing.test_affinity import *\n"
        "print([names(affinity.order(targets(1, 2, 3), named(messages=[SYSTEM, user(str(n))]),"
        " idle)) for n in range(20)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and "'a'" in found.pop()


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 5), (0.5, 0.5, 1), (1000, 1000)])
def test_weights_give_shares(weights):
    found = spread(targets(*weights))
    for name, weight in zip("abc", weights, strict=False):
        assert abs(found[name] / 4000 - weight / sum(weights)) < 0.03


def test_weight_0_comes_last():
    found = targets(0, 1, 2)
    assert spread(found)["a"] == 0
    busy = {"a": 0, "b": 50, "c": 50}
    for number in range(20):
        for name in (f"{number}", None):
            order = affinity.order(found, name, lambda t: busy[t.upstream.name])
            assert names(order)[-1] == "a"


def test_all_of_weight_0_are_still_an_order():
    for name in ("x", None):
        assert sorted(names(affinity.order(targets(0, 0), name, idle))) == ["a", "b"]


def test_target_that_goes_away_moves_only_its_own_conversations():
    whole, less = targets(1, 1, 2, 3), targets(1, 1, 2)
    for number in range(500):
        before = names(affinity.order(whole, f"{number}", idle))
        after = names(affinity.order(less, f"{number}", idle))
        assert after == [name for name in before if name != "d"]


def test_busy_target_is_passed_over_and_comes_back():
    found = targets(1, 1, 1)
    home = affinity.order(found, "x", idle)[0].upstream.name
    load = collections.Counter()

    def loaded(target):
        return load[target.upstream.name]

    for _ in range(30):
        load[affinity.order(found, "x", loaded)[0].upstream.name] += 1
    assert load.total() == 30
    assert max(load.values()) == load[home] <= 13  # 1.25 times its share, rounded up

    load.clear()
    assert affinity.order(found, "x", loaded)[0].upstream.name == home


def test_one_call_at_a_time_never_leaves_home():
    found = targets(1, 1, 1, 1)
    for number in range(200):
        first = affinity.order(found, f"{number}", idle)[0]
        load = {target.upstream.name: int(target is not first) for target in found}
        assert affinity.order(found, f"{number}", lambda t, n=load: n[t.upstream.name])[0] == first


def test_calls_without_a_conversation_go_to_the_least_busy_for_its_weight():
    found = targets(1, 1, 4)
    for busy, best in [
        ({"a": 1, "b": 0, "c": 8}, "b"),
        ({"a": 1, "b": 1, "c": 3}, "c"),
        ({"a": 1, "b": 2, "c": 5}, "a"),
    ]:
        order = affinity.order(found, None, lambda t, busy=busy: busy[t.upstream.name])
        assert names(order)[0] == best


def test_calls_without_a_conversation_are_shared_out_by_weight_when_all_are_idle():
    random.seed(7)
    found = targets(3, 1)
    first = [affinity.order(found, None, idle)[0].upstream.name for _ in range(2000)]
    assert abs(first.count("a") / 2000 - 0.75) < 0.04


def test_largest_draw_has_a_score(monkeypatch):
    class Digest:
        def digest(self):
            return b"\xff" * 8

    monkeypatch.setattr(affinity.hashlib, "blake2b", lambda *args, **how: Digest())
    assert affinity.score(b"seed", Target(Upstream("a"), "m", 1)) > 0


@pytest.mark.parametrize(
    "payload",
    [
        {"messages": [user("x" * 1_000_000)]},
        {"messages": [user([{"type": "text", "text": "y" * 1_000_000}])]},
        {"messages": [user([{"type": "image_url"}] * 200_000)]},
        {"messages": [{"role": "assistant", "content": "z"}] * 200_000},
    ],
)
def test_large_prompt_costs_little(payload):
    asked, found = call(Clock(), **payload), targets(1, 1, 1)
    began = time.process_time()
    for _ in range(100):
        affinity.order(found, affinity.conversation(asked, "key_1"), idle)
    assert time.process_time() - began < 0.1  # a millisecond each, some thirty times what it takes
