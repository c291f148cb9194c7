"""Every metric, declared once.

In several processes prometheus_client needs PROMETHEUS_MULTIPROC_DIR to be set before this module
is imported; `gateway.server` does that.
"""

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as text
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)

requests = Counter("gateway_requests_total", "Requests answered.", ["endpoint", "model", "status"])
in_flight = Gauge(
    "gateway_in_flight", "Calls that are being answered.", multiprocess_mode="livesum"
)
overhead = Histogram(
    "gateway_overhead_seconds", "Time spent outside upstreams.", ["endpoint"], buckets=OVERHEAD
)
duration = Histogram(
    "gen_ai_server_request_duration_seconds",
    "Time from a request to the end of its answer.",
    ["endpoint", "model"],
    buckets=SECONDS,
)
first_token = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Time from a request to the first event of its stream.",
    ["endpoint", "model"],
    buckets=SECONDS,
)
tokens = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of one call.",
    ["endpoint", "model", "gen_ai_token_type"],
    buckets=TOKENS,
)


def exposition():
    """Return the Prometheus text, true over all the processes that share the directory."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return text(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return text(registry)
