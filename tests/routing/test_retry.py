"""What a failed try allows, how long to wait, and how many extra calls there may be."""

import pytest

from gateway import errors
from gateway.routing import retry
from gateway.routing.retry import AGAIN, NEXT, STOP, Budget
from gateway.upstreams import faults
from tests.routing.fakes import answered, reset


def in_stream(code):
    return faults.in_stream({"message": "no", "code": code}, "m")


VERDICTS = [
    # What an upstream has answered: what may be done, and whether it speaks against the upstream.
    *((answered(status), AGAIN, True) for status in (408, 500, 502, 503, 504, 520, 529, 599)),
    *((answered(status), NEXT, True) for status in (401, 402, 403)),
    *((answered(status), STOP, False) for status in (400, 404, 405, 409, 413, 415, 422, 499)),
    *((answered(status), NEXT, True) for status in (204, 206, 301, 302, 307, 308)),
    (answered(429), AGAIN, False),
    # What has kept it from answering.
    (errors.UpstreamUnreachable(), AGAIN, True),
    (errors.UpstreamTimeout("connect"), AGAIN, True),
    (errors.UpstreamTimeout("first_token"), STOP, True),
    (errors.UpstreamTimeout("idle"), STOP, True),
    (errors.UpstreamTimeout("total"), STOP, True),
    (reset(), AGAIN, True),
    (reset(began=True), NEXT, True),
    (errors.UpstreamBadResponse(), NEXT, True),
    # An error in the place of a stream's first event.
    (in_stream("server_error"), NEXT, True),
    (in_stream(500), NEXT, True),
    (in_stream(503), NEXT, True),
    (in_stream(429), NEXT, False),
    (in_stream(401), NEXT, True),
    (in_stream(400), STOP, False),
    # What is about the request, or our own.
    (errors.StreamNotSupported("m"), NEXT, False),
    (errors.ResponseNotFound(), STOP, False),
    (errors.ServerOverloaded(), STOP, False),
    (errors.ServerDraining(), STOP, False),
    (errors.DependencyUnavailable(), STOP, False),
    (errors.InternalError(), STOP, False),
    (errors.ClientGone(), STOP, False),
]


@pytest.mark.parametrize("error, verdict, fault", VERDICTS, ids=lambda value: repr(value)[:60])
def test_each_failure_has_its_verdict(error, verdict, fault):
    assert retry.verdict(error) == verdict
    assert retry.is_fault(error) == fault


def test_every_error_class_has_a_verdict():
    def classes(base):
        for child in base.__subclasses__():
            yield child
            yield from classes(child)

    made = {
        errors.UpstreamTimeout: ("idle",),
        errors.UpstreamRefused: (400, "no"),
        errors.MethodNotAllowed: ("GET", "/v1/chat/completions", ["POST"]),
        errors.EndpointNotSupported: ("m", "chat"),
        errors.RequestTooLarge: (1,),
        **dict.fromkeys((errors.MissingParameter, errors.UnknownParameter), ("x",)),
        **dict.fromkeys((errors.StreamNotSupported, errors.ModelNotFound), ("m",)),
    }
    for kind in classes(errors.GatewayError):
        assert retry.verdict(kind(*made.get(kind, ()))) in (AGAIN, NEXT, STOP)


@pytest.mark.parametrize(
    "repeat, longest", [(0, 0.25), (1, 0.5), (2, 1), (3, 2), (4, 4), (5, 4), (99, 4)]
)
def test_backoff_has_full_jitter_and_a_cap(repeat, longest):
    error = answered(500)
    assert retry.delay(repeat, error, lambda: 0.0) == 0
    assert retry.delay(repeat, error, lambda: 0.5) == longest / 2
    assert 0 <= retry.delay(repeat, error) < longest


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("seconds", [1, 3, 5])
def test_retry_after_is_waited_for_and_the_crowd_spread_behind_it(status, seconds):
    error = answered(status, retry_after=seconds)
    assert retry.delay(0, error, lambda: 0.0) == seconds
    assert retry.delay(0, error, lambda: 1.0) == seconds + 0.25


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("seconds", [6, 60, 9999])
def test_long_retry_after_is_the_client_s_to_wait_for(status, seconds):
    assert retry.delay(0, answered(status, retry_after=seconds)) is None


@pytest.mark.parametrize("status", [503, 529])
@pytest.mark.parametrize("headers", [{}, {"retry_after": "soon"}])
def test_failure_that_names_no_wait_is_repeated_after_the_backoff_alone(status, headers):
    error = answered(status, **headers)
    assert retry.delay(0, error, lambda: 1.0) == 0.25
    assert error.headers()["retry-after"] == "1"


def spent(budget, now, most=1000):
    count = 0
    while count < most and budget.spend(now):
        count += 1
    return count


@pytest.mark.parametrize(
    "calls, extra", [(0, 3), (1, 3), (15, 3), (16, 3), (19, 3), (20, 4), (100, 20), (1000, 200)]
)
def test_budget_is_a_fifth_of_the_calls_and_at_least_three(calls, extra):
    budget = Budget()
    for number in range(calls):
        budget.call(number / calls)
    assert spent(budget, 1.0) == extra
    assert not budget.spend(1.0)


def test_budget_comes_back_as_its_window_moves_on():
    budget = Budget()
    for _ in range(100):
        budget.call(0.0)
    assert spent(budget, 0.0) == 20
    assert spent(budget, 10.0) == 0
    assert spent(budget, 10.1) == 3
    assert len(budget.calls) == 0 and len(budget.extra) == 3


def test_free_call_that_failed_is_owed():
    budget = Budget()
    budget.owe(0.0)
    assert spent(budget, 0.0) == 2


def test_budget_holds_for_any_rate():
    budget, extra = Budget(), 0
    for number in range(5000):
        now = number / 50
        budget.call(now)
        extra += spent(budget, now, most=2)
    assert 900 < extra <= 5000 * 0.2 + 3
