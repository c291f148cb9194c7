"""Our units, by what `systemctl show` says."""

from dataclasses import replace

import pytest

from gateway import config
from gateway.doctor import systemd
from gateway.doctor.finding import OK, PROBLEM, WARNING
from tests.doctor.found import levels, worst


def unit(stop="10min 30s", files="65536", kill="mixed", load="loaded"):
    return f"LoadState={load}\nTimeoutStopUSec={stop}\nLimitNOFILE={files}\nKillMode={kill}\n"


@pytest.mark.parametrize(
    ("values", "level", "words"),
    [
        ({}, OK, ""),
        ({"stop": "infinity", "files": "infinity"}, OK, ""),
        ({"stop": "1min 30s"}, PROBLEM, "TimeoutStopSec is 90 s, drain 600 s"),
        ({"stop": "10min"}, PROBLEM, "TimeoutStopSec is 600 s"),
        ({"kill": "control-group"}, PROBLEM, "KillMode is control-group"),
        ({"files": "1024"}, WARNING, "LimitNOFILE is 1024"),
    ],
)
def test_unit_that_cuts_streams_or_starves_is_told(settings, told, values, level, words):
    absent = unit(load="not-found", stop="", files="", kill="")
    told((0, "\n".join([unit(**values), absent, absent])))
    found = list(systemd.check(replace(settings, server=config.Server())))
    assert len(found) == 3 and {one.name for one in found} == {"gateway.service"}
    assert [one[0] for one in worst(found).values()] == ([level] if level != OK else [])
    assert all(words in message for _, message in worst(found).values())


@pytest.mark.parametrize("answer", [None, (1, "not booted"), (0, unit(load="not-found"))])
def test_no_systemd_no_trouble(settings, told, answer):
    told(answer)
    assert levels(systemd.check(settings)) == [OK]
