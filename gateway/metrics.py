"""Every metric, declared once, and the tally that keeps the hot path from paying for them.

A request notes its facts in memory; twice a second, and before they are read here, they are added
to prometheus_client's files. In several processes it needs PROMETHEUS_MULTIPROC_DIR to be set
before this module is imported; `gateway.server` does that.
"""

import bisect
import collections
import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as text
from prometheus_client.multiprocess import MultiProcessCollector

INTERVAL = 0.5  # seconds

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)

_requests = Counter("gateway_requests_total", "Requests answered.", ["endpoint", "model", "status"])
_in_flight = Gauge(
    "gateway_in_flight", "Calls that are being answered.", multiprocess_mode="livesum"
)


class Seconds:
    """A histogram whose values are gathered in memory first."""

    def __init__(self, name, help, labels, buckets):
        self.histogram = Histogram(name, help, labels, buckets=buckets)
        self.bounds = (*buckets, float("inf"))
        self.values = collections.defaultdict(list)
        self.children = {}

    def add(self, value, *labels):
        self.values[labels].append(value)

    def flush(self):
        values, self.values = self.values, collections.defaultdict(list)
        for labels, found in values.items():
            self.fold(labels, found)

    def fold(self, labels, found):
        """Add many values at once; `observe()` would lock and write twice for each."""
        child = self.children.get(labels)
        if child is None:
            child = self.children[labels] = self.histogram.labels(*labels)
        counts = collections.Counter(bisect.bisect_left(self.bounds, value) for value in found)
        for bucket, count in counts.items():
            child._buckets[bucket].inc(count)
        child._sum.inc(sum(found))


class Tally:
    """What has happened since the last flush."""

    def __init__(self):
        self.requests = collections.Counter()
        self.in_flight = 0
        self.overhead = Seconds(
            "gateway_overhead_seconds", "Time spent outside upstreams.", ["endpoint"], OVERHEAD
        )
        self.duration = Seconds(
            "gen_ai_server_request_duration_seconds",
            "Time from a request to the end of its answer.",
            ["endpoint", "model"],
            SECONDS,
        )
        self.first_token = Seconds(
            "gen_ai_server_time_to_first_token_seconds",
            "Time from a request to the first event of its stream.",
            ["endpoint", "model"],
            SECONDS,
        )
        self.tokens = Seconds(
            "gen_ai_client_token_usage",
            "Tokens of one call.",
            ["endpoint", "model", "gen_ai_token_type"],
            TOKENS,
        )

    def flush(self):
        """Add everything to prometheus_client's files."""
        requests, self.requests = self.requests, collections.Counter()
        for labels, count in requests.items():
            _requests.labels(*labels).inc(count)
        _in_flight.set(self.in_flight)
        for histogram in (self.overhead, self.duration, self.first_token, self.tokens):
            histogram.flush()

    def run(self, stop):
        """Flush until `stop` is set."""
        while not stop.wait(INTERVAL):
            self.flush()


tally = Tally()


def exposition():
    """Return the Prometheus text, true over all the processes that share the directory."""
    tally.flush()
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return text(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return text(registry)
