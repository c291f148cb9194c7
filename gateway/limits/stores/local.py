"""A store that all processes of one machine share, with no service to run."""

import functools
import logging
import os
import struct
import time

import lmdb

from gateway.limits.stores import DAY, LARGEST, WEEK, Away, Taken
from gateway.limits.stores import holder as holders
from gateway.limits.stores.counting import share
from gateway.limits.stores.lmdb_storage import Windows, expired, record_key
from gateway.limits.stores.records import DAMAGE, Records

log = logging.getLogger("gateway")

ACCOUNT = struct.Struct("<qdd")  # spent, when it may be forgotten, when its period ends
HOLD = struct.Struct("<8sq")  # a holder, what it holds
BATCH = 200  # records looked at in one transaction of a sweep
PAUSE = 5  # seconds between two sweeps of a whole file that is full
SWEEP = 1.0  # seconds between two batches


def kept(method):
    """Make room or open the file anew where LMDB fails and try once more; then raise Away."""

    @functools.wraps(method)
    def safely(self, *args):
        try:
            return method(self, *args)
        except lmdb.Error as exc:
            fault = exc
        try:
            self.recover(fault)
            return method(self, *args)
        except lmdb.Error as exc:
            raise Away(f"the file of limits fails: {exc}") from exc

    return safely


class Local:
    """Keeps counts in a folder of this machine; `clock` gives unix seconds.

    Raises Away where nothing can be kept, neither in the folder nor in the machine's temporary one.
    """

    alone = False

    def __init__(self, folder, clock=time.time):
        self.clock = clock
        self.records = Records(folder)
        self.windows = Windows(records=self.records, clock=clock)
        self.steps = {
            "hit": self.windows.hit_in,
            "look": self.windows.look_in,
            "add": self.add_in,
            "take": self.take_in,
            "settle": self.settle_in,
            "seed": self.seed_in,
        }
        self.full_until = 0.0
        self.swept = b""  # the key that the next batch of a sweep begins with

    @property
    def epoch(self):
        return self.records.opened

    @kept
    def each(self, asks):
        """Do what several calls would, in one transaction: a third of what one each costs.

        `asks` are (method's name, its arguments…). Returns what they give, up to the first refusal.
        """
        found, steps = [], self.steps
        with self.records.begin() as txn:
            for method, *args in asks:
                given = steps[method](txn, *args)
                found.append(given)
                if given is not None and not given[0]:
                    break
        return found

    def hit(self, *asked):
        return self.each([("hit", *asked)])[0]

    def look(self, *asked):
        return self.each([("look", *asked)])[0]

    def add(self, *asked):
        self.each([("add", *asked)])

    def take(self, *asked):
        return self.each([("take", *asked)])[0]

    def settle(self, *asked):
        self.each([("settle", *asked)])

    def seed(self, *asked):
        self.each([("seed", *asked)])

    def add_in(self, txn, name, seconds, amount, window=None):
        self.windows.add_in(txn, name, seconds, amount, window.at if window else None)

    def take_in(self, txn, name, limit, amount, least=None):
        key, mine = record_key(b"a", name), self.records.holder.id
        account = Account(txn.get(key), self.clock())
        room = min(limit, LARGEST) - account.total()
        if room < amount and account.held:
            self.bury(account)
            room = min(limit, LARGEST) - account.total()
        taken = share(amount, least, room)
        if taken > 0:
            account.hold(mine, taken)
            txn.put(key, account.packed())
        return Taken(taken, max(room - taken, 0), self, mine)

    def settle_in(self, txn, name, taken, used=0):
        key = record_key(b"a", name)
        account = Account(txn.get(key), self.clock())
        if taken:
            account.give_back(taken.hold, taken.amount)
        if used > 0:
            account.spend(used)
        self.put(txn, key, account)

    def seed_in(self, txn, name, spent, until):
        key = record_key(b"a", name)
        account = Account(txn.get(key), self.clock())
        account.spent = max(account.spent, min(spent, LARGEST))
        account.until = until
        account.touch()
        self.put(txn, key, account)

    @kept
    def sweep(self):
        """Remove what has expired among the next few records; return whether that were the last."""
        now = self.clock()
        with self.records.begin() as txn:
            found = batch(txn, self.swept)
            for name, raw in found[:BATCH]:
                if name[:1] == b"w":
                    if expired(raw, now):
                        txn.delete(name)
                else:
                    self.sweep_account(txn, name, raw, now)
        self.swept = found[BATCH][0] if len(found) > BATCH else b""
        return not self.swept

    def run(self, stop):
        """Keep the file small and in its place, until `stop` is set."""
        while not stop.wait(SWEEP):
            try:
                self.tend()
            except Exception:
                log.exception("the file of limits could not be kept")

    def tend(self):
        """Do what the loop does once a second."""
        self.records.heal()
        try:
            self.sweep()
        except Away:
            pass  # It is logged where the file is opened.

    def close(self):
        """Let go of the file and of everything held; the next use opens it again."""
        self.records.close()

    def recover(self, exc):
        """Do what may help before the second try; raise Away or lmdb.Error where nothing will."""
        if isinstance(exc, lmdb.MapFullError):
            self.make_room()
        elif isinstance(exc, DAMAGE):
            self.records.broken()
        else:
            self.records.heal()

    def make_room(self):
        """Sweep the whole file, but not again and again where that frees nothing."""
        if time.monotonic() < self.full_until:
            raise Away("the file of limits is full")
        self.full_until = time.monotonic() + PAUSE
        self.swept = b""
        while not self.sweep.__wrapped__(self):
            pass

    def bury(self, account):
        """Take what dead processes hold off an account."""
        folder = os.path.join(self.records.path, "holders")
        mine = self.records.holder.id
        for id in [i for i in account.held if i != mine and not holders.alive(folder, i)]:
            del account.held[id]

    def sweep_account(self, txn, name, raw, now):
        account = Account(raw, now)
        before = len(account.held)
        self.bury(account)
        if account.empty() or len(account.held) != before:
            self.put(txn, name, account)

    def put(self, txn, name, account):
        if account.empty():
            txn.delete(name)
        else:
            txn.put(name, account.packed())


class Account:
    """A record of what is spent, and of what each holder holds beside it, read at the time `now`.

    `held` is {holder's id: amount}, `until` when the account's period ends, 0 where that is not
    known, and `expires` when what is spent may be forgotten.
    """

    __slots__ = ("now", "spent", "expires", "until", "held")

    def __init__(self, raw, now):
        self.now = now
        if raw is None:
            self.spent, self.expires, self.until, self.held = 0, 0.0, 0.0, {}
            return
        self.spent, self.expires, self.until = ACCOUNT.unpack_from(raw)
        self.held = dict(HOLD.iter_unpack(raw[ACCOUNT.size :]))
        if now >= self.expires:
            self.spent, self.until = 0, 0.0

    def total(self):
        return self.spent + sum(self.held.values())

    def hold(self, id, amount):
        self.held[id] = self.held.get(id, 0) + amount
        self.touch()

    def give_back(self, id, amount):
        left = self.held.pop(id, 0) - amount
        if left > 0:
            self.held[id] = left

    def spend(self, used):
        self.spent = min(self.spent + used, LARGEST)
        self.touch()

    def touch(self):
        """Keep what is spent for a while yet, but no longer than its period."""
        until, week = self.until, self.now + WEEK
        self.expires = (until if until < week else week) if until else self.now + DAY

    def empty(self):
        return not self.spent and not self.held and not self.until

    def packed(self):
        held = [HOLD.pack(id, min(n, LARGEST)) for id, n in self.held.items()]
        return ACCOUNT.pack(self.spent, self.expires, self.until) + b"".join(held)


def batch(txn, start):
    """Return the records from `start` on, up to one more than a batch."""
    found = []
    cursor = txn.cursor()
    if cursor.set_range(start) if start else cursor.first():
        for item in cursor:
            found.append(item)
            if len(found) > BATCH:
                break
    cursor.close()
    return found
