"""Alerts and dashboard speak of metrics that there are, and every metric is on a panel."""

import json
import pathlib
import re
import threading

import pytest
import yaml
from prometheus_client import REGISTRY

from gateway import metrics
from gateway.jobs.sweep import KINDS, Sweep

ROOT = pathlib.Path(__file__).resolve().parents[1]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
NAME = re.compile(r"\b(?:gateway|gen_ai)_[a-z_]+(?=[{\[ ),]|$)")
LABELS = re.compile(r"\b([a-z_]+) *(?:=~|!~|!=|=) *\"|by \(([a-z_, ]+)\)")
OURS = ("gateway_", "gen_ai_")


def declared():
    """Map the names that Prometheus sees to the metrics they belong to."""
    found = {}
    for name, collector in REGISTRY._names_to_collectors.items():
        if name.startswith(OURS) and not name.endswith("_created"):
            found[name] = collector
    return found


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def shown():
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alerts():
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def names(expressions):
    return {
        name
        for expression in expressions
        for name in NAME.findall(re.sub(r"by \([^)]*\)", "", expression))
        if name not in ("gen_ai_request_model", "gen_ai_token_type", "gen_ai_operation_name")
    }


def test_alerts_and_dashboard_name_no_metric_that_there_is_not():
    used = names(shown()) | names(rule["expr"] for rule in alerts())
    assert len(used) > 15 and used - set(declared()) == set()


def test_every_metric_is_on_a_panel():
    collectors = set(map(id, declared().values()))
    on_panels = {id(declared()[name]) for name in names(shown())}
    missing = [name for name, one in declared().items() if id(one) not in on_panels]
    assert (missing, on_panels) == ([], collectors)


@pytest.mark.parametrize("expression", [*shown(), *(rule["expr"] for rule in alerts())])
def test_labels_are_those_that_the_metrics_have(expression):
    given = {"instance", "job", "le"}
    for name in names([expression]):
        given |= set(declared()[name]._labelnames)
    found = {
        label.strip()
        for one, many in LABELS.findall(expression)
        for label in ([one] if one else many.split(","))
    }
    assert found - given == set()


def test_what_is_shown_by_its_increase_begins_at_0(monkeypatch):
    """A counter that begins with its first event has not increased by it."""
    shown_so = set(re.findall(r"increase\((\w+)", " ".join(shown())))
    ended, value = threading.Event(), REGISTRY.get_sample_value
    ended.set()
    Sweep(None).run(ended)
    monkeypatch.setattr(metrics.tally, "upstreams", {("up", "quiet"): 0.0})
    monkeypatch.setattr(metrics.tally, "shown", {})
    metrics.tally.flush()
    labels = {
        "gateway_jobs_swept_total": [{"what": kind} for kind in KINDS],
        "gateway_breaker_opened_total": [{"upstream": "up", "model": "quiet"}],
    }
    assert {name for name in shown_so if declared()[name]._labelnames} == set(labels)
    assert len(KINDS) == 5
    for name, ones in labels.items():
        assert [one for one in ones if value(name, one) is None] == []


@pytest.mark.parametrize("title", ["Requests", "5xx", "Breakers open"])
def test_numbers_that_may_have_nothing_to_count_are_0_then(title):
    (panel,) = [one for one in panels() if (one["title"], one["type"]) == (title, "stat")]
    for target in panel["targets"]:
        assert target["expr"].endswith(" or vector(0)")


def test_every_alert_is_explained_to_operators():
    page = (ROOT / "docs/operations.md").read_text()
    missing = [rule["alert"] for rule in alerts() if f"`{rule['alert']}`" not in page]
    assert len(alerts()) >= 12 and missing == []


def test_every_metric_is_explained_to_operators():
    page = (ROOT / "docs/operations.md").read_text()
    whole = {one.describe()[0].name: one for one in declared().values()}
    listed = [f"{name}_total" if one._type == "counter" else name for name, one in whole.items()]
    assert [name for name in listed if f"`{name}" not in page] == []


def test_every_alert_has_a_test_that_fires_and_one_that_does_not():
    tests = yaml.safe_load((ROOT / "deploy/prometheus/alerts.test.yml").read_text())["tests"]
    tried = {test["name"] for test in tests}
    for rule in alerts():
        assert {f"{rule['alert']} fires", f"{rule['alert']} stays quiet"} <= tried


def test_dashboard_has_no_overlapping_panels_and_ids_of_their_own():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


def test_dashboard_asks_the_data_source_that_is_provisioned():
    path = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    for panel in panels():
        assert panel["datasource"]["uid"] == source["uid"]
