"""Sliding windows in an LMDB file, as a storage of the library limits."""

import functools
import hashlib
import struct
import time

import lmdb
from limits.storage import SlidingWindowCounterSupport, Storage

from gateway.limits.stores import LARGEST, Window
from gateway.limits.stores.counting import Count, share
from gateway.limits.stores.records import Records

RECORD = struct.Struct("<dqqq")  # seconds, number of the running window, counts before and in it
LONGEST = 400  # bytes of a name; LMDB takes 511 for a key


@functools.lru_cache(maxsize=8192)  # of a key in use all four records are asked for all the time
def record_key(kind, name):
    """Return the key of a record: `kind` is b"w" for a window and b"a" for an account."""
    name = name.encode()
    return kind + (name if len(name) <= LONGEST else hashlib.sha256(name).digest())


def read(raw, seconds, now, limit=None):
    """Return (number of the window now running, counts before and in it, whether to write that).

    A record from windows to come tells of a clock put back. It counts as if all of it had just been
    used, but for no more than the limit, so that it locks nobody out for longer than a window does.
    Without a `limit` it stays where it is.
    """
    number = int(now // seconds)
    if not raw:
        return number, 0, 0, False
    size, then, before, current = RECORD.unpack(raw)
    if then == number and size == seconds:
        return number, before, current, False
    if then < number - 1 or size != seconds:
        return number, 0, 0, False
    if then == number - 1:
        return number, current, 0, False
    if limit is not None:
        return number, 0, min(before + current, limit), True
    return then, before, current, False


class Windows(Storage, SlidingWindowCounterSupport):
    """What limits asks of a storage, and what one transaction of ours can do beyond that.

    `hit` counts and tells what is left at once and may count less than was asked; `add` counts
    without asking, or gives back. All work on the records that the strategies of limits see.
    """

    STORAGE_SCHEME = ["gateway+lmdb"]

    def __init__(self, uri=None, wrap_exceptions=False, records=None, clock=time.time, **options):
        super().__init__(uri, wrap_exceptions, **options)
        self.records = records or Records(uri.partition("://")[2])
        self.clock = clock

    @property
    def base_exceptions(self):
        return lmdb.Error

    def hit(self, name, limit, seconds, amount=1, least=None):
        """Count `amount`, or what is left if that is at least `least`; return the Window."""
        with self.records.begin() as txn:
            return self.hit_in(txn, name, limit, seconds, amount, least)

    def hit_in(self, txn, name, limit, seconds, amount=1, least=None):
        """Do what `hit` does within a transaction."""
        key, now, limit = record_key(b"w", name), self.clock(), min(limit, LARGEST)
        number, before, current, ahead = read(txn.get(key), seconds, now, limit)
        left = seconds - now % seconds
        room = limit - Count(before, current, left, seconds).weighted()
        taken = share(amount, least, room)
        if taken or ahead:
            current += taken
            txn.put(key, RECORD.pack(seconds, number, before, current))
        needed = amount if least is None else max(least, 1)
        reset = Count(before, current, left, seconds).reset(limit, needed, taken)
        return Window(taken, max(room - taken, 0), reset, None, now)

    def look(self, name, limit, seconds):
        """Return the Window without counting."""
        with self.records.begin() as txn:
            return self.look_in(txn, name, limit, seconds)

    def look_in(self, txn, name, limit, seconds):
        """Do what `look` does within a transaction."""
        limit = min(limit, LARGEST)
        count = self.count_in(txn, name, seconds, limit)
        return Window(0, max(limit - count.weighted(), 0), count.until(0), at=self.clock())

    def add(self, name, seconds, amount, since=None):
        """Count without asking, or give back what was counted at `since`, in its own window."""
        with self.records.begin() as txn:
            self.add_in(txn, name, seconds, amount, since)

    def add_in(self, txn, name, seconds, amount, since=None):
        """Do what `add` does within a transaction."""
        key, now = record_key(b"w", name), self.clock()
        number, before, current, _ = read(txn.get(key), seconds, now)
        age = number - int((now if since is None else since) // seconds)
        if amount >= 0 or age <= 0:
            current = min(max(current + amount, 0), LARGEST)
        elif age == 1:
            before = max(before + amount, 0)
        txn.put(key, RECORD.pack(seconds, number, before, current))

    def count_in(self, txn, name, seconds, limit=None):
        now = self.clock()
        _, before, current, _ = read(txn.get(record_key(b"w", name)), seconds, now, limit)
        return Count(before, current, seconds - now % seconds, seconds)

    def acquire_sliding_window_entry(self, key, limit, expiry, amount=1):
        return self.hit(key, limit, expiry, amount).taken == amount

    def get_sliding_window(self, key, expiry):
        with self.records.begin() as txn:
            count = self.count_in(txn, key, expiry)
        left = count.left if count.before else 0.0
        return count.before, left, count.current, count.left + expiry

    def clear_sliding_window(self, key, expiry):
        self.clear(key)

    def clear(self, key):
        with self.records.begin() as txn:
            txn.delete(record_key(b"w", key))

    def check(self):
        with self.records.begin():
            return True

    def reset(self):
        with self.records.begin() as txn:
            keys = [key for key in txn.cursor().iternext(values=False) if key[:1] == b"w"]
            for key in keys:
                txn.delete(key)
            return len(keys)

    def incr(self, key, expiry, amount=1):
        raise NotImplementedError("only the sliding window counter is kept here")

    get = get_expiry = incr


def expired(raw, now):
    """Tell whether a window counts nothing any more; one far ahead is of a clock put back."""
    seconds, number, _, _ = RECORD.unpack(raw)
    return abs(int(now // seconds) - number) > 1
