"""One soak: start everything, load it, wait until it is at rest, and compare the books."""

import functools
import time

from bench.processes import CPU
from bench.soak import checks, explained, place
from bench.soak.aside import Aside, Probes
from bench.soak.books import Books
from bench.soak.calls import streamed
from bench.soak.client import Call, Client
from bench.soak.found import told
from bench.soak.kinds import KINDS
from bench.soak.load import Load
from bench.soak.samples import Samples

SHORT = 300  # seconds; a shorter run cannot wait for the leases of what was killed
MOST_CALLS = 10**9  # a number that no call of the load has
LAST = 150  # seconds for the calls under way to end
SETTLE = 20  # seconds until rows are written and gauges are back
WARM = 1.0  # seconds of idleness that samples see before and after
LIMITED = next(kind for kind in KINDS if kind.name == "key with concurrency")
SLOTS = LIMITED._replace(
    run=functools.partial(streamed, key="slots", model="mock-slow-100", words=6)
)
WRONG = "sk-" + "w" * 12 + "-" + "k" * 43


class Run:
    """`go()` runs it and returns what was found, ready for JSON: seconds, bytes."""

    def __init__(self, folder, seconds, rate, say):
        self.folder, self.seconds, self.rate, self.say = folder, seconds, rate, say
        self.lease = place.LEASE if seconds < SHORT else place.BUILT
        self.systems = []

    def secret(self, name):
        return WRONG if name is None else self.web.keys[name][1]

    def go(self):
        try:
            self.start()
            return self.measured()
        finally:
            place.end(self.systems)

    def start(self):
        lease = None if self.lease == place.BUILT else self.lease
        self.upstream = self.begin(place.Upstream(self.folder))
        self.web = place.Web(self.folder, self.upstream.port, lease)
        (self.folder / "metrics").mkdir()
        self.begin(self.web)
        self.worker = self.begin(place.JobWorker(self.folder, self.upstream.port, lease))
        self.client = Client(self.web.port, self.web.keys["open"][1])
        self.load = Load(self, self.rate, self.seconds)
        self.aside = Aside(self, self.seconds)
        self.ready, self.metrics = Probes(self, "/readyz"), Probes(self, "/metrics")
        self.samples = Samples(self, max(0.5, min(5, self.seconds / 120)))

    def begin(self, system):
        self.systems.append(system)
        return system.start()

    def measured(self):
        watchers = (self.samples, self.ready, self.metrics)
        for watcher in watchers:
            watcher.thread.start()
        time.sleep(WARM)
        self.say(f"{self.rate:g} calls a second for {self.seconds} s …")
        others = CPU(self.upstream.pid), time.process_time()
        self.began = time.monotonic()
        self.aside.start()
        self.load.run()
        self.loaded = time.monotonic()
        self.cost = {"upstream": others[0].used(), "client": time.process_time() - others[1]}
        self.samples.take()
        left = self.load.wait(LAST)
        self.say(f"… {len(self.load.calls):,} calls made; {left} have not ended. Settling")
        self.aside.wait()
        self.settle()
        slots = self.slots()
        self.settle()
        for watcher in watchers:
            watcher.over.set()
            watcher.thread.join()
        self.samples.take()
        return self.judged(slots)

    def settle(self):
        """Wait until nothing is in flight and rows are written."""
        deadline = time.monotonic() + SETTLE
        quiet = 0  # looks in a row that saw nothing; rows and metrics are written twice a second
        while quiet < 3 and time.monotonic() < deadline:
            time.sleep(0.5)
            self.metrics.ask()
            quiet = 0 if self.metrics.samples().get("gateway_in_flight") else quiet + 1

    def slots(self):
        """Take every slot of the limited key at once; return the calls that did."""
        first, count = MOST_CALLS, place.LIMITS["slots"]["concurrency"]
        return self.load.at_once([Call(first + n, SLOTS) for n in range(count)])

    def judged(self, slots):
        calls, kills = self.load.calls, self.aside.kills
        for call in calls:
            if call.ended is None:
                call.ended, call.outcome = time.monotonic(), "never ended"
        every = [*calls, *slots]
        books = Books(self.folder, self.upstream.book(), every)
        lines = self.samples.lines(self.loaded)
        found = [
            checks.lives(self.web),
            checks.ends(explained.Ends(calls, kills)),
            checks.log(books),
            checks.usage(every, books, kills),
            checks.money(books, self.web.keys),
            checks.jobs(calls, books, kills),
            checks.recordings(calls, books, kills),
            checks.leavers(calls, books),
            checks.probes(self.ready.found, "/readyz", kills),
            checks.probes(self.metrics.found, "/metrics", kills),
            checks.idle(self.metrics.samples(), books, [call.outcome for call in slots]),
            checks.aside(self.aside),
            checks.memory(lines),
            checks.descriptors(lines, self.samples.found[-1][1]),
        ]
        return told(self, found, calls, books, lines)
