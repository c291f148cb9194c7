"""Prometheus's own tool takes the rules, and they fire when they should."""

import shutil

import pytest

from tests.live.promtool import promtool  # noqa: F401
from tests.serving import ROOT

pytestmark = pytest.mark.live

FOLDER = ROOT / "deploy/prometheus"


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")]
)
def test_rules_are_right_and_fire_when_they_should(promtool, arguments):  # noqa: F811
    *words, file = arguments
    found = promtool(*words, str(FOLDER / file))
    assert found.returncode == 0, found.stdout + found.stderr


def test_configuration_is_valid(promtool):  # noqa: F811
    found = promtool("check", "config", str(FOLDER / "prometheus.yml"))
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("> 0.05", "> 0.5"),
        ("gateway_errors_total{code", 'gateway_requests_total{status=~"5..",code'),
        ("code=~", "code!~"),
        ("== 1", ">= 0.5"),
        ("min_over_time", "max_over_time"),
        ("min_over_time", "0.75 < avg_over_time"),
        ("min by", "max by"),
    ],
)
def test_rule_that_was_changed_for_the_worse_is_noticed(promtool, tmp_path, old, new):  # noqa: F811
    for name in ("alerts.yml", "alerts.test.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    text = (FOLDER / "alerts.yml").read_text()
    assert old in text
    (tmp_path / "alerts.yml").write_text(text.replace(old, new))
    assert promtool("test", "rules", str(tmp_path / "alerts.test.yml")).returncode == 1
