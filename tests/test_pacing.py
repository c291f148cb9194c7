"""Of many requests that come at once a few begin in each turn of the loop, in their order.

Those that are long to read are read for a moment of each turn.
"""

import gevent
import pytest

from gateway import pacing
from gateway.pacing import AT_ONCE, MOMENT, Pace, Share


class World:
    """Callers of one pace; `began` has (turn of the loop, number) of each that went on."""

    def __init__(self):
        self.pace, self.began, self.turn = Pace(), [], 0
        self.loop = gevent.get_hub().loop
        self.check = self.loop.check()
        self.check.start(self.count)

    def count(self):
        self.turn += 1

    def call(self, number):
        self.pace.step()
        self.began.append((self.turn, number))

    def run(self, count):
        self.callers = [gevent.spawn(self.call, number) for number in range(count)]
        return self.callers

    def close(self):
        self.pace.close()
        self.check.stop()
        self.check.close()


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


def test_a_few_go_on_at_once(world):
    with gevent.Timeout(5):
        gevent.joinall(world.run(AT_ONCE))
    assert len({turn for turn, _ in world.began}) == 1


def test_of_many_some_go_on_in_each_turn_and_all_in_their_order(world):
    with gevent.Timeout(5):
        gevent.joinall(world.run(10 * AT_ONCE))
    turns = [turn for turn, _ in world.began]
    assert [number for _, number in world.began] == list(range(10 * AT_ONCE))
    # The loop looks at its clock once more where its callbacks have taken long.
    assert max(turns.count(turn) for turn in turns) <= 2 * AT_ONCE
    assert len(set(turns)) >= 5


def test_who_comes_later_waits_behind_those_in_line(world):
    world.run(3 * AT_ONCE)
    gevent.sleep(0)
    late = gevent.spawn(world.call, "late")
    with gevent.Timeout(5):
        gevent.joinall([*world.callers, late])
    assert world.began[-1][1] == "late"


def test_one_that_is_ended_in_line_leaves_it(world):
    callers = world.run(2 * AT_ONCE + 1)
    gevent.sleep(0)
    callers[AT_ONCE + 1].kill(block=False)
    with gevent.Timeout(5):
        gevent.joinall(callers)
    numbers = [number for _, number in world.began]
    assert numbers == [number for number in range(2 * AT_ONCE + 1) if number != AT_ONCE + 1]
    assert not world.pace.line


def test_one_that_fails_keeps_nobody_behind_it(world, capfd):
    def fail():
        world.pace.step()
        raise ZeroDivisionError

    for _ in range(2 * AT_ONCE):
        gevent.spawn_raw(fail)
    with gevent.Timeout(5):
        gevent.joinall(world.run(2 * AT_ONCE))
    assert len(world.began) == 2 * AT_ONCE
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_something_else_that_is_due_comes_between_two_turns(world):
    ran = []
    io = world.loop.timer(0)
    io.start(lambda: ran.append(len(world.began)))
    with gevent.Timeout(5):
        gevent.joinall(world.run(10 * AT_ONCE))
    io.close()
    assert ran[0] < 5 * AT_ONCE


class Reading:
    """Readers who never wait by themselves; `read` has (turn of the loop, number) of each piece."""

    def __init__(self, monkeypatch):
        self.share, self.read, self.turn, self.now = Share(), [], 0, 0.0
        monkeypatch.setattr(pacing, "monotonic", lambda: self.now)
        self.check = gevent.get_hub().loop.check()
        self.check.start(self.count)

    def count(self):
        self.turn += 1

    def pieces(self, number, count, seconds):
        for _ in range(count):
            self.share.step()
            self.now += seconds
            self.read.append((self.turn, number))

    def run(self, readers, count, seconds):
        """Let some readers take so many pieces; the pieces of each turn."""
        jobs = [gevent.spawn(self.pieces, number, count, seconds) for number in range(readers)]
        with gevent.Timeout(5):
            gevent.joinall(jobs)
        turns = [turn for turn, _ in self.read]
        return [turns.count(turn) for turn in sorted(set(turns))]

    def close(self):
        self.share.close()
        self.check.stop()
        self.check.close()


@pytest.fixture
def reading(monkeypatch):
    made = Reading(monkeypatch)
    yield made
    made.close()


@pytest.mark.parametrize("readers", [1, 5])
def test_readers_together_have_a_moment_of_each_turn(reading, readers):
    found = reading.run(readers, 20, MOMENT / 4)
    assert sum(found) == readers * 20 and max(found) <= 4


def test_a_reader_that_takes_long_lets_others_go_on_after_each_piece(reading):
    assert reading.run(1, 5, 10 * MOMENT) == [1] * 5


def test_what_takes_no_time_waits_for_no_turn(reading):
    assert reading.run(3, 100, 0) == [300]


def test_each_reader_has_its_moment_after_the_other(reading):
    reading.run(3, 4, 2 * MOMENT)
    assert [number for _, number in reading.read[1:10]] == [0, 1, 2] * 3


def test_reader_that_is_ended_in_line_leaves_it(reading):
    jobs = [gevent.spawn(reading.pieces, number, 3, 2 * MOMENT) for number in range(3)]
    gevent.sleep(0)
    jobs[1].kill(block=False)
    with gevent.Timeout(5):
        gevent.joinall(jobs)
    assert [number for _, number in reading.read].count(2) == 3 and not reading.share.line
