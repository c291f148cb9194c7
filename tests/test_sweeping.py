import logging

import pytest

from gateway import errors, sweeping
from gateway.sweeping import Sweeping

EVERY = (3, 5)
FAULT = "rows could not be swept"


class Stop:
    """An event that is set after it was waited for so many times."""

    def __init__(self, left):
        self.left, self.waits = left, []

    def wait(self, seconds):
        self.waits.append(seconds)
        self.left -= 1
        return self.left < 0


class Sweep(Sweeping):
    """Gives what its batches are said to find, or raises it; nothing more after that."""

    def __init__(self, *found):
        super().__init__(EVERY, FAULT)
        self.found, self.batches = list(found), 0

    def batch(self):
        self.batches += 1
        found = self.found.pop(0) if self.found else 0
        if isinstance(found, Exception):
            raise found
        return found


def test_batches_go_on_while_there_is_more_with_a_pause_for_others():
    sweep, stop = Sweep(200, 200, 17, 0, 200), Stop(100)
    sweep.sweep(stop)
    assert sweep.batches == 4
    assert stop.waits == [sweeping.PAUSE] * 3


def test_stop_ends_a_long_sweep():
    sweep = Sweep(*[200] * 100)
    sweep.sweep(Stop(2))
    assert sweep.batches == 3


def test_sweeps_are_as_far_apart_as_they_are_to_be_and_never_in_step():
    sweep, stop = Sweep(), Stop(50)
    sweep.run(stop)
    assert sweep.batches == 50
    assert all(EVERY[0] <= seconds <= EVERY[1] for seconds in stop.waits)
    assert len(set(stop.waits)) > 40


@pytest.mark.parametrize(
    ("fault", "logged"), [(errors.DependencyUnavailable(), False), (ValueError("x"), True)]
)
def test_fault_is_outlived_and_told_of_once(fault, logged, caplog):
    sweep = Sweep(fault)
    with caplog.at_level(logging.DEBUG):
        sweep.run(Stop(3))
    assert sweep.batches == 3
    assert caplog.messages == [FAULT] * logged
