"""What an upstream says it has used is believed only where it makes sense."""

import pytest

from gateway.tokens import LARGEST, Usage, count, read

CHAT = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 27,
}


@pytest.mark.parametrize("usage", [CHAT, RESPONSES])
def test_every_endpoint_gives_one_shape(usage):
    assert read(usage) == Usage(input=20, cached=5, output=7, reasoning=3)


@pytest.mark.parametrize(
    "usage, found",
    [
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        ({"completion_tokens": 4}, Usage(output=4)),
        ({"input_tokens": 3, "output_tokens": None}, Usage(3)),
        ({"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3)),
        ({"prompt_tokens": 3, "prompt_tokens_details": [1]}, Usage(3)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": "2"}}, Usage(3)),
    ],
)
def test_what_is_left_out_counts_as_nothing(usage, found):
    assert read(usage) == found


@pytest.mark.parametrize("usage", [None, [], 5, "5", {}, {"total_tokens": 3}, {"x": 1}])
def test_no_usage_is_none(usage):
    assert read(usage) is None


@pytest.mark.parametrize(
    "nonsense", [-1, -1e9, 1.5, 2.0, "5", True, None, [], {}, float("nan"), LARGEST + 1]
)
def test_nonsense_is_not_believed(nonsense):
    assert count({"n": nonsense}, "n") is None
    assert read({"prompt_tokens": nonsense, "completion_tokens": nonsense}) is None
    assert read({"prompt_tokens": 3, "completion_tokens": nonsense}) == Usage(3)


def test_largest_count_is_believed():
    assert read({"prompt_tokens": LARGEST}) == Usage(LARGEST)


def test_a_part_is_never_larger_than_its_whole():
    usage = {**CHAT, "prompt_tokens": 4, "completion_tokens": 2}
    assert read(usage) == Usage(input=4, cached=4, output=2, reasoning=2)
