"""Calls that are sent more than once with one Idempotency-Key, over two workers."""

import contextlib
import copy
import http.client
import threading
import time

import openai
import pytest

from gateway import mock
from tests.live.limited import new_key
from tests.live.site import PATHS
from tests.live.twice import (  # noqa: F401
    MORE,
    OTHER,
    TIMEOUTS,
    ask,
    asking,
    assert_nothing_wrong,
    at_once,
    body_of,
    chunks,
    held,
    name,
    replays,
    resident,
    rows,
    same,
    scripted,
    two_workers,
    usage_rows,
    wait_for,
    wait_kept,
)
from tests.serving import KEY, Gateway, write_config

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    "endpoint, stream",
    [("chat", False), ("chat", True), ("responses", False), ("responses", True)]
    + [("embeddings", False)],
)
def test_ten_equal_calls_at_once_are_one_call_and_ten_equal_answers(
    gateway, upstream, endpoint, stream
):
    before, key = upstream.received, name()
    model = "mock-slow-100" if stream else "gpt-test"
    found = at_once(10, ask, gateway, key, endpoint, stream=stream, model=model)

    answer = same(found)
    assert answer.status == 200 and answer.headers["x-gateway-upstream"] == "mock"
    assert (upstream.received - before, replays(found)) == (1, 9)
    if stream:
        assert answer.body.endswith(b"data: [DONE]\n\n")
    wait_kept(gateway, key)
    again = ask(gateway, key, endpoint, stream=stream, model=model)
    same([*found, again])
    assert upstream.received - before == 1
    assert len(wait_for(lambda: usage_rows(gateway, *found, again))) == 1


def test_call_goes_on_when_its_client_has_left_and_gives_all_to_it_later(gateway, upstream):
    key, go, before = name(), threading.Event(), upstream.received
    upstream.enqueue(held(go, chunks()))
    with asking(gateway, key, stream=True) as response:
        first = response.readline()
    assert first.startswith(b"data: ")
    # Left, and back while it still runs.
    with asking(gateway, key, stream=True) as response:
        assert response.readline() == first
        go.set()
        rest = response.read()
    answer = ask(gateway, key, stream=True)
    assert answer.body == first + rest
    assert answer.text == "one two three"
    assert upstream.received - before == 1
    (line,) = gateway.wait_lines(1, end="cancelled")[-1:]
    query = "select status, end from usage where request_id = ?"
    assert wait_for(lambda: rows(gateway, query, line["request_id"])) == [(200, "ok")]


def test_whole_call_goes_on_when_its_client_has_left(gateway, upstream):
    key, before = name(), upstream.received
    upstream.enqueue(mock.hang(1.0, mock.chat("late")))
    with (
        pytest.raises(TimeoutError),
        contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=0.3)
        ) as connection,
    ):
        head = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        head["Idempotency-Key"] = key
        connection.request("POST", PATHS["chat"], body_of(), head)
        connection.getresponse()
    answer = ask(gateway, key)
    assert (answer.status, answer.text) == (200, "late")
    assert answer.headers["idempotent-replayed"] == "true"
    assert upstream.received - before == 1


def test_who_begins_a_call_gets_each_event_when_it_comes(gateway, upstream):
    go = threading.Event()
    upstream.enqueue(held(go, chunks(), first=2))
    with asking(gateway, name(), stream=True) as response:
        assert response.readline() and response.readline() and response.readline()
        go.set()
        assert response.read().endswith(b"[DONE]\n\n")


def test_name_with_another_body_is_a_conflict_that_sdks_do_not_repeat(gateway, upstream):
    before, key = upstream.received, name()
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=3, timeout=10) as client:
        asked = {"model": "gpt-test", "extra_headers": {"Idempotency-Key": key}}
        message = {"role": "user", "content": "one"}
        made = client.chat.completions.create(messages=[message], **asked)
        again = client.chat.completions.create(messages=[message], **asked)
        began = len(gateway.lines(status=409))
        with pytest.raises(openai.ConflictError) as found:
            client.chat.completions.create(messages=[{**message, "content": "two"}], **asked)
    assert again == made
    assert (found.value.code, found.value.param) == ("idempotency_key_reused", "Idempotency-Key")
    assert found.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.wait_lines(began + 1, status=409)) == began + 1
    assert upstream.received - before == 1


def test_sdk_streams_a_replay(gateway, upstream):
    before, key = upstream.received, name()
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=10) as client:
        asked = {"model": "gpt-test", "input": "one two"}
        found = [
            list(
                client.responses.create(
                    **asked, stream=True, extra_headers={"Idempotency-Key": key}
                )
            )
            for _ in range(2)
        ]
    assert found[0] == found[1] and found[0][-1].type == "response.completed"
    assert upstream.received - before == 1


def test_order_and_spelling_of_a_body_do_not_matter(gateway, upstream):
    before, key = upstream.received, name()
    bodies = [
        '{"model": "gpt-test", "input": "\\u0041"}',
        '{"input":"A",\n"model":"gpt-test"}',
    ]
    found = [ask(gateway, key, "embeddings", body=body) for body in bodies]
    assert same(found).status == 200
    assert upstream.received - before == 1


def test_other_api_key_and_endpoint_are_their_own(gateway, upstream):
    before, key = upstream.received, name()
    found = [
        ask(gateway, key),
        ask(gateway, key, secret=OTHER),
        ask(gateway, key, "responses"),
        ask(gateway, key, "embeddings", text="other"),
    ]
    assert [a.status for a in found] == [200] * 4
    assert (upstream.received - before, replays(found)) == (4, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model, status, kept",
    [("mock-400", 400, True), ("mock-500", 502, False), ("mock-429-1", 429, False)]
    + [("mock-401", 502, False), ("mock-cut-after-3", 502, False)],
)
def test_refusals_are_kept_and_failures_free_the_name(
    gateway, upstream, model, status, kept, stream
):
    before, key = upstream.received, name()
    first = ask(gateway, key, model=model, stream=stream)
    if kept:
        wait_kept(gateway, key)
    else:
        query = "select 1 from idempotency where name = ?"
        wait_for(lambda: not rows(gateway, query, key))
    again = ask(gateway, key, model=model, stream=stream)
    began = stream and "cut" in model
    assert first.status == again.status == (200 if began else status)
    if began:
        assert first.events[-1]["error"]["code"] == "upstream_reset"
    if model == "mock-429-1":  # the breaker asks for the second that the upstream asked for
        return
    assert (replays([first, again]), upstream.received - before) == ((1, 1) if kept else (0, 2))
    if kept:
        same([first, again])


def test_who_joined_a_call_that_fails_gets_the_same_error(gateway, upstream):
    before = upstream.received
    upstream.enqueue(mock.hang(1.0, mock.fault("mock-500")))
    found = at_once(5, ask, gateway, name())
    assert same(found).status == 502
    assert (upstream.received - before, replays(found)) == (1, 4)


def test_replay_counts_as_a_request_and_takes_nothing_else(gateway, upstream):
    _, secret = new_key(gateway, rpm=4, tpm=100_000, concurrency=1)
    key, go, before = name(), threading.Event(), upstream.received
    upstream.enqueue(held(go, chunks()))
    with asking(gateway, key, stream=True, secret=secret) as one:
        first = one.readline()
        # The one slot of the key is taken, and nothing that joins needs another.
        with asking(gateway, key, stream=True, secret=secret) as two:
            assert two.readline() == first
            go.set()
            assert one.read() == two.read()
    wait_kept(gateway, key)
    found = [ask(gateway, key, stream=True, secret=secret) for _ in range(3)]
    assert [answer.status for answer in found] == [200, 200, 429]
    left = [a.headers["x-ratelimit-remaining-requests"] for a in found[:2]]
    assert left == ["1", "0"]
    tokens = {a.headers["x-ratelimit-remaining-tokens"] for a in found[:2]}
    assert len(tokens) == 1 and tokens < {str(n) for n in range(100_000)}
    assert found[2].error["code"] == "rate_limit_exceeded"
    assert upstream.received - before == 1


def test_slow_beginner_of_a_long_stream_gets_all_of_it(gateway, upstream):
    parts = chunks()
    long = copy.deepcopy(parts[1])
    long["choices"][0]["delta"]["content"] = "x" * 10_000
    events = [parts[0], *[long] * 1500, *parts[1:]]
    upstream.enqueue(mock.stream(events))
    key = name()
    with asking(gateway, key, stream=True) as response:
        wait_kept(gateway, key)
        body = response.read()
    assert body.count(b"x" * 10_000) == 1500 and body.endswith(b"data: [DONE]\n\n")
    assert ask(gateway, key, stream=True).body == body


def test_many_slow_readers_of_a_large_answer_take_little_memory(gateway, upstream):
    key = name()
    upstream.enqueue(mock.chat("y" * 12_000_000))
    body = ask(gateway, key).body
    wait_kept(gateway, key)
    before = resident(gateway)
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(asking(gateway, key)) for _ in range(40)]
        time.sleep(1)
        assert resident(gateway) - before < 150
        assert all(response.read() == body for response in found[:5])


def test_client_that_left_keeps_its_place_until_its_call_ends(tmp_path, upstream):
    path = write_config(
        tmp_path, upstream.url, server="max_in_flight = 1\n", timeouts=TIMEOUTS, more=MORE
    )
    go = threading.Event()
    upstream.enqueue(held(go, chunks()))
    with Gateway(path) as gateway:
        with asking(gateway, "k", stream=True) as response:
            assert response.readline()
        time.sleep(0.3)
        assert ask(gateway, "other").error["code"] == "server_overloaded"
        go.set()
        wait_kept(gateway, "k")
        assert ask(gateway, "other").status == 200
