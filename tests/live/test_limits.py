"""Limits that hold over workers and machines, and nothing that is held for ever."""

import os
import signal
import socket
import struct
import threading
import time
from contextlib import ExitStack, closing

import openai
import pytest

from gateway.limits.stores.local import Local
from tests.live.limited import MORE, TIMEOUTS, ask, body, early_in_a_minute, flood, new_key
from tests.redis_server import redis_server  # noqa: F401
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

WORKERS = 4
HELLO = [{"role": "user", "content": "one two"}]
KINDS = ("requests", "tokens")
HEADERS = {f"x-ratelimit-{part}-{k}" for part in ("limit", "remaining", "reset") for k in KINDS}


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream(keep=1000) as server:
        yield server


@pytest.fixture
def start(tmp_path, upstream):
    """Return a function that starts a machine: a gateway with a folder and workers of its own."""
    with ExitStack() as stack:

        def machine(name="one", workers=WORKERS, server=""):
            folder = tmp_path / name
            folder.mkdir()
            path = write_config(folder, upstream.url, server, TIMEOUTS, more=MORE)
            return stack.enter_context(Gateway(path, workers=workers))

        yield machine


def redis(server):
    return f'redis_url = "{server.url}"\n'


def assert_exactly(answers, passed):
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == passed
    assert statuses.count(429) == len(answers) - passed
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == "100"
        assert 0 <= int(answer.headers["x-ratelimit-remaining-requests"]) < 100
        assert "x-ratelimit-reset-requests" in answer.headers
        if answer.status == 429:
            assert answer.error["code"] == "rate_limit_exceeded"
            assert 0 < float(answer.headers["retry-after-ms"]) <= 120_000


def test_four_workers_of_one_machine_let_exactly_the_limit_through(start, upstream):
    gateway = start()
    _, secret = new_key(gateway, rpm=100)
    early_in_a_minute()
    seen = upstream.received
    assert_exactly(flood([gateway], secret, 600), 100)
    assert upstream.received - seen == 100


def test_two_machines_with_one_redis_let_exactly_the_limit_through(start, upstream, redis_server):  # noqa: F811
    machines = [start(name, server=redis(redis_server)) for name in ("one", "two")]
    _, secret = new_key(*machines, rpm=100)
    early_in_a_minute()
    seen = upstream.received
    assert_exactly(flood(machines, secret, 600), 100)
    assert upstream.received - seen == 100
    assert all(machine.metrics()["gateway_limits_alone"] == 0 for machine in machines)
    deadline = time.monotonic() + 5
    while (count := sum(refusals(machine) for machine in machines)) != 500:
        assert time.monotonic() < deadline, count
        time.sleep(0.1)


def refusals(gateway):
    return gateway.metrics().get('gateway_limited_total{kind="requests"}', 0)


def killed(gateway, secret, count):
    """Open streams, read a little of each, and let their clients go the way a killed one does."""
    sockets = []
    data = body("mock-endless-200", stream=True)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", gateway.port), 30)
        sock.sendall(head + data)
        sockets.append(sock)
    for sock in sockets:
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    yield
    for number, sock in enumerate(sockets):
        if number % 2:  # a reset rather than an end
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def test_two_hundred_clients_killed_in_mid_stream_leave_no_place_taken(start):
    gateway = start()
    key, secret = new_key(gateway, concurrency=200)
    streams = killed(gateway, secret, 200)
    next(streams)
    answer = ask(gateway, secret)
    assert (answer.status, answer.error["code"]) == (429, "concurrency_limit_exceeded")
    next(streams, None)
    passes(gateway, secret)
    with closing(Local(gateway.folder / "limits")) as store:
        deadline = time.monotonic() + 5
        while not store.take(f"slots:{key.id}", 200, 200).amount:
            assert time.monotonic() < deadline, "places are still taken"
            time.sleep(0.05)


def passes(gateway, secret, seconds=3):
    """Assert that a call passes within a moment."""
    deadline = time.monotonic() + seconds
    while (answer := ask(gateway, secret)).status != 200:
        assert answer.error["code"] == "concurrency_limit_exceeded"
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("shared", [False, True])
def test_killed_workers_leave_no_place_taken(start, shared, request):
    server = redis(request.getfixturevalue("redis_server")) if shared else ""
    gateway = start(server=server)
    _, secret = new_key(gateway, concurrency=4)
    streams = killed(gateway, secret, 4)
    next(streams)
    assert ask(gateway, secret).status == 429
    for pid in gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)
    gateway.wait_ready()
    passes(gateway, secret, 20 if shared else 5)  # what Redis holds for a process has a lease
    next(streams, None)


def test_tokens_are_reserved_and_then_settled_over_workers(start):
    gateway = start()
    _, secret = new_key(gateway, tpm=100_000)
    size = len(body(max_tokens=5000)) // 4
    left = 100_000
    for _ in range(6):
        answer = ask(gateway, secret, max_tokens=5000)
        assert int(answer.headers["x-ratelimit-remaining-tokens"]) == left - size - 5000
        left -= answer.json["usage"]["total_tokens"]
    assert left < 100_000


def test_silent_redis_is_left_at_once_and_taken_up_again(start, redis_server):  # noqa: F811
    gateway = start(workers=1, server=redis(redis_server))
    _, secret = new_key(gateway, rpm=1000, tpm=10**7, concurrency=500, budget=10**12, period="day")
    assert ask(gateway, secret).status == 200
    usual = sorted(answer.took for answer in flood([gateway], secret, 60, 12))[-1]
    redis_server.silence()
    try:
        answers = flood([gateway], secret, 60, 12)
        assert {answer.status for answer in answers} == {200}
        assert all(HEADERS <= set(answer.headers) for answer in answers)
        slowest = max(answer.took for answer in answers)
        # One wait of 200 ms for the first of them, and what a busy machine adds.
        assert slowest < 0.25 + 2 * usual + 0.25, (slowest, usual)
        assert gateway.metrics()["gateway_limits_alone"] == 1
    finally:
        redis_server.wake()
    deadline = time.monotonic() + 20
    while gateway.metrics()["gateway_limits_alone"]:
        assert time.monotonic() < deadline
        assert ask(gateway, secret).status == 200
        time.sleep(0.2)
    before = int(ask(gateway, secret).headers["x-ratelimit-remaining-requests"])
    assert int(ask(gateway, secret).headers["x-ratelimit-remaining-requests"]) == before - 1


def test_official_sdk_reads_the_headers_of_answers_streams_and_errors(start):
    gateway = start(workers=1)
    _, secret = new_key(gateway, rpm=100, tpm=100_000)
    with openai.OpenAI(base_url=gateway.url, api_key=secret, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response
        whole = raw.create(model="priced", messages=HELLO)
        stream = raw.create(model="priced", messages=HELLO, stream=True)
        with pytest.raises(openai.InternalServerError) as failed:
            raw.create(model="mock-503", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as refused:
            raw.create(model="priced", messages=HELLO, temperature=99)
        listed = client.models.with_raw_response.list()
        heads = [found.headers for found in (whole, stream, listed)]
        heads += [exc.value.response.headers for exc in (failed, refused)]
        assert all(HEADERS <= set(head) for head in heads)
        left = [int(head["x-ratelimit-remaining-requests"]) for head in heads]
        assert left == [99, 98, 96, 97, 96]
        list(stream.parse())


def test_official_sdk_waits_as_long_as_it_is_told_and_passes(start):
    gateway = start(workers=2)
    _, secret = new_key(gateway, concurrency=1)
    with openai.OpenAI(base_url=gateway.url, api_key=secret) as client:
        streams = killed(gateway, secret, 1)
        next(streams)
        with pytest.raises(openai.RateLimitError) as caught:
            client.with_options(max_retries=0).chat.completions.create(
                model="priced", messages=HELLO
            )
        assert caught.value.code == "concurrency_limit_exceeded"
        leaving = threading.Timer(0.3, next, (streams, None))
        leaving.start()
        assert client.chat.completions.create(model="priced", messages=HELLO).choices
        leaving.join()
    assert len(gateway.lines(code="concurrency_limit_exceeded")) >= 2
