import pytest

from gateway.config.shape import Price
from gateway.limits import estimate
from gateway.tokens import LARGEST
from gateway.upstreams.base import Call


def call(endpoint="chat", size=400, **body):
    found = Call(endpoint, {"model": "m", **body}, None)
    found.size = size
    return found


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (call(), (100, 256, 1)),
        (call(size=403), (100, 256, 1)),
        (call(size=0), (1, 256, 1)),
        (call(max_tokens=7), (100, 7, 7)),
        (call(max_completion_tokens=8), (100, 8, 8)),
        (call(max_completion_tokens=8, max_tokens=90), (100, 90, 90)),
        (call(max_tokens=None), (100, 256, 1)),
        (call(max_tokens=0), (100, 0, 0)),
        (call(max_tokens=-5), (100, 0, 0)),
        (call(max_tokens=2**64 - 1), (100, LARGEST, LARGEST)),
        (call(n=3), (100, 768, 3)),
        (call(n=1, max_tokens=7), (100, 7, 7)),
        (call(n=128, max_tokens=100), (100, 12_800, 12_800)),
        (call(n=128, max_tokens=2**40), (100, LARGEST, LARGEST)),
        (call(n=None, max_tokens=7), (100, 7, 7)),
        (call("responses", n=3, max_output_tokens=16), (100, 16, 16)),
        (call(max_output_tokens=7), (100, 256, 1)),
        (call("responses", max_output_tokens=16), (100, 16, 16)),
        (call("responses", max_output_tokens=None), (100, 256, 1)),
        (call("embeddings"), (100, 0, 0)),
    ],
)
def test_estimate_is_a_quarter_of_the_bytes_and_what_the_answer_may_have(asked, wanted):
    assert estimate.of(asked) == wanted


def test_money_is_the_input_at_its_price_and_the_answer_at_its_own():
    price = Price(input=1, output=4)
    assert estimate.of(call(max_tokens=10)).money(price) == (140_000, 140_000)
    assert estimate.of(call()).money(price) == (1_124_000, 104_000)
    assert estimate.of(call("embeddings")).money(price) == (100_000, 100_000)
