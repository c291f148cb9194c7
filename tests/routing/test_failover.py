"""Whole calls and streams from the first try to the last, with upstreams that are not there."""

import pytest

from gateway import errors, watch
from gateway.upstreams.base import PING
from tests.routing.fakes import (
    ANSWER,
    START,
    STREAM,
    Clock,
    Guard,
    Upstream,
    answered,
    asked,
    call,
    reset,
    router,
    streamed,
)


def two(*answers, **how):
    return Upstream("a", *answers, **how), Upstream("b")


@pytest.mark.parametrize("run", [asked, streamed])
@pytest.mark.parametrize(
    "failure",
    [
        errors.UpstreamUnreachable(),
        errors.UpstreamTimeout("connect"),
        reset(),
        reset(began=True),
        errors.UpstreamBadResponse(),
        *(answered(status) for status in (401, 402, 403, 408, 429, 500, 502, 503, 504, 529)),
    ],
    ids=repr,
)
def test_failure_before_the_first_event_is_made_good_by_the_next_upstream(run, failure):
    ups = two(failure)
    made, *got = run(router(*ups))
    assert got[0] in (ANSWER, STREAM)
    assert len(made.attempts) == 2 and made.attempts[1] == "b:200"
    assert (made.upstream, made.upstream_model) == ("b", "m")


@pytest.mark.parametrize("run", [asked, streamed])
def test_single_upstream_is_repeated_after_a_pause(run):
    upstream, clock = Upstream("a", answered(503), reset()), Clock()
    made, *got = run(router(upstream), clock)
    assert got[0] in (ANSWER, STREAM)
    assert made.attempts == ["a:503", "a:reset", "a:200"]
    assert [when - START for when, _ in upstream.calls] == [0, 0.125, 0.375]
    assert made.upstream_seconds == 0.375  # none of it is the gateway's own


@pytest.mark.parametrize("run", [asked, streamed])
def test_timer_that_ends_early_does_not_cut_a_retry_after_short(run):
    upstream, clock = Upstream("a", answered(429, retry_after=2)), Clock()
    guard = Guard(clock)
    guard.busy = lambda: setattr(guard, "early", 0.0)
    guard.early = 0.01
    made, *got = run(router(upstream, rand=lambda: 0.0), clock, guard=guard)
    assert made.attempts == ["a:429", "a:200"]
    assert clock.now == START + 2


@pytest.mark.parametrize("run", [asked, streamed])
def test_refusal_of_the_request_is_passed_on_at_once(run):
    ups = two(answered(400))
    made, *got = run(router(*ups))
    assert got[-1].status == 400
    assert len(ups[1].calls) == 0 and made.attempts == ["a:400"]


@pytest.mark.parametrize("run", [asked, streamed])
@pytest.mark.parametrize("timer", ["first_token", "idle", "total"])
def test_timer_that_ran_out_ends_it(run, timer):
    ups = two(errors.UpstreamTimeout(timer))
    made, *got = run(router(*ups))
    assert (got[-1].status, got[-1].param) == (504, timer)
    assert len(ups[1].calls) == 0


@pytest.mark.parametrize("failure", [reset(began=True), answered(500), errors.UpstreamTimeout("x")])
def test_nothing_is_tried_after_the_first_event(failure):
    ups = two([b"1", failure])
    desk, (made, blocks, error) = (built := router(*ups)), streamed(built)
    assert (blocks, error, len(ups[1].calls)) == ([b"1"], failure, 0)
    assert made.attempts == ["a:200"]
    assert desk.breaker_of("a", "m").streak == 1


@pytest.mark.parametrize("failure", [reset(), answered(429), errors.UpstreamUnreachable()])
def test_stream_falls_over_behind_a_ping(failure):
    ups = two([PING, PING, failure])
    made, blocks, error = streamed(router(*ups))
    assert (blocks, error) == ([PING, PING, *STREAM], None)
    assert made.attempts[1] == "b:200"


def test_client_is_pinged_during_a_wait_between_tries():
    upstream, clock = Upstream("a", answered(429, retry_after=5), seconds=12), Clock()
    made, blocks, error = streamed(router(upstream, within=20), clock)
    assert (blocks, error) == ([PING, *STREAM], None)
    assert made.spoke == START + 15


def test_stream_that_ends_before_its_first_event_is_no_answer():
    made, blocks, error = streamed(router(*two([])))
    assert (blocks, made.attempts) == (STREAM, ["a:bad", "b:200"])


def test_upstream_s_stream_is_closed_however_the_client_s_ends():
    upstream = Upstream("a", always=[b"1", b"2", b"3"])
    desk = router(upstream)
    blocks = desk.stream(call(Clock(), stream=True), None)
    assert next(blocks) == b"1"
    assert desk.load["a"] == 1
    blocks.close()
    assert (desk.load["a"], upstream.closed) == (0, 1)
    assert desk.breaker_of("a", "m").streak == 0


def test_upstream_s_stream_is_closed_though_what_has_ended_it_is_kept():
    upstream = Upstream("a", always=[b"1", b"2"])
    desk = router(upstream)
    blocks = desk.stream(call(Clock(), stream=True), None)
    next(blocks)
    with pytest.raises(watch.Gone) as kept:  # with its traceback, and so with every frame
        blocks.throw(watch.Gone())
    assert (desk.load["a"], upstream.closed) == (0, 1) and kept


def test_stream_that_nobody_began_to_read_holds_nothing():
    upstream = Upstream("a")
    desk = router(upstream)
    desk.stream(call(Clock(), stream=True), None).close()
    assert upstream.calls == [] and not +desk.load


@pytest.mark.parametrize("run", ["whole", "stream"])
@pytest.mark.parametrize("failure", [watch.Gone(), RuntimeError("a bug")])
def test_load_goes_back_whatever_a_try_raises(run, failure):
    upstream = Upstream("a", failure)
    desk = router(upstream)
    made = call(Clock(), stream=run == "stream")
    with pytest.raises(type(failure)):
        list(desk.stream(made)) if run == "stream" else desk.whole(made)
    assert not +desk.load


@pytest.mark.parametrize("run", ["whole", "stream"])
def test_client_that_leaves_during_a_wait_ends_the_tries(run):
    upstream, clock = Upstream("a", answered(503)), Clock()
    desk = router(upstream)
    made = call(clock, guard=Guard(clock, gone_at=START + 0.1), stream=run == "stream")
    with pytest.raises(watch.Gone):
        list(desk.stream(made)) if run == "stream" else desk.whole(made)
    assert len(upstream.calls) == 1 and not +desk.load


@pytest.mark.parametrize("run", ["whole", "stream"])
def test_probe_whose_client_left_lets_the_next_one_out(run):
    upstream, clock = Upstream("a", watch.Gone()), Clock()
    desk = router(upstream)
    breaker = desk.breaker_of("a", "m")
    for _ in range(3):
        breaker.fail(clock.now - 30)
    with pytest.raises(watch.Gone):
        made = call(clock, stream=run == "stream")
        list(desk.stream(made)) if run == "stream" else desk.whole(made)
    assert breaker.allows(clock.now)


def test_load_counts_while_a_try_is_on():
    upstream, seen = Upstream("a"), []
    desk = router(upstream)
    upstream.seen = lambda: seen.append(desk.load["a"])
    asked(desk)
    streamed(desk)
    assert seen == [1, 1]


def test_dead_upstream_is_called_three_times_then_one_probe_every_half_minute():
    dead, clock = Upstream("a", always=errors.UpstreamUnreachable()), Clock()
    desk = router(dead, Upstream("b"))
    for _ in range(360):
        assert asked(desk, clock)[1] is ANSWER
        clock.now += 0.25
    assert [when - START for when, _ in dead.calls] == [0, 0.25, 0.5, 30.5, 60.5]


def test_upstream_that_is_back_gets_its_calls_back():
    back, clock = Upstream("a", *[reset()] * 3), Clock()
    desk = router(back, Upstream("b"))
    for _ in range(4):
        asked(desk, clock)
    clock.now += 30
    assert [asked(desk, clock)[0].attempts for _ in range(2)] == [["a:200"]] * 2


def test_while_a_429_runs_the_client_hears_the_seconds_left_without_a_call():
    upstream, clock = Upstream("a", answered(429, retry_after=40)), Clock()
    desk = router(upstream)
    assert asked(desk, clock)[1].retry_after == 40
    clock.now += 15
    made, error = asked(desk, clock)
    assert (error.status, error.retry_after, made.attempts) == (429, 25, [])
    assert len(upstream.calls) == 1
    clock.now += 25
    assert asked(desk, clock)[1] is ANSWER


def test_model_s_only_upstream_is_called_however_often_it_fails():
    upstream, clock = Upstream("a", always=answered(500)), Clock()
    desk = router(upstream, attempts=0)
    for _ in range(50):
        asked(desk, clock)
    assert len(upstream.calls) == 50


@pytest.mark.parametrize("run", [asked, streamed])
def test_call_waits_a_moment_for_a_place_and_gets_it(run):
    upstream, clock = Upstream("a", max_in_flight=1), Clock()
    desk = router(upstream)
    desk.load["a"] = 1
    guard = Guard(clock)

    def leave_at_last():
        if desk.load["a"] == 1 and clock.now > START + 0.2:
            desk.load["a"] = 0

    guard.busy = leave_at_last
    made, *got = run(desk, clock, guard=guard)
    assert got[0] in (ANSWER, STREAM)
    assert START + 0.2 < clock.now < START + 0.3


@pytest.mark.parametrize("run", ["whole", "stream"])
def test_call_that_gets_no_place_is_refused_after_half_a_second(run):
    clock = Clock()
    desk = router(*(Upstream(name, max_in_flight=1) for name in "ab"))
    desk.load.update({"a": 1, "b": 1})
    made = call(clock, stream=run == "stream")
    with pytest.raises(errors.ServerOverloaded) as caught:
        list(desk.stream(made)) if run == "stream" else desk.whole(made)
    assert START + 0.5 <= clock.now < START + 0.55
    assert caught.value.headers()["retry-after"] == "1"
    assert desk.load == {"a": 1, "b": 1}
