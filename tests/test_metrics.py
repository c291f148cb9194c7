"""The tally: what is noted in memory reaches prometheus_client once, under bounded names."""

import errno
import threading

import pytest
from prometheus_client import REGISTRY

from gateway import metrics
from gateway.logs import Line
from gateway.metrics import CODES, tally


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Flush what other tests have left, and leave nothing."""
    tally.flush()
    yield
    tally.upstreams, tally.shown = {}, {}
    tally.flush()


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def line(endpoint=None, label=None, status=200, code=None):
    found = Line("req_1", "POST", "/")
    found.endpoint, found.label, found.status, found.code = endpoint, label, status, code
    return found


def test_requests_are_counted_once_whatever_the_number_of_flushes():
    wanted = {"endpoint": "chat", "model": "m-once", "status": "200"}
    for _ in range(3):
        tally.answered(line("chat", "m-once"))
    for _ in range(3):
        tally.flush()
    assert value("gateway_requests_total", **wanted) == 3


def test_request_without_an_endpoint_or_a_model_is_another():
    before = value("gateway_requests_total", endpoint="other", model="other", status="417")
    tally.answered(line(status=417, code="bad_request"))
    tally.flush()
    after = value("gateway_requests_total", endpoint="other", model="other", status="417")
    assert after == before + 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("integer_above_max_value", "integer_above_max_value"),
        ("what_an_upstream_has_made_up", "other"),
        (None, None),
    ],
)
def test_codes_are_ours_or_other(code, told):
    before = value("gateway_errors_total", endpoint="chat", code=told or "other")
    tally.answered(line("chat", "m", 400, code))
    tally.flush()
    after = value("gateway_errors_total", endpoint="chat", code=told or "other")
    assert after == before + (code is not None)


def test_codes_hold_what_the_contract_names():
    assert {"invalid_json", "bad_request", "no_healthy_upstream", "server_draining"} <= CODES
    assert {"empty_array", "decimal_below_min_value", "upstream_timeout"} <= CODES


def test_tries_and_retries_are_told_apart():
    tally.tries(["up:1:429", "up:1:200"])
    tally.tries(["up:1:200"])
    tally.tries([])
    tally.flush()
    assert value("gateway_tries_total", upstream="up:1", outcome="200") == 2
    assert value("gateway_tries_total", upstream="up:1", outcome="429") == 1
    assert value("gateway_retries_total", upstream="up:1", outcome="200") == 1
    assert value("gateway_retries_total", upstream="up:1", outcome="429") == 0


@pytest.mark.parametrize(
    ("outcome", "told"),
    [("200", "200"), ("529", "529"), ("connect", "connect"), ("418", "4xx"), ("599", "5xx")],
)
def test_outcomes_are_bounded(outcome, told):
    assert metrics.bounded(outcome) == told


def test_upstream_s_state_is_set_when_it_changes():
    names = {"upstream": "u", "model": "m"}
    for state in (0.0, 1.0, 1.0, 0.5, 0.0):
        tally.upstreams = {("u", "m"): state}
        tally.flush()
        assert value("gateway_upstream_state", **names) == state


def test_gauges_show_what_is_and_counters_what_was_added(monkeypatch):
    before = value("gateway_log_lines_dropped_total")
    monkeypatch.setattr(tally, "database_away", 1)
    tally.lines_dropped += 2
    tally.flush()
    tally.flush()
    assert value("gateway_database_away") == 1
    assert value("gateway_log_lines_dropped_total") == before + 2


def test_histogram_takes_many_values_at_once():
    labels = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "m-hist"}
    for seconds in (0.001, 0.005, 0.3, 1000):
        tally.duration.add(seconds, "chat", "m-hist")
    tally.flush()
    name = "gen_ai_server_request_duration_seconds"
    assert value(f"{name}_count", **labels) == 4
    assert value(f"{name}_bucket", **labels, le="0.005") == 2
    assert value(f"{name}_bucket", **labels, le="600.0") == 3
    assert value(f"{name}_sum", **labels) == pytest.approx(1000.306)


def test_text_has_every_metric_s_name():
    text = metrics.exposition().decode()
    for name in ("gateway_in_flight", "gateway_usage_spooled", "gateway_limits_alone"):
        assert f"\n{name} " in text


@pytest.mark.parametrize(
    ("fault", "lines"),
    [
        (OSError(errno.ENOSPC, "no room"), ["the metrics could not be written: no room"]),
        (ValueError("odd"), ["the metrics could not be written"] * 2),
    ],
)
def test_flushes_that_fail_end_no_metrics_and_a_fault_of_the_disk_is_said_once(
    monkeypatch, caplog, fault, lines
):
    stop, flushed = threading.Event(), []

    def flush():
        flushed.append(1)
        if len(flushed) < 3:
            raise fault
        stop.set()

    monkeypatch.setattr(metrics, "INTERVAL", 0.01)
    monkeypatch.setattr(tally, "flush", flush)
    tally.run(stop)
    assert len(flushed) == 3
    assert [line.getMessage() for line in caplog.records] == lines
