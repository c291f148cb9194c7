"""The tries of one call: which target is next, after what wait, and when to stop."""

from gateway import errors
from gateway.routing import retry
from gateway.upstreams.faults import LIMITED


class Tries:
    """Walks through a call's candidates: `begin()` a try, say how it went, `end()` it.

    `desk` is the router, which keeps what outlives the call: breakers, loads and budgets.
    """

    __slots__ = ("desk", "call", "candidates", "budget", "failures", "repeats")
    __slots__ += ("target", "tried", "before", "began", "breaker", "probe", "free")

    def __init__(self, desk, call, candidates):
        self.desk, self.call, self.candidates = desk, call, candidates
        self.budget = desk.budget(call.model)
        self.failures = {}  # target to its last error
        self.repeats = 0
        self.target, self.began = None, 0.0
        self.tried = None  # the upstream of the try that is on
        self.before = None  # what the call said of its upstream before this try
        self.breaker, self.probe = None, None
        self.free = False  # this try is an extra call that cost no budget
        self.budget.call(call.clock())

    def begin(self):
        """Return the target to try now. Raises what the client gets where there is none."""
        now = self.call.clock()
        target, breaker = self.chosen(now)
        # The wait before a repeat is over: meanwhile others may have filled the target, or been
        # told to keep away from it.
        if breaker.limited > now:
            raise limited(breaker.limited - now)
        if self.desk.full(target):
            raise errors.ServerOverloaded()
        self.target, self.began = target, now
        self.breaker, self.probe = breaker, breaker.begin(now)
        self.tried = target.upstream.name
        self.desk.load[self.tried] += 1
        call = self.call
        self.before = call.upstream, call.upstream_model, call.price
        call.upstream, call.upstream_model, call.price = self.tried, target.model, target.price
        return target

    def end(self):
        """Give back what the try held, however it went."""
        self.desk.load[self.tried] -= 1
        self.breaker.give_up(self.probe)

    def succeeded(self):
        """Note that the target has answered."""
        self.breaker.succeed(self.call.clock(), self.began)
        self.call.attempts.append(f"{self.tried}:200")

    def failed(self, error):
        """Note a failure and choose what is next; return the seconds to wait for it.

        Raises the error when nothing more is to be tried.
        """
        self.broke(error)
        if error.source == "upstream":
            self.call.attempts.append(f"{self.tried}:{outcome(error)}")
        else:  # the call could not be put to it, and nothing was sent: it has answered nobody
            self.call.upstream, self.call.upstream_model, self.call.price = self.before
        self.failures[self.target] = error
        if not error.began:
            self.call.sent = 0  # who leaves before the next try owes nothing for this one
        now = self.call.clock()
        if retry.verdict(error) == retry.STOP or now >= self.limit():
            raise error
        if self.free:
            self.budget.owe(now)
        following = self.following(now)
        if following is None:
            return self.repeat(error, now)
        self.target = following
        return 0.0

    def broke(self, error):
        """Tell the breaker of a failure, where it was the upstream's."""
        now = self.call.clock()
        if isinstance(error, errors.RateLimited):
            self.breaker.limit(now, error.retry_after)
        elif retry.is_fault(error):
            if not (self.call.hurried and overdue(error)):  # else the time was others' to waste
                self.breaker.fail(now, self.began)
        elif error.source == "upstream":
            self.breaker.succeed(now, self.began)

    def chosen(self, now):
        """Return the target to try and its breaker: at first the best one that can take the call.

        The last one is never refused.
        """
        target = self.target
        if target is None:
            for target in self.candidates:
                breaker = self.desk.breaker(target)
                if breaker.allows(now) and not self.desk.full(target):
                    return target, breaker
            target = self.soonest(now)
        return target, self.desk.breaker(target)

    def fresh(self, now):
        """Yield the candidates that have not been tried and are worth it, best first."""
        if len(self.failures) >= self.desk.settings.upstreams:
            return
        for target in self.candidates:
            if target not in self.failures and self.desk.breaker(target).allows(now):
                if not self.desk.full(target):
                    yield target

    def following(self, now):
        """Return the next candidate that the budget allows, or None.

        Moving on to an upstream that works is free; to one that fails too, it costs budget. The
        last ones are those whose breakers are open: they may have come back without being asked.
        """
        for target in self.fresh(now):
            self.free = self.desk.breaker(target).streak == 0
            if self.free or self.budget.spend(now):
                return target
        self.free = False
        last = self.shut(now)
        return last if last is not None and self.budget.spend(now) else None

    def shut(self, now):
        """Return the untried candidate whose open breaker opens soonest, or None."""
        if len(self.failures) >= self.desk.settings.upstreams:
            return None
        breakers = {t: self.desk.breaker(t) for t in self.candidates if t not in self.failures}
        left = [
            target
            for target, breaker in breakers.items()
            if not breaker.allows(now)
            and not breaker.limited_for(now)
            and not self.desk.full(target)
        ]
        return min(left, key=lambda target: breakers[target].until or 0, default=None)

    def soonest(self, now):
        """Return the target whose breaker opens its way soonest, for a call at once."""
        waits = {t: self.desk.breaker(t).limited_for(now) for t in self.candidates}
        free = [t for t in self.candidates if not waits[t] and not self.desk.full(t)]
        if free:
            return min(free, key=lambda target: self.desk.breaker(target).until or 0)
        if not all(waits.values()):
            raise errors.ServerOverloaded()
        raise limited(min(waits.values()))

    def repeat(self, error, now):
        """Choose a target to try once more and return the wait for it, or raise the error."""
        settings = self.desk.settings
        short = now - self.began < settings.within
        target, wait = self.again(now)
        if target is None or not short or self.repeats >= settings.attempts:
            raise error
        if now + wait >= self.limit() or not self.budget.spend(now):
            raise error
        self.repeats += 1
        self.target, self.free = target, False
        return wait

    def again(self, now):
        """Return a failed target that may be tried once more, and the seconds to wait for it.

        One with a closed breaker comes first; (None, 0) if there is none.
        """
        waits = {}
        for target, error in self.failures.items():
            wait = retry.delay(self.repeats, error, self.desk.rand)
            left = self.desk.breaker(target).limited_for(now)
            if retry.verdict(error) == retry.AGAIN and wait is not None:
                if left <= retry.LONGEST_WAIT:
                    waits[target] = max(wait, left)
        best = min(waits, key=lambda t: self.desk.breaker(t).until or 0, default=None)
        return best, waits.get(best, 0.0)

    def limit(self):
        return min(self.call.started + retry.IN_ALL, self.call.deadline)


def overdue(error):
    """Tell whether a call has ended because all of its time was over."""
    return isinstance(error, errors.UpstreamTimeout) and error.param == "total"


def limited(seconds):
    """Return what a client hears while a 429's Retry-After runs."""
    error = errors.RateLimited(LIMITED, retry_after=max(seconds, 1))
    error.source = "upstream"
    return error


def outcome(error):
    """Return how x-gateway-attempts names a failure: a status, connect, reset, timeout or bad."""
    if error.upstream_status is not None:
        return str(error.upstream_status)
    if isinstance(error, errors.UpstreamUnreachable):
        return "connect"
    if isinstance(error, errors.UpstreamTimeout):
        return "connect" if error.param == "connect" else "timeout"
    return "reset" if isinstance(error, errors.UpstreamReset) else "bad"
