"""Every metric, declared once, and the tally that keeps the hot path from paying for them.

A request notes its facts in memory; twice a second, and before they are read here, they are added
to prometheus_client's files. In several processes it needs PROMETHEUS_MULTIPROC_DIR to be set
before this module is imported; `gateway.server` does that. Labels come from the configuration, or
from lists that are written here; anything else is `other`.
"""

import bisect
import collections
import logging
import os
from importlib import metadata

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client import generate_latest as text

from gateway import errors, metric_files
from gateway.aside import aside

log = logging.getLogger("gateway")

INTERVAL = 0.5  # seconds
OTHER = "other"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
# Outcomes of a try that are told apart; what else an upstream may answer is "2xx" and so on.
OUTCOMES = frozenset(
    "200 400 401 403 404 408 413 422 429 500 502 503 504 529 connect reset timeout bad".split()
)


def gauge(name, help, labels=(), mode="livesum"):
    return Gauge(name, help, labels, multiprocess_mode=mode)


# What is in the table is the same for every process: the latest count is the true one.
jobs = gauge("gateway_jobs", "Jobs by status.", ["status"], "mostrecent")
jobs_oldest = gauge(
    "gateway_jobs_oldest_seconds", "How long the oldest queued job waits.", mode="mostrecent"
)
jobs_swept = Counter("gateway_jobs_swept_total", "Jobs that a sweep has changed.", ["what"])
_upstream_state = gauge(
    "gateway_upstream_state",
    "Breakers: 0 closed, 0.5 half open, 1 open; the worst of all processes.",
    ["upstream", "model"],
    "livemax",
)
_build = gauge("gateway_build_info", "The version that runs.", ["version"], "livemax")
GAUGES = {
    "in_flight": gauge("gateway_in_flight", "Calls that are being answered."),
    "usage_spooled": gauge(
        "gateway_usage_spooled", "Rows of usage on disk that wait for the database."
    ),
    "limits_alone": gauge(
        "gateway_limits_alone",
        "Processes that count limits for their machine alone, while Redis is away.",
    ),
    "database_away": gauge(
        "gateway_database_away", "Processes that have not heard of the database for 5 seconds."
    ),
}
COUNTERS = {
    "recordings_swept": Counter(
        "gateway_recordings_swept_total", "Rows of recordings that ran out."
    ),
    "usage_dropped": Counter("gateway_usage_dropped_total", "Rows of usage that were lost."),
    "lines_dropped": Counter("gateway_log_lines_dropped_total", "Log lines that were dropped."),
}
# By the labels' values, which are a tuple, or a string where there is one label.
COUNTED = {
    "requests": Counter(
        "gateway_requests_total", "Requests answered.", ["endpoint", "model", "status"]
    ),
    "errors": Counter(
        "gateway_errors_total", "Requests that ended in an error.", ["endpoint", "code"]
    ),
    "limited": Counter("gateway_limited_total", "Requests refused by a key's limits.", ["kind"]),
    "opened": Counter(
        "gateway_breaker_opened_total", "Times that a breaker has opened.", ["upstream", "model"]
    ),
}
_tries = Counter(
    "gateway_tries_total", "Calls sent to upstreams, by what came back.", ["upstream", "outcome"]
)
_retries = Counter(
    "gateway_retries_total", "The same after a call's first try.", ["upstream", "outcome"]
)


# Codes that no error of ours has by its class: what is wrong with a field.
FIELDS = frozenset(
    "empty_array array_above_max_length string_above_max_length integer_below_min_value "
    "integer_above_max_value decimal_below_min_value decimal_above_max_value unsupported_value "
    "context_length_exceeded".split()
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


def codes(error=errors.GatewayError):
    """Return the codes that our own errors have."""
    found = {error.code} if isinstance(error.code, str) else set()
    return found.union(*(codes(below) for below in error.__subclasses__()))


CODES = codes() | FIELDS  # those that an upstream sends are its own, and may be anything


class Tally:
    """What has happened since the last flush."""

    def __init__(self):
        self.requests, self.errors = collections.Counter(), collections.Counter()
        self.limited = collections.Counter()  # by kind: requests, tokens, concurrency, budget
        self.opened = collections.Counter()  # by upstream and model
        self.tried, self.retried = [], []  # "upstream:outcome"
        self.in_flight = self.recordings_swept = self.lines_dropped = 0
        self.usage_spooled = self.usage_dropped = 0
        self.limits_alone = 0  # 1 while this process goes without its Redis
        self.database_away = 0  # 1 while this process goes without its database
        self.upstreams, self.shown = {}, {}  # the state of each (upstream, model)
        operation, model = "gen_ai_operation_name", "gen_ai_request_model"
        self.overhead = Seconds(
            "gateway_overhead_seconds", "Time spent outside upstreams.", ["endpoint"], OVERHEAD
        )
        self.duration = Seconds(
            "gen_ai_server_request_duration_seconds",
            "Time from a request to the end of its answer.",
            [operation, model],
            SECONDS,
        )
        self.first_token = Seconds(
            "gen_ai_server_time_to_first_token_seconds",
            "Time from a request to the first event of its stream.",
            [operation, model],
            SECONDS,
        )
        self.tokens = Seconds(
            "gen_ai_client_token_usage",
            "Tokens of one call.",
            [operation, model, "gen_ai_token_type"],
            TOKENS,
        )

    def answered(self, line):
        """Count a request by its log line."""
        endpoint = line.endpoint or OTHER
        self.requests[endpoint, line.label or OTHER, line.status] += 1
        if line.code is not None:
            self.errors[endpoint, line.code if line.code in CODES else OTHER] += 1

    def tries(self, attempts):
        """Count the tries of one call, which are "upstream:outcome" each."""
        self.tried += attempts
        if len(attempts) > 1:
            self.retried += attempts[1:]

    def flush(self):
        """Add everything to prometheus_client's files."""
        for name, counter in COUNTED.items():
            found = getattr(self, name)
            setattr(self, name, collections.Counter())
            for labels, count in found.items():
                counter.labels(*labels if isinstance(labels, tuple) else (labels,)).inc(count)
        for name, counter in COUNTERS.items():
            found = getattr(self, name)
            setattr(self, name, 0)
            counter.inc(found)
        for name, one in GAUGES.items():
            one.set(getattr(self, name))
        for histogram in (self.overhead, self.duration, self.first_token, self.tokens):
            histogram.flush()
        self.flush_tries()
        self.show_upstreams()

    def flush_tries(self):
        tried, self.tried = self.tried, []
        retried, self.retried = self.retried, []
        for counter, attempts in ((_tries, tried), (_retries, retried)):
            for attempt, count in collections.Counter(attempts).items():
                upstream, _, outcome = attempt.rpartition(":")
                counter.labels(upstream, bounded(outcome)).inc(count)

    def show_upstreams(self):
        """Set the states that have changed; their openings begin at 0, to be seen growing."""
        for names, state in self.upstreams.items():
            if names not in self.shown:
                COUNTED["opened"].labels(*names)
            if self.shown.get(names) != state:
                _upstream_state.labels(*names).set(state)
        self.shown = self.upstreams

    def run(self, stop):
        """Flush until `stop` is set."""
        _build.labels(version()).set(1)
        said = False
        while not stop.wait(INTERVAL):
            try:
                self.flush()
                said = False
            except OSError as exc:  # the disk is full, or the folder gone with the master's end
                if not said:
                    log.error("the metrics could not be written: %s", exc.strerror)
                said = True
            except Exception:
                log.exception("the metrics could not be written")


def bounded(outcome):
    return outcome if outcome in OUTCOMES else f"{outcome[:1]}xx"


def version():
    try:
        return metadata.version("klintero-gateway")
    except metadata.PackageNotFoundError:
        return "unknown"  # a checkout that was never installed


tally = Tally()


def exposition():
    """Return the Prometheus text, true over all the processes that share the directory."""
    tally.flush()
    folder = os.environ.get(metric_files.FOLDER)
    # With many workers it takes a while; streams are not to wait for it.
    return aside(metric_files.text, folder) if folder else text(REGISTRY)
