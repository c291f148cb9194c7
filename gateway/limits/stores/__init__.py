"""Where the counts behind limits are kept: on this machine, in a Redis, or there with a way out.

Every store has the same methods, all of them quick:

hit(name, limit, seconds, amount=1, least=None) -> Window
    Count `amount` in the sliding window, or what is left if that is at least `least`, or nothing.
look(name, limit, seconds) -> Window
    The same without counting; `taken` is 0.
add(name, seconds, amount, window=None)
    Count without asking. A negative amount gives back, never below 0; `window` is then what `hit`
    returned, so that it is given back where and when it was taken.
take(name, limit, amount, least=None) -> Taken
    Hold `amount` on an account, or as much of it as is left if that is at least `least`, or
    nothing: what is spent and what all live processes hold stays within the limit.
settle(name, taken, used=0)
    Give back what `take` returned (None: nothing), once, and add `used` to what is spent.
seed(name, spent, until)
    Raise what is spent to at least `spent`. `until` is when the account's period ends (unix
    seconds, or infinity); its name tells one period from the next. A store forgets an account
    that nobody has used for a week, and one that was never seeded after a day.
run(stop), close(), `alone`, `epoch`
    The loop of its background; whether it goes without its Redis; a value that is another one
    once what accounts have spent may be unknown and has to be seeded again.

Windows whose names begin with `rpm:` count requests, one a hit: a shared store keeps each one's
time, so that no minute ever holds more than the limit. All others count by the sliding window
counter of the library limits, which costs as little for a million as for one.

Amounts are whole and limits at least 1; what is above LARGEST counts as that.
"""

import importlib.util
from typing import NamedTuple

from gateway.engines import SetupError

LARGEST = 2**53  # Lua, and so Redis, counts in doubles
DAY = 24 * 3600
WEEK = 7 * DAY


class Away(Exception):
    """A shared store cannot answer now; the message says why."""


class Window(NamedTuple):
    """What a sliding window has to say.

    taken: what this hit counted; 0 means refused. remaining: what would still pass. reset: seconds
    until the window is empty, or after a refused hit until this amount (`least`, if given) would
    pass; an amount above the limit never does. store, at: what `add` needs to give it back.
    """

    taken: int
    remaining: int
    reset: float
    store: object = None
    at: float = 0.0


class Taken(NamedTuple):
    """What `take` holds now; an amount of 0 means refused.

    left: what could still be taken. store, hold: where it is held and by whom, for `settle`.
    """

    amount: int
    left: int
    store: object = None
    hold: object = None


def check(settings):
    """Raise SetupError if the settings ask for a store that this installation lacks."""
    if settings.server.redis_url and importlib.util.find_spec("redis") is None:
        raise SetupError(
            "server.redis_url needs the package redis: install the gateway with its extra [redis]."
        )


def build(settings):
    """Return the store that the settings ask for; raise SetupError as `check` does."""
    from gateway.limits.stores.local import Local

    check(settings)
    local = Local(settings.state / "limits")
    if not settings.server.redis_url:
        return local
    from gateway.limits.stores.fallback import Fallback
    from gateway.limits.stores.shared import Shared

    return Fallback(Shared(settings.server.redis_url), local)
