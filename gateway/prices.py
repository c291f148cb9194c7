"""What tokens cost: whole nano-USD inside, a number of USD outside."""

NANO = 1_000_000_000
MILLION = 1_000_000
LARGEST = 2**50  # nano-USD, a million dollars: no call costs more, and nonsense stays out of sums


def cost(price, usage):
    """Return the nano-USD that a Usage costs, or None where price or usage is not known.

    `price` is in USD per million tokens and counts to nine decimals; `cached` tokens are a part of
    `input` and `reasoning` ones of `output`, so neither is paid for twice.
    """
    if price is None or usage is None:
        return None
    found, cached, said, _ = usage
    return of_tokens(price, found, said, cached)


def of_tokens(price, found, said, cached=0):
    """Return the nano-USD that so many tokens of input and output cost; `price` is known."""
    input_rate, cached_rate, output_rate = price.rates
    millionths = (found - cached) * input_rate + cached * cached_rate + said * output_rate
    return min((millionths + MILLION // 2) // MILLION, LARGEST)


def rates(*price):
    """Return prices in USD as whole nano-USD.

    Configured prices are floats, and a sum of many products of those drifts: whole numbers don't.
    """
    return tuple(round(part * NANO) for part in price)


def usd(nano):
    """Return nano-USD as the exact decimal number of USD, without needless zeros."""
    sign, (whole, rest) = "-" * (nano < 0), divmod(abs(nano), NANO)
    return f"{sign}{whole}.{rest:09}".rstrip("0").rstrip(".")
