"""Breakers, told the time: a table of what opens them, and a machine that tries to jam one."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.routing.breaker import CLOSED, HALF_OPEN, OPEN, OPEN_FOR, Breaker


def played(script, step=1.0):
    """Return a breaker that has seen a script of `.` (answer) and `x` (failure), and the time."""
    breaker, now = Breaker(), 1000.0
    for letter in script:
        now += step
        breaker.succeed(now) if letter == "." else breaker.fail(now)
    return breaker, now


@pytest.mark.parametrize(
    "script, step, state",
    [
        ("", 1, CLOSED),
        ("xx", 1, CLOSED),
        ("xxx", 1, OPEN),
        ("xx.xx", 1, CLOSED),
        ("xx.xxx", 1, OPEN),
        ("xxx", 1000, OPEN),  # in a row is in a row, however long it took
        ("x.x.x.x.x", 1, CLOSED),  # 9 are too few for their share to mean anything
        (".x.x.x.x.x", 1, OPEN),
        ("..x.x.x.x.x", 1, CLOSED),  # 5 of 11
        ("...x.x.x.xx.x", 1, CLOSED),
        ("....xx.xx.x", 1, CLOSED),  # 5 of 11
        ("....xx.xx.xx", 1, OPEN),  # 6 of 12
        (".x.x.x.x.x", 4, CLOSED),  # in 30 s there were only 8
    ],
)
def test_three_in_a_row_or_half_of_ten_in_the_window_open_it(script, step, state):
    breaker, now = played(script, step)
    assert breaker.state(now) == state
    assert breaker.allows(now) == (state == CLOSED)


def test_old_outcomes_are_forgotten():
    breaker, now = played(".x.x.x.x.")
    breaker.fail(now + 31)
    assert breaker.state(now + 31) == CLOSED
    assert (len(breaker.outcomes), breaker.failures) == (1, 1)


def test_open_for_thirty_seconds_then_exactly_one_probe():
    breaker, now = played("xxx")
    assert not breaker.allows(now + 29.9)
    assert breaker.state(now + 30) == HALF_OPEN and breaker.allows(now + 30)

    assert breaker.begin(now + 30) is not None
    assert not breaker.allows(now + 30)
    assert breaker.begin(now + 31) is None


@pytest.mark.parametrize("state", [CLOSED, OPEN])
def test_only_the_half_open_state_has_probes(state):
    breaker, now = played("xxx" if state == OPEN else "x")
    assert breaker.begin(now) is None
    assert breaker.state(now) == state


def test_probe_that_succeeds_closes_it_and_the_outage_is_forgotten():
    breaker, now = played("x" * 20)
    breaker.begin(now + 30)
    breaker.succeed(now + 30.5, now + 30)

    assert breaker.state(now + 30.5) == CLOSED
    breaker.fail(now + 30.6)
    assert breaker.state(now + 30.6) == CLOSED


def test_probe_that_fails_opens_it_again_for_as_long():
    breaker, now = played("xxx")
    breaker.begin(now + 40)
    breaker.fail(now + 41, now + 40)

    assert not breaker.allows(now + 41 + 29.9)
    assert breaker.allows(now + 41 + 30)


def test_probe_that_never_reports_back_is_let_go():
    breaker, now = played("xxx")
    breaker.begin(now + 30)
    assert not breaker.allows(now + 60)
    assert breaker.allows(now + 60.1)
    assert breaker.begin(now + 60.1) is not None
    assert not breaker.allows(now + 60.1)


def test_probe_whose_client_left_makes_way_at_once():
    breaker, now = played("xxx")
    breaker.give_up(breaker.begin(now + 30))
    assert breaker.allows(now + 30)


def test_end_of_another_call_does_not_let_a_second_probe_out():
    breaker, now = played("xx")
    before = breaker.begin(now)
    breaker.fail(now)
    first = breaker.begin(now + 30)
    breaker.give_up(before)
    assert not breaker.allows(now + 30)

    second = breaker.begin(now + 70)  # the first one was let go
    breaker.give_up(first)
    assert second is not None and not breaker.allows(now + 70)


def test_what_was_sent_before_it_opened_changes_nothing():
    breaker, now = played("xxx")
    breaker.succeed(now + 1, now - 1)
    assert breaker.state(now + 1) == OPEN
    breaker.fail(now + 20, now - 1)
    assert breaker.state(now + 30) == HALF_OPEN

    breaker.begin(now + 30)
    breaker.fail(now + 31, now - 1)
    assert breaker.state(now + 31) == HALF_OPEN and not breaker.allows(now + 31)


def test_what_was_sent_before_it_opened_changes_nothing_once_it_has_closed():
    breaker, now = played("xxx")
    breaker.begin(now + 30)
    breaker.succeed(now + 31, now + 30)
    for second in range(60):
        breaker.fail(now + 32 + second, now - 1)
        breaker.succeed(now + 32 + second, now + 32 + second)
    assert breaker.state(now + 92) == CLOSED and breaker.openings == 1
    for second in range(3):
        breaker.fail(now + 93 + second, now + 93)
    assert breaker.state(now + 96) == OPEN


def test_answer_to_a_call_that_went_out_all_the_same_closes_it():
    breaker, now = played("xxx")
    breaker.succeed(now + 2, now + 1)
    assert breaker.allows(now + 2)


@pytest.mark.parametrize("seconds", [1, 7, 120])
def test_limit_keeps_away_for_exactly_its_retry_after(seconds):
    breaker, now = played("..")
    breaker.limit(now, seconds)
    assert not breaker.allows(now + seconds - 0.01)
    assert breaker.limited_for(now + seconds - 0.5) == 0.5
    assert breaker.allows(now + seconds)
    assert breaker.limited_for(now + seconds) == 0


def test_limit_is_not_shortened_by_another_or_by_an_earlier_call():
    breaker, now = played("..")
    breaker.limit(now, 20)
    breaker.limit(now + 1, 1)
    breaker.succeed(now + 2, now - 5)
    breaker.fail(now + 2, now - 5)
    assert breaker.limited_for(now + 2) == 18
    assert not breaker.allows(now + 19.9) and breaker.allows(now + 20)


def test_failure_of_the_probe_after_a_limit_is_no_limit():
    breaker, now = played("..")
    breaker.limit(now, 5)
    breaker.begin(now + 5)
    breaker.fail(now + 6, now + 5)
    assert breaker.limited_for(now + 6) == 0
    assert not breaker.allows(now + 35) and breaker.allows(now + 36)


class Machine(RuleBasedStateMachine):
    """Sends calls as a router would and ends them in every way and order."""

    def __init__(self):
        super().__init__()
        self.breaker, self.now = Breaker(), 1000.0
        self.calls = []  # (sent, probe) of those that are out
        self.promised = 0.0  # until when a 429 keeps calls away

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 9.0, 29.9, 30.0, 31.0, 200.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(forced=st.booleans())
    def send(self, forced):
        self.now += 0.001  # no two things happen at once
        allowed = self.breaker.allows(self.now)
        half_open = self.breaker.state(self.now) == HALF_OPEN
        if not allowed and (not forced or self.breaker.limited_for(self.now)):
            return
        probe = self.breaker.begin(self.now)
        assert (probe is not None) == (allowed and half_open)
        self.calls.append((self.now, probe))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), end=st.sampled_from(["succeed", "fail", "limit", "leave"]))
    def end(self, data, end):
        self.now += 0.001
        sent, probe = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        closed = self.breaker.state(self.now) == CLOSED
        stale = self.breaker.opened is not None and sent < self.breaker.opened
        if end == "succeed":
            self.breaker.succeed(self.now, sent)
        elif end == "fail":
            self.breaker.fail(self.now, sent)
            if closed:
                bad = self.bad() and not stale
                assert self.breaker.state(self.now) == (OPEN if bad else CLOSED)
        elif end == "limit":
            seconds = data.draw(st.sampled_from([1, 20, 120]))
            self.breaker.limit(self.now, seconds)
            self.promised = max(self.promised, self.now + seconds)
        self.breaker.give_up(probe)

    def bad(self):
        """Say by counting anew whether the outcomes in the window open it."""
        recent = [ok for when, ok in self.breaker.outcomes if self.now - when <= 30]
        share = len(recent) >= 10 and recent.count(False) * 2 >= len(recent)
        return share or self.breaker.streak >= 3

    @invariant()
    def one_probe_at_a_time(self):
        fresh = [p for _, p in self.calls if p is not None and self.now - p <= OPEN_FOR]
        if self.breaker.state(self.now) == HALF_OPEN and self.breaker.allows(self.now):
            assert self.breaker.probe not in fresh
        assert self.breaker.probe is None or self.breaker.state(self.now) == HALF_OPEN

    @invariant()
    def limits_are_kept(self):
        assert not (self.now < self.promised and self.breaker.allows(self.now))

    @invariant()
    def nobody_is_refused_for_ever(self):
        assert self.breaker.allows(max(self.now, self.breaker.until or 0) + OPEN_FOR + 0.1)
        assert (self.breaker.until or 0) <= self.now + max(OPEN_FOR, 120)

    @invariant()
    def closed_lets_everybody_through(self):
        assert self.breaker.allows(self.now) or self.breaker.state(self.now) != CLOSED

    @invariant()
    def failures_are_counted_rightly(self):
        outcomes = [ok for _, ok in self.breaker.outcomes]
        assert self.breaker.failures == outcomes.count(False)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
