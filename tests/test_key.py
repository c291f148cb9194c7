import pytest

from gateway.key import Key, fixed_key, matches


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("gpt", "gpt", True),
        ("gpt", "gpt-4", False),
        ("gpt", "GPT", False),
        ("gpt", "", False),
        ("vendor/*", "vendor/a", True),
        ("vendor/*", "vendor/a/b", True),
        ("vendor/*", "vendor/", False),
        ("vendor/*", "vendor", False),
        ("vendor/*", "other/vendor/a", False),
        ("vendor/*", "vendor/*", True),
        ("*", "a", True),
        ("*", "", False),
        ("a.c", "abc", False),
    ],
)
def test_wildcard_stands_for_one_character_or_more(pattern, model, expected):
    assert matches(pattern, model) is expected


def test_key_may_use_what_any_of_its_models_matches_and_all_without_a_list():
    key = Key("key_1", "k", models=("a", "b/*"))

    assert [m for m in ("a", "b/c", "b/", "c", "ab") if key.may_use(m)] == ["a", "b/c"]
    assert Key("key_1", "k").may_use("anything")


@pytest.mark.parametrize("bound", ["rpm", "tpm", "concurrency", "budget"])
def test_one_limit_of_any_kind_makes_a_key_limited(bound):
    assert Key("key_1", "k", **{bound: 1}).limited


def test_what_is_no_limit_leaves_a_key_unlimited():
    key = Key("key_1", "k", 1.0, None, 2.0, ("a",), ("chat",), metadata={"a": "b"})

    assert not key.limited and not fixed_key("sk-x").limited


def test_key_can_be_hashed_and_compared():
    first, second = (Key("key_1", "k", metadata={"a": "b"}) for _ in range(2))

    assert {first: 1}[second] == 1


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "active"),
        ({"expires_at": 101}, "active"),
        ({"expires_at": 100}, "expired"),
        ({"expires_at": 1, "revoked_at": 1}, "revoked"),
    ],
)
def test_state_is_a_word(fields, state):
    assert Key("key_1", "k", **fields).state(100) == state
