"""The accounts of budgets: one a key and period, kept true to the usage table."""

import logging
import math
import threading
import time

from gateway import errors, periods

log = logging.getLogger("gateway")

PATIENCE = 0.5  # seconds that a first call waits for the table
EVERY = 30  # seconds between two looks at the table, for a key in use
IDLE = 600  # seconds after which a key that is not used is forgotten
AT_ONCE = 100  # keys that the table is asked for in one query; more make none of them cheaper
PAUSE = 0.002  # seconds in which first uses gather for the next look, where they come in numbers


class Account:
    """A key's budget in one period: what its name is, and when it was used and seeded.

    Periods are a matter of the date, `now`; pauses go by `tick`, which nobody puts back.
    """

    __slots__ = ("key", "period", "since", "until", "name", "epoch", "used", "seeded", "ready")

    def __init__(self, key, now, tick):
        self.key, self.period = key.id, key.period
        self.since = periods.start(key.period, now)
        self.until = periods.end(key.period, now) or math.inf
        self.name = f"budget:{key.id}:{self.since}"
        self.epoch = None  # the store's, once that was told what the table knows
        self.used, self.seeded = tick, -math.inf
        self.ready = threading.Event()

    def stale(self, key, now, epoch):
        """Tell whether the key's account is another one by now, or its store has changed."""
        if self.epoch not in (None, epoch):
            return True
        return not self.since <= now < self.until or self.period != key.period

    def due(self, tick):
        """Tell whether it was used since its store was last told what the table knows."""
        return self.seeded < self.used and tick - self.seeded >= EVERY


class Budgets:
    """Finds a key's account.

    `spent(key ids, since)` asks the table for {key id: nano-USD}.

    What is spent is counted in the store. A store that was lost, or that another one has stood in
    for, learns from the table what it has missed: at first use, and then twice a minute. The table
    is asked for many keys at once: one thread, which lives while keys wait for their first look,
    takes all that do. A key used alone waits for its own look, and one of many not much longer.
    """

    def __init__(self, store, spent, clock=time.time, ticks=time.monotonic):
        self.store, self.spent, self.clock, self.ticks = store, spent, clock, ticks
        self.accounts = {}
        self.at_once = AT_ONCE
        self.changing = threading.Lock()
        self.waiting, self.seeding = [], False

    def account(self, key):
        """Return the name of the key's account now; waits a moment at its first use."""
        now = self.clock()
        found = self.accounts.get(key.id)
        # An account has an epoch once it was seeded, so that one with the store's is ready too.
        if (
            found is None
            or found.epoch != self.store.epoch
            or not found.since <= now < found.until
            or found.period != key.period
        ):
            found = self.ready(key, now)
        found.used = self.ticks()
        return found.name

    def ready(self, key, now):
        """Return the key's account once its store knows of it, or does not for too long."""
        found = self.begun(key, now)
        if not found.ready.is_set():
            # A table that is away or slow must not refuse the call: the next look makes it good.
            found.ready.wait(PATIENCE)
            found.ready.set()
        return found

    def begun(self, key, now):
        """Return the key's account; one that is new waits to be seeded aside."""
        with self.changing:
            found = self.accounts.get(key.id)
            if found is not None and not found.stale(key, now, self.store.epoch):
                return found
            found = self.accounts[key.id] = Account(key, now, self.ticks())
            self.waiting.append(found)
            if not self.seeding:
                threading.Thread(target=self.seed_waiting, daemon=True).start()
                self.seeding = True
        return found

    def seed_waiting(self):
        """Seed the accounts that wait for it until none is left."""
        while accounts := self.taken():
            self.seed(accounts)
            if len(accounts) > 1:
                time.sleep(PAUSE)

    def taken(self):
        with self.changing:
            taken, self.waiting = self.waiting, []
            self.seeding = bool(taken)
        return taken

    def seed(self, accounts):
        """Tell the store what the table knows of accounts, until the database is away."""
        try:
            for since, some in self.portions(accounts):
                if not self.seed_safely(some, since):
                    return
        finally:
            for account in accounts:
                account.ready.set()

    def portions(self, accounts):
        """Yield (since, accounts) that the table can be asked for at once."""
        groups = {}
        for account in accounts:
            groups.setdefault(account.since, []).append(account)
        for since, group in groups.items():
            first = 0
            while first < len(group):
                size = self.at_once
                yield since, group[first : first + size]
                first += size

    def seed_safely(self, accounts, since):
        """Seed accounts of one `since` and tell whether the database is there."""
        tick = self.ticks()
        try:
            spent = self.spent([account.key for account in accounts], since)
            epoch = self.tell([("seed", a.name, spent[a.key], a.until) for a in accounts])
        except errors.DependencyUnavailable:
            # The database has logged it. Fewer keys may be what it can sum up in its time.
            self.at_once = max(self.at_once // 2, 1)
            return False
        except Exception as exc:
            log.error("budgets could not be read", exc_info=exc)
            return True
        self.at_once = min(self.at_once + 1, AT_ONCE)
        for account in accounts:
            account.seeded, account.epoch = tick, epoch
            account.ready.set()
        return True

    def tell(self, asks):
        """Ask the store, again where it has become another one meanwhile; return its epoch."""
        for _ in range(2):
            epoch = self.store.epoch
            self.store.each(asks)
            if epoch == self.store.epoch:
                break
        return epoch

    def refresh(self):
        """Seed the accounts that are due, and forget those that nobody uses."""
        tick, due = self.ticks(), []
        for account in list(self.accounts.values()):
            if tick - account.used > IDLE:
                self.accounts.pop(account.key, None)
            elif account.due(tick):
                due.append(account)
        self.seed(due)

    def run(self, stop, interval=1.0):
        """Refresh every `interval` seconds until `stop` is set."""
        while not stop.wait(interval):
            try:
                self.refresh()
            except Exception as exc:
                log.error("budgets could not be refreshed", exc_info=exc)
