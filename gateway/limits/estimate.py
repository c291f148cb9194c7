"""What a call is expected to use, before anybody has counted it."""

from typing import NamedTuple

from gateway.prices import of_tokens
from gateway.tokens import BYTES, LARGEST

UNSAID = 256  # tokens of an answer whose request sets no bound

BOUNDS = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "embeddings": (),
}


class Estimate(NamedTuple):
    """Tokens of a call's input, and of its answer at most; `least` is as few as will do for that.

    `least` is the same as `output` where the request sets a bound or gets no text.
    """

    input: int
    output: int
    least: int

    def tokens(self):
        """Return the tokens of both, and how few will do."""
        return self.input + self.output, self.input + self.least

    def money(self, price):
        """Return the same in nano-USD."""
        whole = of_tokens(price, self.input, self.output)
        if self.least == self.output:
            return whole, whole
        return whole, of_tokens(price, self.input, self.least)


def of(call):
    """Return the Estimate of a call."""
    found = call.size // BYTES or 1
    names = BOUNDS[call.endpoint]
    if not names:
        return Estimate(found, 0, 0)
    said = [value for name in names if type(value := call.asked.get(name)) is int]
    times = choices(call)
    if not said:
        return Estimate(found, UNSAID * times, times)
    bound = min(max(*said, 0) * times, LARGEST)
    return Estimate(found, bound, bound)


def choices(call):
    """Return how many answers a call asks for, each of which has the bound for itself."""
    wanted = call.asked.get("n") if call.endpoint == "chat" else None
    return wanted if type(wanted) is int and wanted > 1 else 1
