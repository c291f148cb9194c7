"""Tries while upstreams are out, limited or full."""

import pytest

from gateway import errors
from gateway.routing.tries import Tries
from tests.routing.fakes import (
    START,
    Clock,
    Upstream,
    answered,
    call,
    played,
    router,
    start,
    three,
)


def test_budget_ends_the_repeats_of_an_outage():
    upstream, clock = Upstream("a"), Clock()
    desk = router(upstream)
    made = 0
    for _ in range(200):
        asked = call(clock)
        tries = Tries(desk, asked, desk.candidates(asked))
        with pytest.raises(errors.UpstreamBadResponse):
            played(tries, clock, *[answered(500)] * 9)
        made += len(asked.attempts)
        clock.now += 0.02
    assert 220 < made <= 200 * 1.2 + 3


@pytest.mark.parametrize("together", [1, 5, 20])
def test_outage_of_all_upstreams_is_not_multiplied(together):
    """Calls overlap: each batch has begun before the first of it fails."""
    clock = Clock()
    desk = router(*three())
    made = calls = 0
    for _ in range(600 // together):
        batch = []
        for _ in range(together):
            asked = call(clock)
            batch.append((asked, Tries(desk, asked, desk.candidates(asked))))
        live = list(batch)
        for _, tries in live:
            tries.begin()
        while live:
            going = []
            for asked, tries in live:
                try:
                    tries.failed(answered(500))
                    going.append((asked, tries))
                except errors.UpstreamBadResponse:
                    pass
                finally:
                    tries.end()
            for _, tries in going:
                tries.begin()
            live = going
        calls += together
        made += sum(len(asked.attempts) for asked, _ in batch)
        clock.now += together / 50
    # Those of the first batch do not know yet that the others fail too.
    assert made <= calls * 1.2 + max(3, together * 1.8)


def test_moving_to_an_upstream_that_works_is_free():
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    for _ in range(3):
        assert tries.budget.spend(clock.now)
    assert played(tries, clock, answered(500), None) == ["a", "b"]


def test_moving_to_one_that_fails_too_costs_budget():
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    desk.breaker_of("b", "m").fail(clock.now)
    for _ in range(3):
        assert tries.budget.spend(clock.now)
    with pytest.raises(errors.UpstreamBadResponse):
        played(tries, clock, answered(500), None)
    assert asked.attempts == ["a:500"]


def test_upstream_that_works_behind_one_that_fails_is_found_without_budget():
    desk, tries, asked, clock = start(*three())
    desk.breaker_of("b", "m").fail(clock.now)
    for _ in range(3):
        assert tries.budget.spend(clock.now)
    assert played(tries, clock, answered(500), None) == ["a", "c"]


def open_breaker(desk, name, now):
    for _ in range(3):
        desk.breaker_of(name, "m").fail(now)


def test_open_breaker_is_passed_over():
    desk, tries, asked, clock = start(*three())
    open_breaker(desk, "a", clock.now)
    assert played(tries, clock, None) == ["b"]


def test_when_all_are_open_the_one_that_opens_soonest_is_tried_at_once():
    desk, tries, asked, clock = start(*three())
    for name, before in (("a", 1), ("b", 20), ("c", 5)):
        open_breaker(desk, name, clock.now - before)
    assert played(tries, clock, None) == ["b"]
    assert clock.now == START


def test_last_candidate_whose_probe_is_out_is_not_refused_either():
    desk, tries, asked, clock = start(Upstream("a"))
    open_breaker(desk, "a", clock.now - 30)
    tries.begin()
    other = call(clock)
    more = Tries(desk, other, desk.candidates(other))
    assert played(more, clock, None) == ["a"]


def test_when_all_are_limited_the_client_hears_the_seconds_left_and_nobody_is_called():
    desk, tries, asked, clock = start(*three())
    for name, seconds in (("a", 50), ("b", 20), ("c", 90)):
        desk.breaker_of(name, "m").limit(clock.now, seconds)
    clock.now += 5
    with pytest.raises(errors.RateLimited) as caught:
        tries.begin()
    error = caught.value
    assert (error.status, error.retry_after, error.retry, error.source) == (
        429,
        15,
        True,
        "upstream",
    )
    assert asked.attempts == [] and asked.upstream is None and not +desk.load


def test_seconds_left_are_at_least_one():
    desk, tries, asked, clock = start(Upstream("a"))
    desk.breaker_of("a", "m").limit(clock.now, 5)
    clock.now += 4.9
    with pytest.raises(errors.RateLimited) as caught:
        tries.begin()
    assert caught.value.headers()["retry-after"] == "1"


def test_limited_upstream_is_never_the_one_that_is_tried_at_once():
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    desk.breaker_of("a", "m").limit(clock.now, 1)
    open_breaker(desk, "b", clock.now)
    assert played(tries, clock, None) == ["b"]


def test_limit_that_a_failure_came_after_is_still_kept():
    desk, tries, asked, clock = start(Upstream("a"))
    breaker = desk.breaker_of("a", "m")
    breaker.limit(clock.now, 60)
    breaker.fail(clock.now + 1, clock.now - 1)
    clock.now += 2
    with pytest.raises(errors.RateLimited):
        tries.begin()


@pytest.mark.parametrize("limited", [True, False])
def test_limit_that_has_run_out_refuses_nobody(limited):
    desk, tries, asked, clock = start(Upstream("a"))
    desk.breaker_of("a", "m").limit(clock.now, 5)
    clock.now += 4.9 if limited else 5
    if limited:
        with pytest.raises(errors.RateLimited):
            tries.begin()
        return
    tries.begin()
    other = call(clock)  # the probe is out
    assert played(Tries(desk, other, desk.candidates(other)), clock, None) == ["a"]


def test_full_upstream_is_passed_over():
    desk, tries, asked, clock = start(Upstream("a", max_in_flight=2), Upstream("b"))
    desk.load["a"] = 2
    assert played(tries, clock, None) == ["b"]
    desk.load["a"] = 1
    tries = Tries(desk, asked, desk.candidates(asked))
    assert played(tries, clock, None) == ["a"]


@pytest.mark.parametrize("limited", [True, False])
def test_when_all_that_are_not_limited_are_full_the_server_is_overloaded(limited):
    desk, tries, asked, clock = start(*(Upstream(n, max_in_flight=1) for n in "ab"))
    desk.load.update(a=1, b=1)
    if limited:
        desk.breaker_of("a", "m").limit(clock.now, 60)
    with pytest.raises(errors.ServerOverloaded):
        tries.begin()
    assert desk.load == {"a": 1, "b": 1}


def test_upstream_that_has_filled_up_during_the_wait_is_not_overfilled():
    desk, tries, asked, clock = start(Upstream("a", max_in_flight=1))
    tries.begin()
    clock.now += tries.failed(answered(500))
    tries.end()
    desk.load["a"] += 1
    with pytest.raises(errors.ServerOverloaded):
        tries.begin()
    desk.load["a"] -= 1
    assert tries.begin().upstream.name == "a"


@pytest.mark.parametrize(
    "error, streak, limited",
    [
        (answered(500), 1, False),
        (answered(401), 1, False),
        (answered(301), 1, False),
        (errors.UpstreamUnreachable(), 1, False),
        (errors.UpstreamTimeout("total"), 1, False),
        (answered(429, retry_after=30), 1, True),
        (answered(400), 0, False),
        (answered(404), 0, False),
    ],
    ids=repr,
)
def test_breaker_hears_what_speaks_against_the_upstream(error, streak, limited):
    desk, tries, asked, clock = start(Upstream("a"), attempts=0)
    with pytest.raises(errors.GatewayError):
        played(tries, clock, error)
    breaker = desk.breaker_of("a", "m")
    assert breaker.streak == streak
    assert (breaker.limited_for(clock.now) == 30) == limited


def test_call_that_never_reached_the_upstream_does_not_close_its_breaker():
    desk, tries, asked, clock = start(Upstream("a"))
    open_breaker(desk, "a", clock.now)
    with pytest.raises(errors.ResponseNotFound):
        played(tries, clock, errors.ResponseNotFound())
    assert not desk.breaker_of("a", "m").allows(clock.now)
