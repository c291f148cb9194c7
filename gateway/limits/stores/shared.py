"""A store that many machines share: one Redis.

What a process holds on accounts, it holds under an id whose heartbeat it keeps alive. After any
fault nobody knows what Redis has done and what it may yet do with what it was sent. The id is
spoilt then: its heartbeat is removed, so that whatever still comes under it does nothing, and what
the process really holds is held again under a new one.
"""

import logging
import os
import secrets
import threading
import time
from itertools import groupby

from gateway.limits.stores import LARGEST, Away, Taken, Window, scripts
from gateway.limits.stores.counting import MARGIN, Count
from gateway.limits.stores.line import Line

log = logging.getLogger("gateway")

PREFIX = "gateway:"
LIFE = 10_000  # milliseconds that a holder lives after its last beat
BEAT = 3.0  # seconds
TRIES = 10  # of a take, whose id other calls may spoil
EACH = "rpm:"  # begins the names of windows that keep the time of each hit


class Hold:
    """What one `take` holds, and under which of the process's ids it does so."""

    __slots__ = ("name", "amount", "holder")

    def __init__(self, name, amount, holder):
        self.name, self.amount, self.holder = name, amount, holder


class Shared:
    """Keeps counts in the Redis at `url`. Every method raises Away where that cannot answer."""

    alone = False

    def __init__(self, url, prefix=PREFIX, clock=time.monotonic):
        self.prefix, self.clock = prefix, clock
        self.line = Line(url, self.doubt)
        self.epoch = 0  # how many ids this process has had
        self.pid = os.getpid()
        self.holder = None  # this process's id, once it has one
        self.spoilt = ""  # the one it had before
        self.holds = set()
        self.beginning, self.moving = threading.Lock(), threading.Lock()
        script = self.line.script
        self.count, self.count_each = script(scripts.HIT, 4), script(scripts.HIT_EACH, 4)
        self.count_more, self.count_each_more = script(scripts.ADD), script(scripts.ADD_EACH)
        self.take_some, self.settle_some = script(scripts.TAKE, 2), script(scripts.SETTLE)
        self.raise_spent, self.hold_again = script(scripts.SEED), script(scripts.HOLD)
        self.begin_beating, self.go_on_beating = script(scripts.BEGIN), script(scripts.BEAT)

    def hit(self, name, limit, seconds, amount=1, least=None):
        limit, amount = min(limit, LARGEST), min(amount, LARGEST)
        if name.startswith(EACH):
            return self.hit_each(name, limit, seconds, amount)
        needed = amount if least is None else max(least, 1)
        asked = (limit, seconds, amount, -1 if least is None else needed)
        taken, before, current, kept = self.count(self.window_keys(name), *asked)
        count = Count(before, current, max(kept / 1000 - seconds, 0), seconds)
        remaining = max(limit - count.weighted(), 0)
        reset = count.reset(limit, needed, taken)
        return Window(taken, remaining, reset, self, self.clock())

    def hit_each(self, name, limit, seconds, amount):
        keys = [f"{self.prefix}window:{name}"]
        taken, found, newest, first = self.count_each(keys, limit, seconds, amount)
        age = first if amount and not taken and amount <= limit else newest
        reset = max(seconds - age / 1e6, 0) + MARGIN if found else 0.0
        return Window(taken, max(limit - found, 0), reset, self, self.clock())

    def look(self, name, limit, seconds):
        return self.hit(name, limit, seconds, 0)

    def add(self, name, seconds, amount, window=None):
        amount = max(min(amount, LARGEST), -LARGEST)
        if name.startswith(EACH):
            self.count_each_more([f"{self.prefix}window:{name}"], seconds, amount)
            return
        age = self.clock() - window.at if window else 0
        self.count_more(self.window_keys(name), seconds, amount, age)

    def take(self, name, limit, amount, least=None):
        limit, amount = min(limit, LARGEST), min(amount, LARGEST)
        asked = (limit, amount, -1 if least is None else max(least, 1))
        for _ in range(TRIES):
            holder = self.current()
            keys = [self.account_key(name), self.beat_key(holder)]
            taken, left = self.take_some(keys, holder, self.beat_key(""), *asked)
            if taken >= 0:
                return Taken(taken, left, self, taken and self.held(name, taken, holder))
            self.spoil(holder)
        raise Away("the heartbeat in Redis is lost again and again")

    def settle(self, name, taken, used=0):
        amount, used = self.let_go(taken and taken.hold), min(used, LARGEST)
        if amount or used > 0:
            holder = self.holder or ""
            keys = [self.account_key(name), self.beat_key(holder)]
            lives = self.settle_some(keys, holder, amount, used)
            if amount and not lives:
                self.spoil(holder)

    def seed(self, name, spent, until):
        until = int(min(until * 1000, LARGEST))
        self.raise_spent([self.account_key(name)], min(spent, LARGEST), until)

    def beat(self):
        """Keep this process's id alive, or begin a new one if it has died."""
        holder = self.current()
        if not self.go_on_beating([self.beat_key(holder)], LIFE):
            self.spoil(holder)
            self.current()

    def run(self, stop):
        """Beat until `stop` is set."""
        while not stop.wait(BEAT):
            try:
                self.beat()
            except Away:
                pass
            except Exception:
                log.exception("the heartbeat in Redis failed")

    def close(self):
        """Let go of everything held, and close the connections."""
        self.spoil(self.holder)
        try:
            self.begin_beating([self.beat_key("gone"), self.beat_key(self.spoilt)], 1)
        except Away:
            pass  # Its heartbeat stops within seconds.
        self.line.close()

    def window_keys(self, name):
        return [f"{self.prefix}window:{{{name}}}/-1", f"{self.prefix}window:{{{name}}}"]

    def account_key(self, name):
        return f"{self.prefix}account:{name}"

    def beat_key(self, holder):
        return f"{self.prefix}holder:{holder}"

    def current(self):
        """Return this process's id, with all that the process holds held under it."""
        if self.holder is None or self.pid != os.getpid():
            self.begin()
        elif self.moving.locked():
            with self.moving:
                pass
        return self.holder or ""

    def begin(self):
        faults = self.line.faults
        with self.beginning:
            if self.pid != os.getpid():  # What the parent of a fork holds is not ours.
                self.pid, self.holder, self.spoilt, self.holds = os.getpid(), None, "", set()
            if self.holder is not None:
                return
            self.line.check(faults)
            fresh = secrets.token_hex(8)
            keys = [self.beat_key(fresh), self.beat_key(self.spoilt)]
            self.begin_beating(keys, LIFE)
            self.holder = fresh
            self.epoch += 1
        self.gather()

    def spoil(self, holder):
        if holder is not None and holder == self.holder:
            self.holder, self.spoilt = None, holder

    def doubt(self):
        self.spoil(self.holder)

    def held(self, name, amount, holder):
        hold = Hold(name, amount, holder)
        self.holds.add(hold)
        if holder != self.holder:  # spoilt meanwhile
            try:
                self.current()
                self.gather()
            except BaseException:
                self.lose(hold)
                raise
        return hold

    def lose(self, hold):
        """Forget what nobody will settle, in Redis too if it is held under the id of now."""
        self.holds.discard(hold)
        self.doubt()

    def let_go(self, hold):
        """Return how much of it is held under the id of now, which has to be given back."""
        if not hold or hold not in self.holds:
            return 0
        if hold.holder != self.holder:
            try:
                with self.moving:  # It either is moved by now or never will be.
                    self.holds.discard(hold)
            except BaseException:
                self.lose(hold)
                raise
        self.holds.discard(hold)
        return hold.amount if hold.holder == self.holder else 0

    def gather(self):
        """Hold under the id of now what was held under earlier ones."""
        with self.moving:
            holder = self.holder
            loose = [hold for hold in self.holds if hold.holder != holder]
            loose.sort(key=lambda hold: hold.name)
            for name, group in groupby(loose, key=lambda hold: hold.name):
                group = list(group)
                keys = [self.account_key(name), self.beat_key(holder)]
                if holder is None or not self.hold_again(
                    keys, holder, sum(hold.amount for hold in group)
                ):
                    self.spoil(holder)
                    return
                for hold in group:
                    hold.holder = holder
