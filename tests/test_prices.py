"""Costs are exact to the nano-USD, and unknown is never 0."""

import random
from decimal import ROUND_HALF_UP, Decimal

import pytest

from gateway.config import Price
from gateway.prices import LARGEST, cost, usd
from gateway.tokens import Usage

PRICES = [0, 0.0375, 0.1, 0.3, 0.4, 1.1, 2.5, 15, 75.0, 0.000000001, 1e-7, 3.141592653]


def exact(price, usage):
    """Return what decimal arithmetic says."""
    rates = [Decimal(repr(rate)) for rate in (price.input, price.cached_input, price.output)]
    counts = usage.input - usage.cached, usage.cached, usage.output
    nano = sum(rate * 1000 * count for rate, count in zip(rates, counts, strict=True))
    return int(nano.quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize("seed", range(20))
def test_cost_is_what_decimal_arithmetic_says(seed):
    rand = random.Random(seed)
    for _ in range(200):
        price = Price(*rand.choices(PRICES, k=3))
        given = rand.randrange(10 ** rand.randrange(1, 9))
        usage = Usage(given, rand.randint(0, given), rand.randrange(10**6), 5)
        assert cost(price, usage) == exact(price, usage)


@pytest.mark.parametrize(
    "price, usage, nano",
    [
        (Price(0.4, 0.1, 1.6), Usage(1000, 400, 50, 20), 240_000 + 40_000 + 80_000),
        (Price(0.4, output=1.6), Usage(1000, 400, 50), 480_000),
        (Price(0.0005), Usage(1), 1),  # half a nano-USD
        (Price(0.0004), Usage(1), 0),
        (Price(0.0004), Usage(10), 4),  # rounded once, at the end
        (Price(1, 1, 1), Usage(), 0),
        (Price(1_000_000, 0, 1_000_000), Usage(2**53, 0, 2**53), LARGEST),
        (None, Usage(1), None),
        (Price(1), None, None),
        (None, None, None),
    ],
)
def test_cost_counts_each_token_once_and_rounds_once(price, usage, nano):
    assert cost(price, usage) == nano


@pytest.mark.parametrize(
    "nano, text",
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000_000, "1.5"),
        (10_000_000_000, "10"),
        (-20_000_001, "-0.020000001"),
        (9_007_199_254_740_993, "9007199.254740993"),
    ],
)
def test_usd_is_exact(nano, text):
    assert usd(nano) == text
