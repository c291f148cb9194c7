"""What the loop of the gauges looks at, told the time."""

import logging
import threading
from types import SimpleNamespace

import pytest

from gateway import gauges
from gateway.gauges import Gauges
from gateway.metrics import tally


@pytest.fixture
def found(monkeypatch):
    for name, value in {"upstreams": {}, "lines_dropped": 0, "database_away": 0}.items():
        monkeypatch.setattr(tally, name, value)
    tally.opened.clear()
    states = SimpleNamespace(
        values=lambda now: {("a", "m"): now}, openings=lambda: [(("a", "m"), 2)]
    )
    keys, lines = SimpleNamespace(away_for=lambda: 4.9), SimpleNamespace(lost=3)
    yield Gauges(states, keys, lines, clock=lambda: 7.0)
    tally.opened.clear()


def test_look_tells_what_is_and_counts_what_has_happened(found):
    found.look()
    found.look()
    assert tally.upstreams == {("a", "m"): 7.0}
    assert tally.opened == {("a", "m"): 4}
    assert (tally.lines_dropped, found.lines.lost) == (3, 0)
    assert tally.database_away == 0


def test_database_is_away_after_five_seconds(found):
    found.keys.away_for = lambda: 5.0
    found.look()
    assert tally.database_away == 1


def test_loop_goes_on_after_an_error(found, monkeypatch, caplog):
    monkeypatch.setattr(gauges, "EVERY", 0)
    stop, looks = threading.Event(), []

    def values(now):
        looks.append(now)
        if len(looks) == 3:
            stop.set()
        raise RuntimeError("broken")

    found.states.values = values
    with caplog.at_level(logging.ERROR):
        found.run(stop)
    assert len(looks) == 3 and "the gauges could not be set" in caplog.text
