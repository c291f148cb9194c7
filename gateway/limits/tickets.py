"""What one request of a limited key has taken, and gives back when it is over."""

from gateway.limits import estimate, refusals
from gateway.limits.durations import written
from gateway.metrics import tally

MINUTE = 60


class NoTicket:
    """Of a key without limits nothing is counted."""

    __slots__ = ()

    def reserve(self, call):
        pass

    def settle(self, usage, cost, kept=False):
        pass

    def write(self, headers):
        pass


class Ticket:
    """One request of a limited key: `count()` it, `reserve()` for its call, `settle()` that.

    `store` keeps the counts, and gives None where it cannot: then the request passes uncounted.
    `budgets` knows the key's account.
    """

    __slots__ = ("key", "store", "budgets", "open")
    __slots__ += ("requests", "tokens", "slot", "account", "money")

    def __init__(self, key, store, budgets):
        self.key, self.store, self.budgets = key, store, budgets
        self.requests = self.tokens = None  # windows, as they were when this was counted
        self.slot = self.money = self.account = None  # what is taken, and the budget's account
        self.open = False  # what is reserved has still to be settled

    def count(self):
        """Count one request. Raises RateLimited."""
        key = self.key
        if key.rpm is None:
            return
        window = self.requests = self.store.hit(f"rpm:{key.id}", key.rpm, MINUTE)
        if window is not None and not window.taken:
            raise refused("requests", refusals.requests(key, window))

    def reserve(self, call):
        """Take a place among the key's calls, tokens and money for what the call may use.

        Raises ConcurrencyLimited and RateLimited, which pass when waited for, and
        RequestBeyondLimit and InsufficientQuota, which do not. Then nothing is held.
        """
        self.open = True
        try:
            expected = estimate.of(call)
            self.take_slot()
            self.take_tokens(*expected.tokens())
            self.take_money(expected, call.price)
        except BaseException:
            self.settle(None, None)
            raise

    def take_slot(self):
        key = self.key
        if key.concurrency is None:
            return
        self.slot = self.store.take(f"slots:{key.id}", key.concurrency, 1)
        if self.slot is not None and not self.slot.amount:
            raise refused("concurrency", refusals.concurrency(key))

    def take_tokens(self, wanted, least):
        key = self.key
        if key.tpm is None:
            return
        if least > key.tpm:
            raise refused("tokens", refusals.beyond(key, least))
        wanted = min(wanted, key.tpm)
        window = self.tokens = self.store.hit(f"tpm:{key.id}", key.tpm, MINUTE, wanted, least)
        if window is not None and not window.taken:
            raise refused("tokens", refusals.tokens(key, window, least))

    def take_money(self, expected, price):
        key = self.key
        if key.budget is None:
            return
        self.account = self.budgets.account(key)
        if price is None:
            return
        wanted, least = expected.money(price)
        if wanted <= 0:
            return
        never = key.budget + 1  # What is above the whole budget need not be told apart.
        least = min(max(least, 1), never)
        wanted = min(max(wanted, least), never)
        self.money = self.store.take(self.account, key.budget, wanted, least)
        if self.money is not None and not self.money.amount:
            raise refused("budget", refusals.budget(key, self.money.left))

    def settle(self, usage, cost, kept=False):
        """Give back what was reserved, and count what was used: a Usage and nano-USD, or None.

        `kept` says that the call was served though nobody knows what it used: then what was
        reserved counts as used. Only the first settlement of a reservation counts.
        """
        if not self.open:
            return
        self.open = False
        if self.slot is not None and self.slot.amount:
            self.store.settle(f"slots:{self.key.id}", self.slot)
        if self.key.tpm is not None:
            self.settle_tokens(usage, kept)
        if self.account is not None:
            self.settle_money(cost, kept and usage is None)

    def settle_tokens(self, usage, kept):
        window = self.tokens
        counted = window.taken if window is not None else 0
        if usage is not None:
            more = usage.input + usage.output - counted
        else:
            more = 0 if kept else -counted
        if more:
            self.store.add(f"tpm:{self.key.id}", MINUTE, more, window if more < 0 else None)

    def settle_money(self, cost, kept):
        held = self.money.amount if self.money is not None else 0
        used = held if kept else cost or 0
        if held or used:
            self.store.settle(self.account, self.money if held else None, used)

    def write(self, headers):
        """Put what is left of the limits into an answer's headers."""
        key = self.key
        if key.rpm is not None:
            window = self.requests or self.store.look(f"rpm:{key.id}", key.rpm, MINUTE)
            headers.update(shown("requests", key.rpm, window))
        if key.tpm is not None:
            window = self.tokens or self.store.look(f"tpm:{key.id}", key.tpm, MINUTE)
            headers.update(shown("tokens", key.tpm, window))


def refused(kind, error):
    """Count a refusal and return its error."""
    tally.limited[kind] += 1
    return error


def shown(kind, limit, window):
    """Return the three headers of one limit; none where nobody knows what is left."""
    if window is None:
        return {}
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(min(max(window.remaining, 0), limit)),
        f"x-ratelimit-reset-{kind}": written(window.reset),
    }


NO_TICKET = NoTicket()
