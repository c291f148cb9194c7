"""A ticket's world: a key with limits, a real store in a folder of the test's, a clock in hand."""

import itertools

from gateway.config.shape import Price
from gateway.key import Key
from gateway.limits import Limits
from gateway.limits.stores.local import Local
from gateway.upstreams.base import Call

NOON = 1_800_014_400.0  # 2027-01-15 12:00:00 UTC, the beginning of a minute
PRICE = Price(input=1, output=4)
names = itertools.count(1)


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


class World:
    """Gives tickets; `rows` is what the usage table says was spent, or an exception."""

    def __init__(self, folder, **limits):
        self.clock = Clock()
        self.store = Local(folder, clock=self.clock)
        self.rows = 0
        self.limits = Limits(self.store, self.spent)
        self.limits.budgets.clock = self.clock
        self.key = key(**limits)

    def spent(self, keys, since):
        if isinstance(self.rows, BaseException):
            raise self.rows
        return dict.fromkeys(keys, self.rows)

    def ticket(self, **changes):
        """Return a ticket of the key, or of one with some of its limits changed."""
        return self.limits.admitted(key(self.key.id, **changes) if changes else self.key)

    def account(self):
        """Return the nano-USD that could still be taken of the budget."""
        name = self.limits.budgets.account(self.key)
        taken = self.store.take(name, self.key.budget, 1)
        self.store.settle(name, taken)
        return taken.left + taken.amount

    def tokens(self):
        """Return how many tokens are counted."""
        tpm = self.key.tpm
        return tpm - self.store.look(f"tpm:{self.key.id}", tpm, 60).remaining


class Broken:
    """A store that fails whatever it is asked."""

    epoch = 0

    def __getattr__(self, name):
        def fail(*args):
            raise OSError(28, "No space left on device")

        return fail


def key(id=None, period="day", **limits):
    return Key(id or f"key_{next(names):012}", "test", period=period, **limits)


def call(endpoint="chat", size=400, price=PRICE, **body):
    found = Call(endpoint, {"model": "m", **body}, None)
    found.size, found.price = size, price
    return found


def headers(ticket):
    found = {}
    ticket.write(found)
    return {name.removeprefix("x-ratelimit-"): value for name, value in found.items()}
