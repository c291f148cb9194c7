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
        asks = (("hit", f"rpm:{key.id}", key.rpm, MINUTE),)
        window = self.requests = self.store.each(asks)[0]
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
            asks = self.asks(expected, call.price)
            if asks:
                self.take(asks, expected)
        except BaseException:
            self.settle(None, None)
            raise

    def asks(self, expected, price):
        """Return what to ask the store for: (method, arguments…) by what it is for."""
        key, asks = self.key, {}
        if key.concurrency is not None:
            asks["slot"] = "take", f"slots:{key.id}", key.concurrency, 1
        if key.tpm is not None:
            wanted, least = expected.tokens()
            if least > key.tpm:
                raise refused("tokens", refusals.beyond(key, least))
            asks["tokens"] = "hit", f"tpm:{key.id}", key.tpm, MINUTE, min(wanted, key.tpm), least
        if key.budget is not None:
            self.account = self.budgets.account(key)
            wanted, least = expected.money(price) if price is not None else (0, 0)
            if wanted > 0:
                never = key.budget + 1  # What is above the whole budget need not be told apart.
                least = min(max(least, 1), never)
                asks["money"] = "take", self.account, key.budget, min(wanted, never), least
        return asks

    def take(self, asks, expected):
        """Ask for it, and note what was given. Raises why something was not."""
        given = self.store.each(asks.values())
        for kind, found in zip(asks, given, strict=False):  # no more after a refusal
            setattr(self, kind, found)
        if found is not None and not found[0]:
            raise self.refusal(kind, found, expected)

    def refusal(self, kind, found, expected):
        key = self.key
        if kind == "slot":
            return refused("concurrency", refusals.concurrency(key))
        if kind == "tokens":
            return refused("tokens", refusals.tokens(key, found, expected.tokens()[1]))
        return refused("budget", refusals.budget(key, found.left))

    def settle(self, usage, cost, kept=False):
        """Give back what was reserved, and count what was used: a Usage and nano-USD, or None.

        `kept` says that the call was served though nobody knows what it used: then what was
        reserved counts as used. Only the first settlement of a reservation counts.
        """
        if not self.open:
            return
        self.open = False
        asks = (
            self.place_back(),
            self.tokens_used(usage, kept),
            self.money_used(cost, kept and usage is None),
        )
        asks = [ask for ask in asks if ask is not None]
        if asks:
            self.store.each(asks)

    def place_back(self):
        slot = self.slot
        if slot is None or not slot.amount:
            return None
        return "settle", f"slots:{self.key.id}", slot

    def tokens_used(self, usage, kept):
        if self.key.tpm is None:
            return None
        window = self.tokens
        counted = window.taken if window is not None else 0
        if usage is not None:
            more = usage.input + usage.output - counted
        else:
            more = 0 if kept else -counted
        if not more:
            return None
        return "add", f"tpm:{self.key.id}", MINUTE, more, window if more < 0 else None

    def money_used(self, cost, kept):
        if self.account is None:
            return None
        held = self.money.amount if self.money is not None else 0
        used = held if kept else cost or 0
        if not held and not used:
            return None
        return "settle", self.account, self.money if held else None, used

    def write(self, headers):
        """Put what is left of the limits into an answer's headers."""
        key = self.key
        if key.rpm is not None:
            window = self.requests or self.store.look(f"rpm:{key.id}", key.rpm, MINUTE)
            show(headers, "requests", key.rpm, window)
        if key.tpm is not None:
            window = self.tokens or self.store.look(f"tpm:{key.id}", key.tpm, MINUTE)
            show(headers, "tokens", key.tpm, window)


def refused(kind, error):
    """Count a refusal and return its error."""
    tally.limited[kind] += 1
    return error


def show(headers, kind, limit, window):
    """Add the three headers of one limit; none where nobody knows what is left."""
    if window is not None:
        headers[f"x-ratelimit-limit-{kind}"] = str(limit)
        headers[f"x-ratelimit-remaining-{kind}"] = str(min(max(window.remaining, 0), limit))
        headers[f"x-ratelimit-reset-{kind}"] = written(window.reset)


NO_TICKET = NoTicket()
