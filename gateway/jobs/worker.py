"""Takes jobs from the queue and runs them, each in a thread of its own."""

import logging
import random
import threading
import time
import uuid

from gateway import errors
from gateway.jobs import running as runs

log = logging.getLogger("gateway")

BEAT = 0.5  # seconds between two signs of life, which bring what is to be cancelled
POLL = (0.5, 1.0)  # seconds between two looks at a queue that was empty
FULL = 1.0  # seconds of waiting for a job to end that would say so
AWAY = 1.0  # seconds before a database is asked again that was away
WRONG = 5.0  # the same after an error that nobody has thought of
MARGIN = 2.0  # seconds before the end of a drain at which what still runs is stopped
LAST = 1.5  # seconds that what was stopped has to write its end
AT_ONCE = 1000  # leases renewed by one statement
LOOK = 0.05


class Worker:
    """Runs up to `concurrency` jobs at once; `begin(claimed)` gives what runs one.

    That has `claimed`, `run()` and `stop(why)`. `run(stop)` is the loop of the process.
    """

    def __init__(self, jobs, begin, concurrency, clock=time.monotonic):
        self.jobs, self.begin, self.concurrency, self.clock = jobs, begin, concurrency, clock
        self.id = uuid.uuid4().hex  # new at each start, so that no lease is mistaken for ours
        self.running, self.taking = set(), False
        self.woken = threading.Event()
        self.draining = False

    def poke(self):
        """Say that there may be something to do."""
        self.woken.set()

    def run(self, stop):
        """Take and run jobs until `stop` is set."""
        threading.Thread(target=self.live, args=(stop,), daemon=True).start()
        while not stop.is_set():
            pause = self.step()
            if pause:
                self.woken.wait(pause)
                self.woken.clear()

    def step(self):
        """Take the next job if there is one and room for it; return the seconds to rest then."""
        self.taking = True  # before anybody looks whether we drain: a drain waits for what is taken
        try:
            return self.next()
        except errors.DependencyUnavailable:
            return AWAY  # What was taken and not heard of is freed when its lease runs out.
        except Exception as exc:
            log.error("no job could be taken", exc_info=exc)
            return WRONG
        finally:
            self.taking = False

    def next(self):
        if self.draining or len(self.running) >= self.concurrency:
            return FULL
        claimed = self.jobs.claim(self.id)
        if claimed is None:
            return random.uniform(*POLL)
        self.take(claimed)
        return 0

    def take(self, claimed):
        """Begin a claimed job, or give it back if we are about to go."""
        if self.draining:
            self.jobs.release(claimed)
            return
        running = self.begin(claimed)
        self.running.add(running)
        threading.Thread(target=self.carry, args=(running,), daemon=True).start()

    def carry(self, running):
        try:
            running.run()
        except Exception as exc:  # Its lease runs out, and a sweep decides.
            log.error("a job could not be run", exc_info=exc)
        finally:
            self.running.discard(running)
            self.poke()

    def live(self, stop):
        """Renew the leases of what runs until `stop` is set."""
        while not stop.wait(BEAT):
            try:
                self.beat()
            except errors.DependencyUnavailable:
                pass  # What runs goes on: its answer may be there before anybody else can take it.
            except Exception as exc:
                log.error("leases could not be renewed", exc_info=exc)

    def beat(self):
        """Renew leases; stop what is to be cancelled, and what is no longer ours."""
        running = list(self.running)
        for first in range(0, len(running), AT_ONCE):
            some = running[first : first + AT_ONCE]
            ours, cancelled = self.jobs.beat(self.id, [each.claimed.id for each in some])
            for each in some:
                if each.claimed.id not in ours:
                    each.stop(runs.LOST)
                elif each.claimed.id in cancelled:
                    each.stop(runs.CANCELLED)

    def drain(self, seconds=0):
        """Take nothing more, and wait for what runs; stop what runs `MARGIN` before the end.

        What was stopped is queued again if no answer had begun, and has else failed. What is just
        being taken is given back.
        """
        self.draining = True
        deadline = self.clock() + max(seconds - MARGIN, 0)
        self.wait_until(deadline)
        if self.running:
            log.warning("jobs are stopped that have not ended: %d", len(self.running))
        for running in list(self.running):
            running.stop(runs.DRAINED)
        self.wait_until(max(self.clock(), deadline) + LAST)

    def wait_until(self, deadline):
        while (self.taking or self.running) and self.clock() < deadline:
            time.sleep(LOOK)


class NoWorker:
    """Of a process that runs no jobs."""

    def poke(self):
        pass

    def run(self, stop):
        pass

    def drain(self, seconds=0):
        pass


NO_WORKER = NoWorker()
