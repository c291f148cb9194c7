"""The fault table's rows of upstreams as a table: what the client gets, and nothing left behind.

Rows that need more than one sentence are in test_faults_in_detail, unreachable upstreams in
test_faults_connecting, F37 and F38 in test_failover.
"""

import pytest

from tests.live.faults import assert_broken, assert_complete, assert_error
from tests.upstream import FAULT_ROWS

pytestmark = pytest.mark.live

TIMEOUTS = "first_token = 1\ntotal = 1.5\nstream_total = 3"
MORE = "[retry]\nattempts = 0"

RESET = (502, "upstream_reset", None)
BAD = (502, "upstream_bad_response", None)
AUTH = (502, "upstream_auth_failed", None)
UNHEALTHY = (503, "no_healthy_upstream", None)
TOTAL = (504, "upstream_timeout", "total")
FIRST = (504, "upstream_timeout", "first_token")
RIGHT = None

# What a whole call and a streamed one get where the fault comes before the first event.
EARLY = [
    ("F3", "mock-close", RESET, RESET),
    ("F4", "mock-reset", RESET, RESET),
    ("F5", "mock-hang", TOTAL, FIRST),
    ("F6", "mock-reset-in-head", RESET, RESET),
    ("F7", "mock-close-in-head", BAD, BAD),
    ("F8", "mock-stall-in-head", TOTAL, FIRST),
    ("F8", "mock-drip-head", TOTAL, FIRST),
    ("F8", "mock-endless-100", TOTAL, FIRST),
    ("F9", "mock-garbage", BAD, BAD),
    ("F14", "mock-trickle", TOTAL, FIRST),
    ("F16", "mock-bad-chunk-after-0", BAD, BAD),
    ("F17", "mock-no-data", RIGHT, BAD),
    ("F17", "mock-bad-json-after-0", BAD, BAD),
    ("F18", "mock-error-after-0", BAD, BAD),
    ("F20", "mock-long-chunk-size-after-0", BAD, BAD),
    ("F21", "mock-long-header", BAD, BAD),
    ("F21", "mock-many-headers", BAD, BAD),
    ("F21", "mock-huge-head", BAD, BAD),
    ("F22", "mock-gzip-bomb", BAD, BAD),
    ("F22", "mock-gzip-nested", BAD, BAD),
    ("F24", "mock-bad-gzip", BAD, BAD),
    ("F25-F32", "mock-200-error", BAD, BAD),
    ("F26", "mock-sse", BAD, RIGHT),
    ("F26", "mock-html", BAD, BAD),
    ("F26", "mock-empty", BAD, BAD),
    ("F26", "mock-204", BAD, BAD),
    ("F26", "mock-truncated", RESET, RESET),
    ("F27", "mock-301", BAD, BAD),
    ("F27", "mock-302", BAD, BAD),
    ("F27", "mock-307", BAD, BAD),
    ("F29", "mock-500", BAD, BAD),
    ("F29", "mock-500-html", BAD, BAD),
    ("F29", "mock-503", UNHEALTHY, UNHEALTHY),
    ("F29", "mock-529", UNHEALTHY, UNHEALTHY),
    ("F30", "mock-401", AUTH, AUTH),
    ("F30", "mock-402", AUTH, AUTH),
    ("F30", "mock-403", AUTH, AUTH),
    ("F33", "mock-folded-head", BAD, BAD),
    ("F33", "mock-length-and-chunks", BAD, BAD),
]

# What a whole call gets, and the error that ends a stream which has begun.
LATER = [
    ("F10", "mock-cut-after-3", RESET, "upstream_reset", None),
    ("F11", "mock-close-after-3", RESET, "upstream_reset", None),
    ("F12", "mock-end-after-3", BAD, "upstream_reset", None),
    ("F13", "mock-stall-after-3", TOTAL, "upstream_timeout", "idle"),
    ("F13", "mock-pings-after-3", TOTAL, "upstream_timeout", "idle"),
    ("F15", "mock-endless-50", TOTAL, "upstream_timeout", "total"),
    ("F17", "mock-bad-json-after-3", BAD, "upstream_bad_response", None),
    ("F17", "mock-bad-utf8-after-3", BAD, "upstream_bad_response", None),
    ("F17", "mock-nan-after-3", BAD, "upstream_bad_response", None),
    ("F17", "mock-scalar-after-3", BAD, "upstream_bad_response", None),
    ("F19", "mock-long-line-after-3", BAD, "upstream_bad_response", None),
    ("F19", "mock-long-event-after-3", BAD, "upstream_bad_response", None),
    ("F20", "mock-long-chunk-size-after-3", BAD, "upstream_bad_response", None),
]

# Odd, but right: the client gets its answer.
RIGHTLY = [
    ("F12", "mock-no-done"),
    ("F17", "mock-unfinished-event"),
    ("F23", "mock-gzip"),
    ("F25", "mock-json"),
    ("F33", "mock-odd-headers"),
    ("F33", "mock-103"),
]

# These have tests of their own.
ALONE = {
    "F16": ["mock-bad-chunk-after-3"],
    "F18": ["mock-error-after-3"],
    "F28": ["mock-429", "mock-429-date", "mock-429-9999", "mock-429-garbage", "mock-quota"],
    "F31": ["mock-400", "mock-400-llama", "mock-400-detail", "mock-context-length"],
}
NO_RETRY = {"upstream_timeout", "upstream_auth_failed"}


def early():
    found = []
    for row, model, whole, streamed in EARLY:
        found.append(pytest.param(model, False, whole, id=f"{row}-{model}-whole"))
        found.append(pytest.param(model, True, streamed, id=f"{row}-{model}-stream"))
    for row, model, whole, *_ in LATER:
        found.append(pytest.param(model, False, whole, id=f"{row}-{model}-whole"))
    return found


def later():
    return [
        pytest.param(model, code, param, id=f"{row}-{model}")
        for row, model, _, code, param in LATER
    ]


@pytest.fixture(scope="module")
def site(open_site):
    return open_site(timeouts=TIMEOUTS, upstream="max_in_flight = 1", more=MORE)


def test_every_fault_of_the_table_is_tested():
    tested = {model for _, model, *_ in (*EARLY, *LATER, *RIGHTLY)}.union(*ALONE.values())
    assert {model for models in FAULT_ROWS.values() for model in models} <= tested


@pytest.mark.parametrize("model, stream, wanted", early())
def test_fault_before_the_first_event_is_an_http_error(site, model, stream, wanted):
    if wanted is RIGHT:
        with site.settles(end="ok", status=200, code=None):
            assert_complete(site.ask(model, stream=stream), stream)
        return
    status, code, param = wanted
    with site.settles(status=status, code=code, usage_source="absent", output_tokens=None):
        answer = site.ask(model, stream=stream)
    assert_error(answer, status, code, param, retry=code not in NO_RETRY)
    assert answer.headers["x-gateway-upstream"] == "mock"
    assert answer.took < (2.0 if param is None else 2.5)


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize("model, code, param", later())
def test_fault_after_the_first_event_is_an_event(site, model, code, param, endpoint):
    with site.settles(status=200, code=code, usage_source="estimated"):
        answer = site.ask(model, endpoint=endpoint, stream=True)
    assert_broken(answer, endpoint, code, param, events=3)
    assert answer.took < {None: 2.0, "idle": 2.0, "total": 4.0}[param]
    assert answer.took > {None: 0, "idle": 0.9, "total": 2.9}[param]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("row, model", RIGHTLY)
def test_odd_but_right_answer_reaches_the_client(site, row, model, stream):
    with site.settles(end="ok", status=200, code=None):
        answer = site.ask(model, stream=stream)
    assert_complete(answer, stream)
    assert answer.headers["x-request-id"].startswith("req_")
    for request in site.upstream.requests[-2:]:  # this one's, and that of the call after it
        assert request.headers["accept-encoding"] == "identity"
        assert "cookie" not in request.headers


@pytest.mark.parametrize("model", ["mock-html", "mock-truncated", "mock-200-error", "mock-hang"])
@pytest.mark.parametrize("endpoint", ["responses", "embeddings"])
def test_other_endpoints_fail_alike(site, endpoint, model):
    wanted = {"mock-truncated": RESET, "mock-hang": TOTAL}.get(model, BAD)
    with site.settles(status=wanted[0], code=wanted[1], endpoint=endpoint):
        assert_error(site.ask(model, endpoint=endpoint), *wanted)
