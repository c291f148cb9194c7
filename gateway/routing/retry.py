"""Whether a failed try is worth another, after what wait, and how many there may be. Pure."""

import collections
import random

from gateway import errors

BASE, CAP = 0.25, 4.0  # seconds of backoff: doubled for each repeat, never above the cap
LONGEST_WAIT = 5.0  # a longer Retry-After is the client's to wait for
IN_ALL = 60.0  # seconds since the call began after which nothing new is tried
EXTRA, LEAST, WINDOW = 0.2, 3, 10.0  # extra calls: share of the calls in the window, or this many

AGAIN, NEXT, STOP = "again", "next", "stop"


def verdict(error):
    """Say what a failed try allows: this upstream again, only another one, or nothing more."""
    if isinstance(error, errors.UpstreamRefused | errors.ResponseNotFound):
        return STOP
    if isinstance(error, errors.UpstreamAuthFailed | errors.StreamNotSupported):
        return NEXT
    answered = error.upstream_status is not None
    if isinstance(error, errors.UpstreamTimeout) and not answered and error.param != "connect":
        return STOP  # the client has waited long enough
    readable = answered and error.upstream_status >= 400
    if isinstance(error, errors.UpstreamBadResponse) and not readable:
        return NEXT  # what it sends makes no sense, and would not the next time
    if isinstance(error, errors.RateLimited | errors.NoHealthyUpstream) and not answered:
        return NEXT  # said under status 200, where what has been done may be paid for
    if isinstance(error, errors.UpstreamError | errors.RateLimited | errors.NoHealthyUpstream):
        return NEXT if error.began else AGAIN
    return STOP


def is_fault(error):
    """Tell whether a failure speaks against the upstream, and not against the request."""
    fault = isinstance(error, errors.UpstreamError | errors.NoHealthyUpstream)
    return fault and not isinstance(error, errors.UpstreamRefused)


def delay(repeat, error, rand=random.random):
    """Return the seconds before repeat number `repeat` (from 0), or None if that is too long."""
    backoff = rand() * min(CAP, BASE * 2**repeat)  # full jitter: a crowd does not come back at once
    wait = error.retry_after if isinstance(error, errors.RateLimited) else error.wait
    if wait is None:
        return backoff
    return None if wait > LONGEST_WAIT else wait + backoff


class Budget:
    """How many extra calls the recent ones allow, so that an outage is not multiplied."""

    def __init__(self):
        self.calls, self.extra = collections.deque(), collections.deque()

    def call(self, now):
        """Count a client's call."""
        self._forget(now)
        self.calls.append(now)

    def spend(self, now):
        """Count an extra call if there is one left, and tell whether there was."""
        self._forget(now)
        left = len(self.extra) + 1 <= max(LEAST, EXTRA * len(self.calls))
        if left:
            self.extra.append(now)
        return left

    def owe(self, now):
        """Count an extra call that was free to make, and has turned out to be one too many."""
        self.extra.append(now)

    def _forget(self, now):
        for times in (self.calls, self.extra):
            while times and now - times[0] > WINDOW:
                times.popleft()
