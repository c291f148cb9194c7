"""Calls with an Idempotency-Key whose process dies or drains, or whose database is away."""

import contextlib
import http.client
import os
import signal
import threading
import time

import pytest
import sqlalchemy as sa

from gateway import mock
from tests.live.job_workers import Cuttable
from tests.live.site import PATHS, Answer
from tests.live.test_responses_state import stopped
from tests.live.twice import (  # noqa: F401
    MORE,
    OTHER,
    RECORDED,
    TIMEOUTS,
    ask,
    asking,
    assert_nothing_wrong,
    body_of,
    chunks,
    database,
    held,
    name,
    rows,
    scripted,
    two_workers,
    wait_for,
)
from tests.serving import KEY, Gateway, write_config
from tests.test_postgres import server, url  # noqa: F401

pytestmark = pytest.mark.live


def test_dead_owners_call_is_an_error_for_who_joined_and_can_be_made_anew(gateway, upstream):
    key, go, before = name(), threading.Event(), upstream.received
    one, two = gateway.worker_pids()
    upstream.enqueue(held(go, chunks()))
    with contextlib.ExitStack() as stack:
        with stopped(two):
            began = stack.enter_context(asking(gateway, key, stream=True))
            first = began.readline()
            wait_for(lambda: rows(gateway, RECORDED, key))
        stack.callback(killed, one)
        os.kill(one, signal.SIGSTOP)
        joiner = stack.enter_context(asking(gateway, key, stream=True))
        assert joiner.readline() == first
        os.kill(one, signal.SIGKILL)
        with database(gateway) as connection, connection:
            connection.execute("update idempotency set lease_until = 1 where name = ?", [key])
        rest = joiner.read()
    answer = Answer(200, {"content-type": "text/event-stream"}, first + rest, 0)
    assert answer.events[-1]["error"]["code"] == "worker_lost"

    again = ask(gateway, key, stream=True)
    assert again.text == "one two three" and "idempotent-replayed" not in again.headers
    assert upstream.received - before == 2
    go.set()
    wait_for(lambda: len(gateway.worker_pids()) == 2)


def test_dead_owner_that_had_said_nothing_is_503_for_who_joined(gateway, upstream):
    key = name()
    one, two = gateway.worker_pids()
    upstream.enqueue(mock.hang(15))
    with contextlib.ExitStack() as stack:
        with stopped(two):
            seen = upstream.received
            thread = threading.Thread(target=lambda: left(gateway, key))
            thread.start()
            upstream.wait_for(seen + 1)
        stack.callback(killed, one)
        os.kill(one, signal.SIGSTOP)
        found = []
        joiner = threading.Thread(target=lambda: found.append(ask(gateway, key)))
        joiner.start()
        time.sleep(0.5)
        os.kill(one, signal.SIGKILL)
        with database(gateway) as connection, connection:
            connection.execute("update idempotency set lease_until = 1 where name = ?", [key])
        joiner.join()
        thread.join()
    (answer,) = found
    assert (answer.status, answer.error["code"]) == (503, "worker_lost")
    assert answer.headers["x-should-retry"] == "true" and answer.headers["retry-after"]
    wait_for(lambda: len(gateway.worker_pids()) == 2)


def killed(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def left(gateway, key):
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(gateway, key)


def test_call_without_its_client_is_not_ended_by_sigterm(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url, server="drain = 20\n", timeouts=TIMEOUTS, more=MORE)
    go = threading.Event()
    upstream.enqueue(held(go, chunks()))
    with Gateway(path) as gateway:
        with asking(gateway, "k", stream=True) as response:
            assert response.readline()
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert gateway.process.poll() is None
        go.set()
        assert gateway.process.wait(10) == 0
        assert rows(gateway, "select owner from idempotency") == [(None,)]
        assert rows(gateway, "select end from usage") == [("ok",)]
        assert_nothing_wrong(gateway)


def test_call_without_its_client_that_began_after_sigterm_is_not_ended_either(tmp_path, upstream):
    go = threading.Event()
    with draining_late(tmp_path, upstream, go, drain=20) as gateway:
        time.sleep(1)
        assert gateway.process.poll() is None
        go.set()
        assert gateway.process.wait(10) == 0
        assert rows(gateway, "select owner from idempotency") == [(None,)]
        assert rows(gateway, "select end from usage") == [("ok",), ("ok",)]
        assert_nothing_wrong(gateway)


def test_call_that_began_after_sigterm_ends_with_the_drain(tmp_path, upstream):
    with draining_late(tmp_path, upstream, threading.Event(), drain=5) as gateway:
        assert gateway.process.wait(10) == 0
        assert rows(gateway, "select owner from idempotency") == []
        assert rows(gateway, "select end from usage") == [("ok",), ("cancelled",)]
        assert rows(gateway, "select end from recordings where end is not null") == [("cut",)]
        assert_nothing_wrong(gateway)


@contextlib.contextmanager
def draining_late(tmp_path, upstream, go, drain):
    """Give a gateway in whose drain a call began that needs no client, and that `go` lets end."""
    streamed = threading.Event()
    more = {"server": f"drain = {drain}\n", "timeouts": TIMEOUTS, "more": MORE}
    path = write_config(tmp_path, upstream.url, **more)
    upstream.enqueue(held(streamed, chunks()), held(go, chunks()))
    with Gateway(path) as gateway:
        with kept_open(gateway) as send:
            stream = send()
            assert stream.readline()
            gateway.process.send_signal(signal.SIGTERM)
            time.sleep(1)  # what had outlived its client by then would have been waited for
            streamed.set()
            assert stream.read().endswith(b"data: [DONE]\n\n")
            assert send({"Idempotency-Key": "k"}).readline()
        yield gateway


@contextlib.contextmanager
def kept_open(gateway):
    """Give a function that begins a streamed chat, one after the other over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    head = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    def send(more=()):
        body = body_of(stream=True)
        connection.request("POST", PATHS["chat"], body, {**head, **dict(more)})
        return connection.getresponse()

    with contextlib.closing(connection):
        yield send


def test_call_that_outlasts_the_drain_is_ended_and_its_name_free(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url, server="drain = 4\n", timeouts=TIMEOUTS, more=MORE)
    upstream.enqueue(held(threading.Event(), chunks()))
    with Gateway(path) as gateway:
        with asking(gateway, "k", stream=True) as response:
            assert response.readline()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(10) == 0
        assert rows(gateway, "select owner from idempotency") == []
        assert rows(gateway, "select end from usage") == [("cancelled",)]
        assert rows(gateway, "select end from recordings where end is not null") == [("cut",)]
        assert_nothing_wrong(gateway)


def test_client_that_stays_hears_of_the_end_of_a_drain(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url, server="drain = 4\n", timeouts=TIMEOUTS, more=MORE)
    events = list(mock.bodies.response_events("one two three"))
    upstream.enqueue(held(threading.Event(), events, first=5))
    with Gateway(path) as gateway, asking(gateway, "k", "responses", stream=True) as response:
        body = response.readline()
        gateway.process.send_signal(signal.SIGTERM)
        body += response.read()
        assert gateway.process.wait(10) == 0
        assert_nothing_wrong(gateway)
    *found, last, done = Answer(200, {"content-type": "text/event-stream"}, body, 0).events
    assert [event["sequence_number"] for event in (*found, last)] == list(range(len(found) + 1))
    assert len(found) >= 5 and done == "[DONE]"
    assert (last["type"], last["response"]["id"]) == ("response.failed", found[0]["response"]["id"])
    assert last["response"]["error"]["code"] == "server_draining"


@pytest.fixture
def away(tmp_path, url, upstream):  # noqa: F811
    """Give a gateway over a PostgreSQL behind a line, and the line."""
    found = sa.make_url(url)
    with contextlib.closing(Cuttable(found.host, found.port or 5432)) as line:
        place = found.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        path = write_config(tmp_path, upstream.url, timeouts=TIMEOUTS, more=MORE)
        with Gateway(path, workers=2, environ={"GATEWAY_DATABASE_URL": place}) as gateway:
            yield gateway, line


def test_without_its_database_no_call_with_a_name_is_made(away, upstream):
    gateway, line = away
    assert ask(gateway, "before").status == 200
    line.cut()
    before = upstream.received
    answer = ask(gateway, "k")
    assert (answer.status, answer.error["code"]) == (503, "dependency_unavailable")
    assert answer.headers["x-should-retry"] == "true"
    assert upstream.received == before
    line.mend()
    wait_for(lambda: ask(gateway, "k").status == 200)


def test_database_that_goes_away_keeps_no_event_from_who_began(away, upstream):
    gateway, line = away
    go = threading.Event()
    upstream.enqueue(held(go, chunks()))
    with asking(gateway, "k", stream=True) as response:
        first = response.readline()
        line.cut()
        go.set()
        body = first + response.read()
    assert body.endswith(b"data: [DONE]\n\n")
    line.mend()
    before = upstream.received
    answer = wait_for(lambda: (a := ask(gateway, "k", stream=True)).status == 200 and a)
    assert (answer.body, answer.headers["idempotent-replayed"]) == (body, "true")
    assert upstream.received == before


def test_two_gateways_on_one_database_share_their_calls(away, upstream, tmp_path_factory):
    gateway, line = away
    path = write_config(
        tmp_path_factory.mktemp("second"), upstream.url, timeouts=TIMEOUTS, more=MORE
    )
    environ = {"GATEWAY_DATABASE_URL": database_url(gateway)}
    before, go = upstream.received, threading.Event()
    upstream.enqueue(held(go, chunks()))
    with Gateway(path, environ=environ) as second, contextlib.ExitStack() as stack:
        one = stack.enter_context(asking(gateway, "k", stream=True))
        two = stack.enter_context(asking(second, "k", stream=True))
        first = one.readline()
        assert two.readline() == first
        go.set()
        assert one.read() == two.read()
        assert ask(second, "k", stream=True).body.startswith(first)
    assert upstream.received - before == 1


def database_url(gateway):
    return gateway.environ["GATEWAY_DATABASE_URL"]
