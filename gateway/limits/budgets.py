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


class Account:
    """A key's budget in one period: what its name is, and when it was used and seeded."""

    def __init__(self, key, now):
        self.key, self.period = key.id, key.period
        self.since = periods.start(key.period, now)
        self.until = periods.end(key.period, now) or math.inf
        self.name = f"budget:{key.id}:{self.since}"
        self.epoch = None  # the store's, once that was told what the table knows
        self.used, self.seeded = now, -math.inf
        self.ready = threading.Event()

    def stale(self, key, now, epoch):
        """Tell whether the key's account is another one by now, or its store has changed."""
        if self.epoch not in (None, epoch):
            return True
        return now >= self.until or self.period != key.period

    def due(self, now):
        """Tell whether it was used since its store was last told what the table knows."""
        return self.seeded < self.used and now - self.seeded >= EVERY


class Budgets:
    """Finds a key's account; `spent(key id, since)` asks the table for nano-USD.

    What is spent is counted in the store. A store that was lost, or that another one has stood in
    for, learns from the table what it has missed: at first use, and then twice a minute.
    """

    def __init__(self, store, spent, clock=time.time):
        self.store, self.spent, self.clock = store, spent, clock
        self.accounts = {}

    def account(self, key):
        """Return the name of the key's account now; waits a moment at its first use."""
        now = self.clock()
        found = self.accounts.get(key.id)
        if found is None or found.stale(key, now, self.store.epoch):
            found = self.begin(key, now)
        if not found.ready.is_set():
            # A table that is away or slow must not refuse the call: the next look makes it good.
            found.ready.wait(PATIENCE)
            found.ready.set()
        found.used = now
        return found.name

    def begin(self, key, now):
        """Make the key's account and have it seeded aside."""
        found = self.accounts[key.id] = Account(key, now)
        threading.Thread(target=self.seed_safely, args=(found,), daemon=True).start()
        return found

    def seed(self, account):
        """Tell the store what the table knows. Raises DependencyUnavailable."""
        now = self.clock()
        self.store.seed(account.name, self.spent(account.key, account.since), account.until)
        account.seeded, account.epoch = now, self.store.epoch

    def seed_safely(self, account):
        """Seed and tell whether the database is there."""
        try:
            self.seed(account)
        except errors.DependencyUnavailable:
            return False  # The database has logged it.
        except Exception as exc:
            log.error("a budget could not be read", exc_info=exc)
        finally:
            account.ready.set()
        return True

    def refresh(self):
        """Seed the accounts that are due, and forget those that nobody uses."""
        now = self.clock()
        for account in list(self.accounts.values()):
            if now - account.used > IDLE:
                self.accounts.pop(account.key, None)
            elif account.due(now) and not self.seed_safely(account):
                return

    def run(self, stop, interval=1.0):
        """Refresh every `interval` seconds until `stop` is set."""
        while not stop.wait(interval):
            try:
                self.refresh()
            except Exception as exc:
                log.error("budgets could not be refreshed", exc_info=exc)
