"""A few connections to a Redis: who has to wait for one learns at once when it fails."""

import contextlib
import queue

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.limits.stores import Away

PATIENCE = 0.2  # seconds that Redis has for an answer
SOCKETS = 16
FAULTS = (redis.RedisError, OSError, ValueError, TypeError, LookupError)


class Line:
    """Runs scripts, each of which returns so many whole numbers.

    `doubt` is called after each fault: then nobody knows whether Redis has done what it was asked,
    or will do so yet.
    """

    def __init__(self, url, doubt):
        self.doubt = doubt
        self.faults = 0
        # A semaphore, or redis-py's own pool that blocks, may switch greenlets when it lets go: a
        # greenlet that is killed there loses its place for ever. A SimpleQueue never does.
        self.free = queue.SimpleQueue()
        for place in range(SOCKETS):
            self.free.put(place)
        self.pool = redis.ConnectionPool.from_url(
            url,
            max_connections=2 * SOCKETS,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # saves two round trips each time that a connection is made
        )
        self.client = redis.Redis(connection_pool=self.pool)

    def script(self, text, numbers=1):
        """Return a function of (keys, *args) that runs the script; it raises Away."""
        script = self.client.register_script(text)

        def ask(keys, *args):
            return self.ask(script, numbers, keys, args)

        return ask

    def ask(self, script, numbers, keys, args):
        place = self.wait()
        try:
            return _checked(script(keys, args), numbers)
        except FAULTS as exc:
            self.faults += 1
            self.doubt()
            raise Away(str(exc) or type(exc).__name__) from exc
        except BaseException:  # A greenlet that was killed.
            self.doubt()
            raise
        finally:
            self.free.put(place)

    def wait(self):
        """Return a place in the line, as soon as there is one and unless another call fails."""
        faults = self.faults
        while True:
            with contextlib.suppress(queue.Empty):
                place = self.free.get(timeout=PATIENCE)
                if self.faults == faults:
                    return place
                self.free.put(place)
            self.check(faults)

    def check(self, faults):
        """Raise Away if another call has failed since there were so many faults."""
        if self.faults != faults:
            raise Away("it did not answer another call")

    def close(self):
        self.pool.disconnect()


def _checked(found, numbers):
    given = found if numbers > 1 else [found]
    if type(given) is not list or [type(number) for number in given] != [int] * numbers:
        raise ValueError("it answers what Redis never would")
    return found
