"""The faults that a model's name picks: `mock-cut-after-3` is row `mock-cut-after-N`, N = 3."""

import re
from typing import NamedTuple

from gateway.mock import bad_bodies, bad_heads, bad_streams
from gateway.mock.answers import error


class Fault(NamedTuple):
    """A row of the list; `make` takes the number that N stands for, if there is one."""

    name: str
    effect: str
    make: object

    @property
    def pattern(self):
        return self.name.replace("N", r"(\d{1,4})")


# The first that fits wins, and `mock-N` fits what many others fit.
FAULTS = [Fault(*row) for row in (*bad_heads.ROWS, *bad_streams.ROWS, *bad_bodies.ROWS)]


def fault(name):
    """Return the answer that a model's name picks; raises KeyError if it picks none."""
    for row in FAULTS:
        found = re.fullmatch(row.pattern, name)
        answer = found and row.make(*map(int, found.groups()))
        if answer:
            return answer
    raise KeyError(name)


def of_model(request):
    """Return the fault that the request's model names, None for one that starts otherwise."""
    name = request.fields["model"]
    if not name.startswith("mock-"):
        return None
    try:
        return fault(name)
    except KeyError:
        text = f"The model `{name}` does not exist: no fault is called so."
        return error(404, text, param="model", code="model_not_found")


def examples():
    """Return a model name for each fault, with 3 for N, and 500 where it is a status."""
    return [row.name.replace("N", "500" if row.name == "mock-N" else "3") for row in FAULTS]


def describe():
    """Return the list of faults as text, a line each."""
    width = max(len(row.name) for row in FAULTS)
    return "\n".join(f"{row.name:{width}}  {row.effect}" for row in FAULTS)
