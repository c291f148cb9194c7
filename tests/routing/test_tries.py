"""Which target a call tries next, after what wait, and what its client hears at the end."""

import pytest

from gateway import errors
from gateway.routing.tries import outcome
from tests.routing.fakes import START, Upstream, answered, played, reset, start, three


@pytest.mark.parametrize(
    "error, said",
    [
        (answered(429), "429"),
        (answered(500), "500"),
        (answered(401), "401"),
        (answered(302), "302"),
        (answered(408), "408"),
        (errors.UpstreamUnreachable(), "connect"),
        (errors.UpstreamTimeout("connect"), "connect"),
        (errors.UpstreamTimeout("first_token"), "timeout"),
        (errors.UpstreamTimeout("total"), "timeout"),
        (reset(), "reset"),
        (reset(began=True), "reset"),
        (errors.UpstreamBadResponse(), "bad"),
    ],
)
def test_attempts_header_names_each_outcome(error, said):
    assert outcome(error) == said
    desk, tries, asked, clock = start(Upstream("a"), attempts=0)
    with pytest.raises(type(error)):
        played(tries, clock, error)
    assert asked.attempts == [f"a:{said}"]


def test_each_failure_moves_on_to_the_next_upstream_without_a_wait():
    desk, tries, asked, clock = start(*three())
    assert played(tries, clock, answered(500), answered(401), None) == ["a", "b", "c"]
    assert asked.attempts == ["a:500", "b:401", "c:200"]
    assert (asked.upstream, clock.now) == ("c", START)
    assert not +desk.load


@pytest.mark.parametrize("attempts, tried", [(0, "a"), (1, "aa"), (2, "aaa"), (3, "aaaa")])
def test_attempts_bounds_the_repeats(attempts, tried):
    desk, tries, asked, clock = start(Upstream("a"), attempts=attempts)
    with pytest.raises(errors.UpstreamBadResponse):
        played(tries, clock, *[answered(500)] * 9)
    assert asked.attempts == ["a:500"] * len(tried)


def test_repeats_wait_longer_each_time():
    desk, tries, asked, clock = start(Upstream("a"))
    waits = []
    for _ in range(2):
        tries.begin()
        waits.append(tries.failed(answered(503)))
        tries.end()
    assert waits == [0.125, 0.25]


@pytest.mark.parametrize("most, tried", [(1, ["a"]), (2, ["a", "b"]), (3, ["a", "b", "c"])])
def test_upstreams_bounds_how_many_are_tried(most, tried):
    desk, tries, asked, clock = start(*three(), upstreams=most, attempts=0)
    with pytest.raises(errors.UpstreamBadResponse):
        played(tries, clock, *[answered(500)] * 9)
    assert asked.attempts == [f"{name}:500" for name in tried]


@pytest.mark.parametrize("took, tried", [(0.0, 2), (9.9, 2), (10.0, 1), (30.0, 1)])
def test_only_a_short_try_is_repeated(took, tried):
    desk, tries, asked, clock = start(Upstream("a"), attempts=1)
    tries.begin()
    clock.now += took
    if tried == 2:
        assert tries.failed(answered(500)) == 0.125
    else:
        with pytest.raises(errors.UpstreamBadResponse):
            tries.failed(answered(500))


def test_long_try_may_move_on_all_the_same():
    desk, tries, asked, clock = start(*three())
    tries.begin()
    clock.now += 30
    assert tries.failed(answered(500)) == 0
    tries.end()
    assert tries.begin().upstream.name == "b"


@pytest.mark.parametrize(
    "began, deadline, tried",
    [(0, 1e9, 2), (59.7, 1e9, 2), (59.9, 1e9, 1), (60, 1e9, 1), (0, 0.3, 2), (0, 0.1, 1)],
)
def test_no_repeat_past_a_minute_or_the_client_s_deadline(began, deadline, tried):
    desk, tries, asked, clock = start(Upstream("a"), attempts=1)
    asked.deadline = asked.started + deadline
    clock.now += began
    tries.begin()
    if tried == 2:
        assert tries.failed(answered(500)) == 0.125
    else:
        with pytest.raises(errors.UpstreamBadResponse):
            tries.failed(answered(500))


@pytest.mark.parametrize("took, deadline", [(60, 1e9), (61, 1e9), (5, 5), (9, 5)])
def test_no_other_upstream_past_a_minute_or_the_client_s_deadline(took, deadline):
    desk, tries, asked, clock = start(*three())
    asked.deadline = asked.started + deadline
    tries.begin()
    clock.now += took
    with pytest.raises(errors.UpstreamBadResponse):
        tries.failed(answered(500))


@pytest.mark.parametrize(
    "error",
    [
        answered(400),
        answered(404),
        answered(422),
        errors.ResponseNotFound(),
        errors.UpstreamTimeout("first_token"),
        errors.UpstreamTimeout("idle"),
        errors.UpstreamTimeout("total"),
    ],
    ids=repr,
)
def test_what_stops_a_call_stops_it_at_once(error):
    desk, tries, asked, clock = start(*three())
    with pytest.raises(type(error)):
        played(tries, clock, error, None)
    assert len(asked.attempts) == (error.source == "upstream")


@pytest.mark.parametrize("status", [401, 402, 403])
def test_bad_key_of_ours_is_never_repeated_and_never_the_client_s_fault(status):
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    with pytest.raises(errors.UpstreamAuthFailed) as caught:
        played(tries, clock, *[answered(status)] * 5)
    assert asked.attempts == [f"a:{status}", f"b:{status}"]
    assert (caught.value.status, caught.value.retry) == (502, False)


def test_after_a_bad_key_the_upstream_before_it_may_be_repeated():
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    assert played(tries, clock, answered(503), answered(401), None) == ["a", "b", "a"]


@pytest.mark.parametrize("status", [429, 503, 529])
def test_retry_after_is_waited_for_when_there_is_no_other_upstream(status):
    desk, tries, asked, clock = start(Upstream("a"))
    assert played(tries, clock, answered(status, retry_after=3), None) == ["a", "a"]
    assert clock.now == START + 3.125


@pytest.mark.parametrize("status", [429, 503, 529])
def test_long_retry_after_goes_to_the_client(status):
    desk, tries, asked, clock = start(Upstream("a"))
    with pytest.raises(errors.GatewayError) as caught:
        played(tries, clock, answered(status, retry_after=30), None)
    assert caught.value.headers()["retry-after"] == "30"
    assert clock.now == START and asked.attempts == [f"a:{status}"]


@pytest.mark.parametrize("status", [429, 503, 529])
def test_long_retry_after_keeps_nobody_from_another_upstream(status):
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    script = answered(status, retry_after=30), answered(500), None
    assert played(tries, clock, *script) == ["a", "b", "b"]
    assert clock.now == START + 0.125


def test_upstream_that_has_said_429_to_another_call_meanwhile_is_left_alone():
    desk, tries, asked, clock = start(Upstream("a"))
    tries.begin()
    clock.now += tries.failed(answered(429, retry_after=2))
    tries.end()
    desk.breaker_of("a", "m").limit(clock.now, 20)
    with pytest.raises(errors.RateLimited) as caught:
        tries.begin()
    assert caught.value.retry_after == 20
    assert not +desk.load


@pytest.mark.parametrize(
    ("error", "sent"), [(answered(500), 0), (reset(), 0), (reset(began=True), 100)]
)
def test_call_that_is_left_before_its_next_try_owes_only_for_work_that_had_begun(error, sent):
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    tries.begin()
    asked.sent = 100
    tries.failed(error)
    tries.end()
    assert asked.sent == sent


@pytest.mark.parametrize("before, charged", [(0.0, True), (4.0, True), (6.0, False), (60.0, False)])
def test_breaker_is_not_charged_for_time_that_the_tries_before_have_taken(before, charged):
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    clock.now += before
    tries.begin()
    asked.bound(10)
    with pytest.raises(errors.UpstreamTimeout):
        tries.failed(errors.UpstreamTimeout("total"))
    tries.end()
    assert (desk.breaker_of("a", "m").streak == 1) is charged


def test_upstream_that_could_not_be_asked_is_named_by_nothing():
    desk, tries, asked, clock = start(Upstream("a"))
    with pytest.raises(errors.UnsupportedParameter):
        played(tries, clock, errors.UnsupportedParameter("No chat can say this.", "x"))
    assert (asked.upstream, asked.upstream_model, asked.price) == (None, None, None)
    assert asked.attempts == [] and not +desk.load


def test_upstream_that_was_asked_before_one_that_could_not_be_stays_named():
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    with pytest.raises(errors.UnsupportedParameter):
        played(tries, clock, answered(500), errors.UnsupportedParameter("No chat.", "x"))
    assert (asked.upstream, asked.upstream_model, asked.attempts) == ("a", "m", ["a:500"])
    assert not +desk.load


def test_upstream_that_answers_is_named_where_the_first_could_not_be_asked():
    desk, tries, asked, clock = start(Upstream("a"), Upstream("b"))
    assert played(tries, clock, errors.StreamNotSupported("m"), None) == ["a", "b"]
    assert (asked.upstream, asked.upstream_model, asked.attempts) == ("b", "m", ["b:200"])
    assert not +desk.load


@pytest.mark.parametrize("error", [errors.UpstreamUnreachable(), reset(), answered(404)], ids=repr)
def test_upstream_that_was_called_is_named_even_if_it_gave_no_answer(error):
    desk, tries, asked, clock = start(Upstream("a"), attempts=0)
    with pytest.raises(type(error)):
        played(tries, clock, error)
    assert asked.upstream == "a" and not +desk.load
