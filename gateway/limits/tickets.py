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
            wanted, least = expected.tokens()
            asks = [*self.slot_asked(), *self.tokens_asked(wanted, least)]
            asks += self.money_asked(expected, call.price)
            if asks:
                self.take(asks, least)
        except BaseException:
            self.settle(None, None)
            raise

    def take(self, asks, least):
        """Ask for (what it is for, method, arguments…) and note what was given."""
        given = self.store.each([ask[1:] for ask in asks])
        for (kind, *_), found in zip(asks, given, strict=False):  # no more after a refusal
            setattr(self, kind, found)
            if found is not None and not found[0]:
                raise self.refusal(kind, found, least)

    def refusal(self, kind, found, least):
        key = self.key
        if kind == "slot":
            return refused("concurrency", refusals.concurrency(key))
        if kind == "tokens":
            return refused("tokens", refusals.tokens(key, found, least))
        return refused("budget", refusals.budget(key, found.left))

    def slot_asked(self):
        key = self.key
        if key.concurrency is not None:
            yield "slot", "take", f"slots:{key.id}", key.concurrency, 1

    def tokens_asked(self, wanted, least):
        key = self.key
        if key.tpm is None:
            return
        if least > key.tpm:
            raise refused("tokens", refusals.beyond(key, least))
        yield "tokens", "hit", f"tpm:{key.id}", key.tpm, MINUTE, min(wanted, key.tpm), least

    def money_asked(self, expected, price):
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
        yield "money", "take", self.account, key.budget, min(max(wanted, least), never), least

    def settle(self, usage, cost, kept=False):
        """Give back what was reserved, and count what was used: a Usage and nano-USD, or None.

        `kept` says that the call was served though nobody knows what it used: then what was
        reserved counts as used. Only the first settlement of a reservation counts.
        """
        if not self.open:
            return
        self.open = False
        asks = [*self.slot_given(), *self.tokens_given(usage, kept)]
        asks += self.money_given(cost, kept and usage is None)
        if asks:
            self.store.each(asks)

    def slot_given(self):
        if self.slot is not None and self.slot.amount:
            yield "settle", f"slots:{self.key.id}", self.slot

    def tokens_given(self, usage, kept):
        if self.key.tpm is None:
            return
        window = self.tokens
        counted = window.taken if window is not None else 0
        if usage is not None:
            more = usage.input + usage.output - counted
        else:
            more = 0 if kept else -counted
        if more:
            yield "add", f"tpm:{self.key.id}", MINUTE, more, window if more < 0 else None

    def money_given(self, cost, kept):
        if self.account is None:
            return
        held = self.money.amount if self.money is not None else 0
        used = held if kept else cost or 0
        if held or used:
            yield "settle", self.account, self.money if held else None, used

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
