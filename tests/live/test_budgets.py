"""Budgets that are exact at their edge, whatever runs at once and whatever is away."""

import concurrent.futures
import time
from contextlib import ExitStack

import openai
import pytest

from gateway import mock
from gateway.database import Database
from gateway.keys import KeyStore
from tests.live.limited import MORE, TIMEOUTS, ask, body, flood, new_key, spent
from tests.redis_server import redis_server  # noqa: F401
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream, black_hole

pytestmark = pytest.mark.live

HELLO = [{"role": "user", "content": "one two"}]
MOST = 10  # tokens of an answer that is asked for
COST = 2 * 1000 + 2 * 4000  # nano-USD: "one two" is asked and said, at 1 and 4 USD a million
RESERVED = len(body(max_tokens=MOST)) // 4 * 1000 + MOST * 4000
BUDGET = 1_000_000


@pytest.fixture
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def start(tmp_path, upstream):
    with ExitStack() as stack:

        def machine(workers=4, server=""):
            path = write_config(tmp_path, upstream.url, server, TIMEOUTS, more=MORE)
            return stack.enter_context(Gateway(path, workers=workers))

        yield machine


@pytest.fixture(params=["local", "redis"])
def gateway(start, request):
    if request.param == "local":
        return start()
    server = request.getfixturevalue("redis_server")
    return start(server=f'redis_url = "{server.url}"\n')


def slowly(seconds):
    """Answer rightly after a while, so that calls overlap."""
    return mock.hang(seconds, then=mock.reply())


def until_spent(gateway, secret):
    """Make one call after the other until one is refused; return how many passed."""
    for passed in range(200):
        answer = ask(gateway, secret, max_tokens=MOST)
        if answer.status != 200:
            assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
            return passed
    raise AssertionError("the budget has no end")


def test_budget_is_exact_under_fifty_parallel_calls_at_its_edge(gateway, upstream):
    key, secret = new_key(gateway, budget=BUDGET, period="month")
    upstream.always(slowly(1.5))
    answers = flood([gateway], secret, 50, at_once=50, max_tokens=MOST)
    upstream.always(None)
    passed = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.error["code"] for answer in refused} == {"insufficient_quota"}
    assert len(passed) == upstream.received
    # While they overlapped, no more could be reserved than there is; what the first of them gave
    # back could be taken by the last.
    assert BUDGET // RESERVED <= len(passed) < 50
    assert spent(gateway, key, len(passed)) == len(passed) * COST <= BUDGET

    later = until_spent(gateway, secret)
    total = spent(gateway, key, len(passed) + later)
    assert total == upstream.received * COST
    assert BUDGET - RESERVED < total <= BUDGET


def test_used_above_the_estimate_is_charged_and_ends_the_budget(gateway, upstream):
    key, secret = new_key(gateway, budget=BUDGET, period="total")
    used = {"prompt_tokens": 500_000, "completion_tokens": 0, "total_tokens": 500_000}
    upstream.enqueue(mock.json({**mock.bodies.completion(), "usage": used}))
    assert ask(gateway, secret, max_tokens=MOST).status == 200
    for answer in flood([gateway], secret, 8, max_tokens=MOST):
        assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    assert spent(gateway, key, 1) == 500_000_000
    assert upstream.received == 1


def test_official_sdk_raises_and_does_not_try_again(start, upstream):
    gateway = start(workers=1)
    _, secret = new_key(gateway, budget=1000, period="day")
    with openai.OpenAI(base_url=gateway.url, api_key=secret, max_retries=2) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="priced", messages=HELLO)
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    assert len(gateway.wait_lines(1, code="insufficient_quota")) == 1
    assert upstream.received == 0
    assert gateway.metrics()['gateway_limited_total{kind="budget"}'] == 1


def test_streams_are_charged_like_whole_answers_and_left_ones_too(start, upstream):
    gateway = start(workers=1)
    key, secret = new_key(gateway, budget=10**9, period="day", concurrency=10)
    assert ask(gateway, secret, max_tokens=MOST, stream=True).status == 200
    assert ask(gateway, secret, max_tokens=MOST).status == 200
    assert spent(gateway, key, 2) == 2 * COST
    with openai.OpenAI(base_url=gateway.url, api_key=secret, max_retries=0) as client:
        stream = client.chat.completions.create(model="priced", messages=HELLO, stream=True)
        next(iter(stream))
        stream.close()
    assert spent(gateway, key, 3) > 2 * COST


def test_client_that_leaves_an_upstream_it_never_reached_pays_nothing(tmp_path):
    with black_hole() as url:
        path = write_config(tmp_path, url, timeouts=TIMEOUTS, more=MORE)
        with Gateway(path) as gateway:
            _, secret = new_key(gateway, budget=RESERVED + COST, period="day")
            for stream in (True, False):
                with pytest.raises(TimeoutError):
                    ask(gateway, secret, max_tokens=MOST, stream=stream, patience=0.5)
            lines = gateway.wait_lines(2, path="/v1/chat/completions")
            assert [(line["end"], line["attempts"]) for line in lines] == [("cancelled", None)] * 2
            # A second call would not be let through if the first had kept what it reserved.
            with pytest.raises(TimeoutError):
                ask(gateway, secret, max_tokens=MOST, patience=0.5)


def test_budget_outlives_the_store_and_the_process(start, upstream):
    """What was spent is in the usage table: a store that was lost learns it from there."""
    gateway = start(workers=2)
    key, secret = new_key(gateway, budget=BUDGET, period="total")
    passed = until_spent(gateway, secret)
    total = spent(gateway, key, passed)
    gateway.stop()
    for file in (gateway.folder / "limits").rglob("*"):
        if file.is_file():
            file.unlink()
    gateway.start()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(gateway, secret, max_tokens=MOST), range(8)))
    assert {answer.status for answer in answers} == {429}
    assert spent(gateway, key, passed) == total


def test_budget_raised_by_the_operator_works_within_seconds(start):
    gateway = start(workers=2)
    key, secret = new_key(gateway, budget=1000, period="day")
    assert ask(gateway, secret).status == 429
    database = Database(f"sqlite:///{gateway.folder / 'gateway.db'}")
    KeyStore(database).update(key.id, budget=10**9)
    database.close()
    wait_for(lambda: {ask(gateway, secret).status for _ in range(6)} == {200})


def test_redis_lost_and_begun_anew_learns_what_was_spent(start, redis_server):  # noqa: F811
    gateway = start(workers=2, server=f'redis_url = "{redis_server.url}"\n')
    key, secret = new_key(gateway, budget=BUDGET, period="total")
    passed = until_spent(gateway, secret)
    spent(gateway, key, passed)
    redis_server.say("FLUSHALL")
    wait_for(lambda: {ask(gateway, secret, max_tokens=MOST).status for _ in range(6)} == {429}, 45)


def wait_for(true, seconds=15):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
