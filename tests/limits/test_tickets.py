import re

import pytest

from gateway import errors
from gateway.config.shape import Price
from gateway.limits import NO_TICKET
from gateway.metrics import tally
from gateway.tokens import Usage
from tests.limits.counted import Broken, World, call, headers, key

MILLION = 1_000_000  # tokens; nano-USD for a thousand tokens at 1 USD per million


@pytest.fixture
def world(tmp_path):
    worlds = []

    def make(**limits):
        worlds.append(World(tmp_path, **limits))
        return worlds[-1]

    yield make
    for made in worlds:
        made.limits.close()


@pytest.fixture(autouse=True)
def quiet_tally():
    tally.limited.clear()
    yield
    tally.limited.clear()


def refused(error, act, *args):
    with pytest.raises(error) as caught:
        act(*args)
    return caught.value


def test_key_without_limits_has_a_ticket_that_does_nothing(world):
    made = world(rpm=1)
    ticket = made.limits.admitted(key())
    assert ticket is NO_TICKET
    ticket.reserve(call())
    ticket.settle(None, None)
    assert headers(ticket) == {}


def test_requests_pass_up_to_the_limit_and_then_wait(world):
    made = world(rpm=3)
    for _ in range(3):
        made.ticket().count()
    error = refused(errors.RateLimited, made.ticket().count)

    assert (error.status, error.code, error.param, error.retry) == (
        429, "rate_limit_exceeded", None, True,
    )  # fmt: skip
    assert re.fullmatch(
        rf"Rate limit reached for {made.key.id} on requests per min \(RPM\): "
        r"Limit 3, Used 3, Requested 1\. Please try again in [\dms.]+\.",
        error.message,
    )
    assert tally.limited == {"requests": 1}


def test_who_waits_as_long_as_told_passes(world):
    made = world(rpm=3)
    for _ in range(3):
        made.ticket().count()
    error = refused(errors.RateLimited, made.ticket().count)
    made.clock.now += int(error.headers()["retry-after-ms"]) / 1000 - 0.01
    refused(errors.RateLimited, made.ticket().count)
    made.clock.now += 0.01
    made.ticket().count()


def test_refused_requests_are_not_counted(world):
    made = world(rpm=2)
    for _ in range(2):
        made.ticket().count()
    for _ in range(10):
        refused(errors.RateLimited, made.ticket().count)
    assert made.store.look(f"rpm:{made.key.id}", 20, 60).remaining == 18


def test_changed_limit_counts_at_once(world):
    made = world(rpm=2)
    for _ in range(2):
        made.ticket().count()
    refused(errors.RateLimited, made.ticket().count)
    ticket = made.ticket(rpm=5)
    ticket.count()
    assert headers(ticket)["remaining-requests"] == "2"


def test_headers_are_there_where_a_limit_applies_and_include_this_call(world):
    made = world(rpm=3, tpm=1000)
    ticket = made.ticket()
    ticket.count()
    assert headers(ticket)["remaining-tokens"] == "1000"
    ticket.reserve(call(max_tokens=50))
    found = headers(ticket)
    resets = [found.pop(f"reset-{kind}") for kind in ("requests", "tokens")]
    assert found == {
        "limit-requests": "3", "remaining-requests": "2",
        "limit-tokens": "1000", "remaining-tokens": "850",
    }  # fmt: skip
    assert all(re.fullmatch(r"1m[\d.]+s|2m0s", reset) for reset in resets)
    assert set(headers(made.ticket(rpm=3))) == {
        "limit-requests", "remaining-requests", "reset-requests",
    }  # fmt: skip
    assert headers(made.ticket(concurrency=3, budget=9)) == {}


def test_headers_of_what_was_not_counted_are_looked_up_without_counting(world):
    made = world(rpm=3, tpm=1000)
    for _ in range(5):
        found = headers(made.ticket())
        assert (found["remaining-requests"], found["remaining-tokens"]) == ("3", "1000")


def test_headers_are_of_the_moment_the_request_was_counted(world):
    made = world(rpm=5, tpm=1000)
    ticket, other = made.ticket(), made.ticket()
    for each in (ticket, other):
        each.count()
        each.reserve(call(max_tokens=100))
    found = headers(ticket)
    assert (found["remaining-requests"], found["remaining-tokens"]) == ("4", "800")


def test_tokens_are_reserved_and_settled_by_what_was_used(world):
    made = world(tpm=1000)
    ticket = made.ticket()
    ticket.reserve(call(max_tokens=300))
    assert made.tokens() == 400
    ticket.settle(Usage(input=10, output=20), None)
    assert made.tokens() == 30


def test_tokens_used_above_the_limit_are_counted_all_the_same(world):
    made = world(tpm=1000)
    ticket = made.ticket()
    ticket.reserve(call(max_tokens=300))
    ticket.settle(Usage(input=1000, output=5000), None)
    assert made.tokens() == 1000  # and more, of which nothing remains
    made.clock.now += 60
    error = refused(errors.RateLimited, made.ticket().reserve, call(max_tokens=1))
    assert error.retry_after > 30


@pytest.mark.parametrize(
    ("tpm", "before", "counted"),
    [(1000, 0, 356), (300, 0, 300), (101, 0, 101), (500, 300, 500), (500, 399, 500)],
)
def test_answer_without_a_bound_reserves_256_or_what_is_left(world, tpm, before, counted):
    made = world(tpm=tpm)
    if before:
        made.store.add(f"tpm:{made.key.id}", 60, before)
    made.ticket().reserve(call())
    assert made.tokens() == counted


def test_tokens_that_do_not_fit_now_are_told_when_they_will(world):
    made = world(tpm=500)
    made.ticket().reserve(call(max_tokens=300))
    error = refused(errors.RateLimited, made.ticket().reserve, call(max_tokens=300))
    assert "on tokens per min (TPM): Limit 500, Used 400, Requested 400." in error.message
    assert tally.limited == {"tokens": 1}
    made.clock.now += error.retry_after
    made.ticket().reserve(call(max_tokens=300))


def test_request_that_can_never_fit_is_not_told_to_wait(world):
    made = world(tpm=399)
    ticket = made.ticket()
    error = refused(errors.RequestBeyondLimit, ticket.reserve, call(max_tokens=300))
    assert not isinstance(error, errors.RateLimited)  # who waits on those would wait for ever
    assert (error.status, error.code, error.param) == (429, "rate_limit_exceeded", None)
    assert error.headers()["x-should-retry"] == "false"
    assert "retry-after" not in error.headers()
    assert f"Request too large for {made.key.id} on tokens per min" in error.message
    assert (made.tokens(), headers(ticket)["remaining-tokens"]) == (0, "399")
    refused(errors.RequestBeyondLimit, made.ticket(tpm=100).reserve, call())
    made.ticket(tpm=101).reserve(call())


def test_concurrency_frees_its_place_with_the_end_of_the_call(world):
    made = world(concurrency=2)
    first, second = made.ticket(), made.ticket()
    first.reserve(call())
    second.reserve(call())
    error = refused(errors.ConcurrencyLimited, made.ticket().reserve, call())
    assert (error.code, error.retry_after) == ("concurrency_limit_exceeded", 1)
    assert tally.limited == {"concurrency": 1}
    first.settle(None, None)
    first.settle(None, None)
    made.ticket().reserve(call())
    refused(errors.ConcurrencyLimited, made.ticket().reserve, call())


def test_what_was_taken_is_given_back_when_a_later_limit_refuses(world):
    made = world(concurrency=1, tpm=1000, budget=100_000)
    for _ in range(3):
        refused(errors.InsufficientQuota, made.ticket().reserve, call(max_tokens=10))
    assert (made.tokens(), made.account()) == (0, 100_000)
    made.ticket().reserve(call(size=4, max_tokens=10))
    assert made.tokens() == 11


def test_refused_reservation_is_settled_by_its_exchange_without_any_effect(world):
    made = world(concurrency=1, tpm=1000)
    made.ticket().reserve(call(max_tokens=10))
    late = made.ticket()
    refused(errors.ConcurrencyLimited, late.reserve, call(max_tokens=10))
    late.settle(None, None)
    assert made.tokens() == 110
    refused(errors.ConcurrencyLimited, made.ticket().reserve, call())


def test_budget_is_reserved_and_settled_by_what_it_cost(world):
    made = world(budget=MILLION)
    ticket = made.ticket()
    ticket.reserve(call(max_tokens=100))  # 100 in at 1,000 and 100 out at 4,000 nano-USD
    assert made.account() == 500_000
    ticket.settle(Usage(input=10, output=10), 50_000)
    assert made.account() == 950_000


def test_spent_budget_refuses_for_good_and_says_what_is_left(world):
    made = world(budget=100_000)
    error = refused(errors.InsufficientQuota, made.ticket().reserve, call(max_tokens=1))
    assert (error.status, error.type, error.code) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    found = error.headers()
    assert found["x-should-retry"] == "false" and "retry-after" not in found
    assert "may spend 0.0001 USD per day, of which 0.0001 USD are left" in error.message
    assert tally.limited == {"budget": 1}


@pytest.mark.parametrize(
    ("budget", "left"), [(2 * MILLION, 876_000), (MILLION, 0), (104_000, 0), (103_999, None)]
)
def test_answer_without_a_bound_reserves_money_for_256_tokens_or_what_is_left(world, budget, left):
    made = world(budget=budget)
    if left is None:
        refused(errors.InsufficientQuota, made.ticket().reserve, call())
        return
    made.ticket().reserve(call())
    name = made.limits.budgets.account(made.key)
    assert made.store.take(name, budget, 1).left == max(left - 1, 0)


def test_call_without_a_price_reserves_nothing_and_settles_what_a_fallback_cost(world):
    made = world(budget=MILLION)
    ticket = made.ticket()
    ticket.reserve(call(price=None))
    assert made.account() == MILLION
    ticket.settle(Usage(input=1, output=1), 400_000)
    assert made.account() == 600_000


def test_model_that_costs_nothing_passes_when_the_budget_is_spent(world):
    made = world(budget=MILLION)
    made.rows = 2 * MILLION
    made.ticket().reserve(call(price=Price(input=0)))
    made.ticket().reserve(call(price=None))
    refused(errors.InsufficientQuota, made.ticket().reserve, call(size=4, max_tokens=0))


@pytest.mark.parametrize("size", [4, 40_000_000])
@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"tpm": 1000}, errors.RequestBeyondLimit),
        ({"tpm": 2**40}, errors.RequestBeyondLimit),
        ({"budget": 1000}, errors.InsufficientQuota),
        ({"budget": 2**48}, errors.InsufficientQuota),
    ],
)
def test_absurd_bound_passes_no_limit(world, limits, error, size):
    made = world(**limits)
    refused(error, made.ticket().reserve, call(size=size, max_tokens=2**64 - 1))


@pytest.mark.parametrize("kept", [False, True])
def test_failed_call_gives_all_back_and_an_uncounted_one_keeps_its_estimate(world, kept):
    made = world(concurrency=1, tpm=1000, budget=MILLION)
    ticket = made.ticket()
    ticket.reserve(call(max_tokens=100))
    ticket.settle(None, None, kept)
    assert made.tokens() == (200 if kept else 0)
    assert made.account() == (500_000 if kept else MILLION)
    made.ticket().reserve(call(max_tokens=1))


def test_only_the_first_settlement_counts(world):
    made = world(concurrency=2, tpm=1000, budget=MILLION)
    ticket = made.ticket()
    ticket.reserve(call(max_tokens=100))
    for _ in range(3):
        ticket.settle(Usage(input=100, output=50), 300_000)
    assert (made.tokens(), made.account()) == (150, 700_000)


def test_ticket_that_never_reached_an_exchange_holds_only_its_request(world):
    made = world(rpm=5, concurrency=1, tpm=1000, budget=MILLION)
    ticket = made.ticket()
    ticket.count()
    ticket.settle(Usage(input=5, output=5), 5)
    assert (made.tokens(), made.account()) == (0, MILLION)
    assert headers(ticket)["remaining-requests"] == "4"


def test_nonsense_that_an_upstream_counted_does_not_stop_the_settlement(world):
    made = world(concurrency=1, tpm=1000, budget=MILLION)
    ticket = made.ticket()
    ticket.reserve(call(max_tokens=1))
    ticket.settle(Usage(input=2**53, output=2**53), 2**70)
    made.clock.now += 300
    made.ticket(concurrency=1).reserve(call())


def test_store_that_fails_lets_calls_through(world):
    made = world(rpm=1, tpm=101, concurrency=1, budget=1)
    made.limits.store.store = Broken()
    for _ in range(3):
        ticket = made.ticket()
        ticket.count()
        ticket.reserve(call())
        assert headers(ticket) == {}
        ticket.settle(Usage(input=5, output=5), 5)
