"""The tries of one call: which target is next, after what wait, and when to stop."""

from gateway import errors
from gateway.routing import retry


class Tries:
    """Walks through a call's candidates: `begin()` a try, say how it went, `end()` it.

    `desk` is the router, which keeps what outlives the call: breakers, loads and budgets.
    """

    def __init__(self, desk, call, candidates):
        self.desk, self.call, self.candidates = desk, call, candidates
        self.budget = desk.budget(call.model)
        self.failures = {}  # target to its last error
        self.repeats = 0
        self.target, self.began = None, 0.0
        self.budget.call(call.clock())

    def begin(self):
        """Return the target to try now. Raises what the client gets where there is none."""
        target = self.target = self.target or self.first()
        self.began = self.call.clock()
        self.desk.breaker(target).begin(self.began)
        self.desk.load[target.upstream.name] += 1
        self.call.upstream, self.call.upstream_model = target.upstream.name, target.model
        return target

    def end(self):
        """Give back what the try held, however it went."""
        self.desk.load[self.call.upstream] -= 1
        self.desk.breaker_of(self.call.upstream, self.call.upstream_model).give_up()

    def succeeded(self):
        """Note that the target has answered."""
        self.desk.breaker(self.target).succeed(self.call.clock())
        self.call.attempts.append(f"{self.target.upstream.name}:200")

    def failed(self, error):
        """Note a failure and choose what is next; return the seconds to wait for it.

        Raises the error when nothing more is to be tried.
        """
        self.broke(error)
        self.call.attempts.append(f"{self.target.upstream.name}:{outcome(error)}")
        self.failures[self.target] = error
        now = self.call.clock()
        if retry.verdict(error) == retry.STOP or now >= self.limit():
            raise error
        following = self.fresh()
        if following is not None and self.affordable(following, now):
            self.target = following
            return 0.0
        return self.repeat(error, now)

    def broke(self, error):
        """Tell the breaker of a failure, where it was the upstream's."""
        breaker, now = self.desk.breaker(self.target), self.call.clock()
        if error.upstream_status == 429:
            breaker.limit(now, error.retry_after)
        elif retry.is_fault(error):
            breaker.fail(now)
        else:
            breaker.succeed(now)

    def first(self):
        """Return the best candidate that can take the call; the last one is never refused."""
        found = self.fresh()
        if found is None:
            found = self.soonest([t for t in self.candidates if not self.desk.full(t)])
        return found

    def fresh(self):
        """Return the best candidate that has not been tried and is worth it, or None."""
        if len(self.failures) >= self.desk.settings.upstreams:
            return None
        now = self.call.clock()
        for target in self.candidates:
            if target not in self.failures and self.desk.breaker(target).allows(now):
                if not self.desk.full(target):
                    return target
        return None

    def soonest(self, targets):
        """Return the target whose breaker opens its way soonest, for a call at once."""
        if not targets:
            raise errors.ServerOverloaded()
        breakers = {target: self.desk.breaker(target) for target in targets}
        failing = [target for target in targets if not breakers[target].limited]
        if failing:
            return min(failing, key=lambda target: breakers[target].until or 0)
        left = min(breaker.until for breaker in breakers.values()) - self.call.clock()
        error = errors.RateLimited(retry.LIMITED, retry_after=max(left, 1))
        error.source = "upstream"
        raise error

    def repeat(self, error, now):
        """Choose a target to try once more, or raise the error."""
        settings, again = self.desk.settings, self.again()
        short = now - self.began < settings.within
        if again is None or not short or self.repeats >= settings.attempts:
            raise error
        wait = retry.delay(self.repeats, self.failures[again], self.desk.rand)
        if wait is None or now + wait >= self.limit() or not self.budget.spend(now):
            raise error
        self.repeats += 1
        self.target = again
        return wait

    def again(self):
        """Return a target whose last failure may be repeated, one with a closed breaker first."""
        repeatable = [
            target
            for target, error in self.failures.items()
            if retry.verdict(error) == retry.AGAIN and not self.desk.full(target)
        ]
        repeatable.sort(key=lambda target: self.desk.breaker(target).until or 0)
        return repeatable[0] if repeatable else None

    def affordable(self, target, now):
        """Moving on to an upstream that works is free; to one that fails too, it costs budget."""
        return self.desk.breaker(target).streak == 0 or self.budget.spend(now)

    def limit(self):
        return min(self.call.started + retry.IN_ALL, self.call.deadline)


def outcome(error):
    """Return how x-gateway-attempts names a failure: a status, connect, reset, timeout or bad."""
    if error.upstream_status is not None:
        return str(error.upstream_status)
    if isinstance(error, errors.UpstreamUnreachable):
        return "connect"
    if isinstance(error, errors.UpstreamTimeout):
        return "connect" if error.param == "connect" else "timeout"
    return "reset" if isinstance(error, errors.UpstreamReset) else "bad"
