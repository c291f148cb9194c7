"""Calls with an Idempotency-Key, and what became of them."""

import contextlib
import copy
import http.client
import itertools
import json
import os
import sqlite3
import threading
import time
import uuid

import pytest

from gateway import mock
from tests.live.site import PATHS, Answer
from tests.serving import KEY, Gateway, write_config
from tests.test_postgres import server, url  # noqa: F401
from tests.upstream import ScriptedUpstream

OTHER = "sk-" + "o" * 12 + "-" + "k" * 43
TIMEOUTS = "connect = 2\nfirst_token = 20\nidle = 20\ntotal = 20\nstream_total = 30\nwrite = 20\n"
MORE = """
[retry]
attempts = 0
"""
RECORDED = """
select 1 from recordings where part = 0
and id = (select recording from idempotency where name = ?)
"""
numbers = itertools.count()


def name():
    """Return a name that no other test uses."""
    return f"test-{next(numbers)}-{uuid.uuid4()}"


def body_of(endpoint="chat", stream=False, model="gpt-test", text="one two three", **more):
    said = {"chat": {"messages": [{"role": "user", "content": text}]}}.get(endpoint)
    streamed = {"stream": True} if stream else {}
    return json.dumps({"model": model, **(said or {"input": text}), **streamed, **more})


@contextlib.contextmanager
def asking(gateway, key, endpoint="chat", secret=KEY, headers=(), body=None, **fields):
    """Send a call; give the http.client response, of which only the head has been read."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    ) as connection:
        head = {
            "Authorization": f"Bearer {secret}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            **dict(headers),
        }
        connection.request("POST", PATHS[endpoint], body or body_of(endpoint, **fields), head)
        yield connection.getresponse()


def ask(gateway, key, endpoint="chat", **how):
    with asking(gateway, key, endpoint, **how) as response:
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read(), 0)


def at_once(count, function, *args, **how):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(function(*args, **how))) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == count
    return found


def same(answers):
    """Assert that answers are equal, as far as they are about the call; return the one that is."""
    told = {"x-request-id", "openai-processing-ms", "date", "idempotent-replayed"}
    heads = [{n: v for n, v in a.headers.items() if n not in told} for a in answers]
    first = answers[0]
    assert all(head == heads[0] for head in heads), heads
    assert all((a.status, a.body) == (first.status, first.body) for a in answers)
    assert len({a.headers["x-request-id"] for a in answers}) == len(answers)
    return first


def replays(answers):
    return [a.headers.get("idempotent-replayed") for a in answers].count("true")


def held(go, events, first=1):
    """Answer with the first events, and with the rest when the test says so."""

    def steps():
        yield from events[:first]
        go.wait(15)
        yield from events[first:]

    return mock.stream(steps())


def chunks(text="one two three"):
    return copy.deepcopy(list(mock.bodies.chunks(text)))


def database(gateway):
    return contextlib.closing(sqlite3.connect(gateway.folder / "gateway.db", timeout=10))


def rows(gateway, query, *values):
    with database(gateway) as connection:
        return connection.execute(query, values).fetchall()


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def wait_kept(gateway, key):
    """Wait until a call's answer is one that is replayed."""
    query = "select 1 from idempotency where name = ? and owner is null"
    wait_for(lambda: rows(gateway, query, key))


def usage_rows(gateway, *answers):
    ids = [answer.headers["x-request-id"] for answer in answers]
    marks = ",".join("?" * len(ids))
    return rows(gateway, f"select status, end from usage where request_id in ({marks})", *ids)


def assert_nothing_wrong(gateway):
    found = [line for line in gateway.log() if "exception" in line]
    assert found == [], found


def resident(gateway):
    """Return the MiB that all workers hold."""
    total = 0
    for pid in gateway.worker_pids():
        with open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 1024 / 1024


@pytest.fixture(scope="module", name="upstream")
def scripted():
    with ScriptedUpstream() as found:
        yield found


@pytest.fixture(scope="module", name="gateway")
def two_workers(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("gateway")
    path = write_config(folder, upstream.url, timeouts=TIMEOUTS, more=MORE)
    environ = {"GATEWAY_API_KEYS": f"{KEY},{OTHER}"}
    with Gateway(path, workers=2, environ=environ) as running:
        yield running
        assert_nothing_wrong(running)
