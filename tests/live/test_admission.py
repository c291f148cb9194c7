"""The cap on a worker's calls: a short wait for a place, then 503, and no place is ever lost."""

import time

import pytest

from tests.live.faults import assert_complete, assert_error

pytestmark = pytest.mark.live

TIMEOUTS = "first_token = 25\ntotal = 25\nidle = 25"
CAP = 2


@pytest.fixture(scope="module")
def site(open_site):
    more = "[retry]\nattempts = 0"
    return open_site(timeouts=TIMEOUTS, server=f"max_in_flight = {CAP}", more=more)


@pytest.fixture
def full(site):
    """Return the sockets of as many calls as a worker takes; they end when these are closed."""
    seen = site.upstream.received
    with site.connected(site.raw("mock-hang")) as one:
        with site.connected(site.raw("mock-hang", stream=True)) as two:
            site.upstream.wait_for(seen + CAP)
            yield one, two
    site.nothing_in_flight()


def refused(answer):
    assert_error(answer, 503, "server_overloaded", retry=True, source="gateway")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("endpoint", ["chat", "responses", "embeddings"])
def test_call_above_the_cap_is_refused_after_a_short_wait(site, full, endpoint):
    seen = site.upstream.received
    answer = site.ask(endpoint=endpoint)
    refused(answer)
    assert 0.4 < answer.took < 1.2
    assert site.upstream.received == seen


def test_body_is_not_even_looked_at(site, full):
    refused(site.ask(messages="nonsense"))


def test_full_worker_still_answers_what_needs_no_upstream(site, full):
    began = time.monotonic()
    assert site.ask(headers={"Authorization": "Bearer wrong"}).status == 401
    assert site.gateway.metrics()["gateway_in_flight"] == CAP
    assert time.monotonic() - began < 0.4


def test_place_that_comes_free_in_time_is_taken(site, full):
    def leave():
        time.sleep(0.2)
        full[0].close()

    answer, _ = site.at_once(site.ask, leave)
    assert_complete(answer, stream=False)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_no_fault_and_no_client_that_leaves_keeps_a_place(site, stream):
    for fault in ("500", "close", "html", "cut-after-3", "400", "429"):
        assert site.ask(f"mock-{fault}", stream=stream).status != 503
    for body in ({"messages": 1}, {"model": "unknown"}, {"messages": []}):
        assert site.ask(**{"stream": stream, **body}).status in (400, 404)
    for _ in range(CAP + 1):
        seen = site.upstream.received
        with site.connected(site.raw("mock-stall-after-3", stream=stream)):
            site.upstream.wait_for(seen + 1)
        with site.connected(site.raw()[:-20]):
            pass
    site.nothing_in_flight()
    answers = site.at_once(*[lambda: site.ask("mock-late-100", stream=stream)] * CAP)
    assert [answer.status for answer in answers] == [200] * CAP
    assert max(answer.took for answer in answers) < 0.45
