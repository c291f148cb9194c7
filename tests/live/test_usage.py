"""Usage through real gunicorn: what was charged is written, whatever goes down meanwhile."""

import collections
import http.client
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa

from gateway import mock
from gateway.database import Database
from gateway.mock.wire import RST
from gateway.tables import usage as table
from gateway.tokens import Usage
from tests.live.usage_proxy import Proxy
from tests.serving import ROOT, Gateway, write_config
from tests.test_postgres import server, url  # noqa: F401
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

MORE = """
[[upstream]]
name = "chat-only"
base_url = "{url}"

[[model]]
id = "priced"
upstreams = [{{ name = "mock" }}]
price = {{ input = 0.4, cached_input = 0.0375, output = 1.6 }}

[[model]]
id = "translated"
upstreams = [{{ name = "chat-only" }}]
price = {{ input = 2.5, output = 10 }}

[retry]
attempts = 0

[jobs]
per_key = 1000
"""
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"


class Kind:
    """A way to call: the request, how the upstream answers, and what its row has to say."""

    def __init__(self, path, model="priced", stream=False, does="answer", job=False, **row):
        self.path, self.model, self.stream, self.does = path, model, stream, does
        self.job = job
        self.row = {"usage_source": "upstream", "end": "ok", "status": 200, "model": model, **row}


FAILED = {"usage_source": "absent", "end": "error"}
KINDS = {
    "whole": Kind(CHAT),
    "streamed": Kind(CHAT, stream=True),
    "native": Kind(RESPONSES),
    "native streamed": Kind(RESPONSES, stream=True),
    "translated": Kind(RESPONSES, "translated"),
    "translated streamed": Kind(RESPONSES, "translated", stream=True),
    "embedded": Kind(EMBEDDINGS),
    "cancelled": Kind(CHAT, stream=True, does="stall", usage_source="estimated", end="cancelled"),
    "cut": Kind(CHAT, stream=True, does="cut", usage_source="estimated", end="error"),
    "refused": Kind(CHAT, does="refuse", **FAILED | {"status": 400}),
    "job": Kind(CHAT, job=True),
    "job translated": Kind(RESPONSES, "translated", job=True),
    "job embedded": Kind(EMBEDDINGS, job=True),
    "job refused": Kind(CHAT, does="refuse", job=True, **FAILED | {"status": 400}),
    "broken": Kind(RESPONSES, "translated", stream=True, does="break", **FAILED | {"status": 502}),
}


class Scripted:
    """The upstream's answers; `charged` is its own book of the calls that it answered to the end.

    A call is known by the words `call N kind` in its body.
    """

    def __init__(self):
        self.charged, self.times = {}, collections.Counter()

    def __call__(self, request):
        found = re.search(rb"call (\d+) ([a-z ]+)", request.body)
        if found is None:
            yield from mock.reply()(request)
            return
        number, kind = int(found[1]), KINDS[found[2].decode()]
        self.times[number] += 1
        rand = random.Random(number)
        given = rand.randrange(5000)
        used = Usage(given, rand.randint(0, given), rand.randrange(900), rand.randrange(20))
        used = used._replace(reasoning=min(used.reasoning, used.output))
        yield from getattr(self, kind.does)(request, used)
        if kind.does == "answer":
            self.charged[number] = used

    def answer(self, request, used):
        stream = request.fields.get("stream") is True
        if request.path == RESPONSES:
            whole = {**mock.bodies.response("Hi there"), "usage": counted(used, "input", "output")}
            *events, last = mock.bodies.response_events("Hi there")
            events.append({**last, "response": whole})
        else:
            usage = counted(used, "prompt", "completion")
            body = mock.bodies.embeddings(["x"]) if request.path == EMBEDDINGS else None
            whole = {**(body or mock.bodies.completion("Hi there")), "usage": usage}
            *events, last = mock.bodies.chunks("Hi there", include_usage=True)
            events.append({**last, "usage": usage})
        return mock.stream(events)(request) if stream else mock.json(whole)(request)

    def stall(self, request, used):
        chunks = mock.bodies.chunks("Hi there to all")[:3]
        return mock.stream([*chunks, 20.0], done=False)(request)

    def cut(self, request, used):
        chunks = mock.bodies.chunks("Hi there to all")[:3]
        return mock.stream([*chunks, 0.01, RST], done=False)(request)

    def refuse(self, request, used):
        return mock.error(400, "no")(request)

    def break_(self, request, used):
        return mock.raw([b"nonsense\r\n\r\n"])(request)


setattr(Scripted, "break", Scripted.break_)


def counted(used, given, said):
    return {
        f"{given}_tokens": used.input,
        f"{said}_tokens": used.output,
        "total_tokens": used.input + used.output,
        f"{given}_tokens_details": {"cached_tokens": used.cached},
        f"{said}_tokens_details": {"reasoning_tokens": used.reasoning},
    }


def call(gateway, number, name="whole", key=None):
    """Make a call; return (status, request id)."""
    kind, text = KINDS[name], f"call {number} {name}"
    said = (
        {"messages": [{"role": "user", "content": text}]} if kind.path == CHAT else {"input": text}
    )
    stream = {"stream": True} if kind.stream else {}
    head = {"Authorization": f"Bearer {key or gateway.key}", "Content-Type": "application/json"}
    head |= {"Prefer": "respond-async"} if kind.job else {}
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection:
        body = json.dumps({"model": kind.model, **said, **stream})
        connection.request("POST", kind.path, body, head)
        answer = connection.getresponse()
        if kind.does == "stall":
            answer.read1(10)
        else:
            answer.read()
        return answer.status, answer.getheader("x-request-id")


def config(folder, upstream, **how):
    return write_config(folder, upstream.url, more=MORE.format(url=upstream.url), **how)


def rows(address):
    """Return every row by its request id."""
    database = Database(address)
    try:
        found = database.read(lambda c: [r._asdict() for r in c.execute(sa.select(table))])
    finally:
        database.close()
    assert len(found) == len({row["request_id"] for row in found})
    return {row["request_id"]: row for row in found}


def wait_rows(address, wanted, seconds=15):
    """Return the rows once those that are wanted are all there."""
    deadline = time.monotonic() + seconds
    while missing := wanted - (found := rows(address)).keys():
        assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} rows are missing"
        time.sleep(0.2)
    return found


@pytest.fixture
def scripted():
    return Scripted()


@pytest.fixture
def upstream(scripted):
    with ScriptedUpstream() as server:  # noqa: F811
        server.always(scripted)
        yield server


@pytest.fixture
def place(tmp_path):
    return f"sqlite:///{tmp_path}/gateway.db"


class Load:
    """Calls from some threads until the block ends; `done` holds (status, request id, when)."""

    def __init__(self, make, threads=6, pause=0.02):
        self.make, self.pause = make, pause
        self.done, self.faults, self.numbers = [], [], itertools.count(1)
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.stopping.wait(self.pause):
            try:
                self.done.append((*self.make(next(self.numbers)), time.time()))
            except OSError as exc:
                self.faults.append(exc)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def test_a_thousand_mixed_calls_are_written_as_the_upstream_charged_them(
    tmp_path, upstream, scripted, place
):
    names = list(itertools.islice(itertools.cycle(KINDS), 1000))
    with Gateway(config(tmp_path, upstream), workers=2) as gateway:
        with ThreadPoolExecutor(16) as pool:
            done = list(pool.map(lambda pair: call(gateway, *pair), enumerate(names)))
        ids = [request_id for _, request_id in done]
        found = wait_rows(place, set(ids))
        prices = {"priced": (0.4, 0.0375, 1.6), "translated": (2.5, 2.5, 10)}
    assert len(found) == 1000
    assert set(scripted.times.values()) == {1}
    charged = 0
    for number, (name, (status, request_id)) in enumerate(zip(names, done, strict=True)):
        kind, row = KINDS[name], found[request_id]
        assert {column: row[column] for column in kind.row} == kind.row, (name, row)
        assert status == (202 if kind.job else kind.row["status"])
        used = scripted.charged.get(number)
        assert (used is not None) == (kind.row["usage_source"] == "upstream")
        if used is not None:
            assert (row["input_tokens"], row["cached_tokens"]) == (used.input, used.cached)
            assert (row["output_tokens"], row["reasoning_tokens"]) == (used.output, used.reasoning)
            rates = prices[kind.model]
            wanted = (used.input - used.cached) * rates[0] + used.cached * rates[1]
            wanted = round((wanted + used.output * rates[2]) * 1000, 6)
            assert abs(row["cost"] - wanted) <= 0.5
            charged += row["cost"]
        elif kind.row["usage_source"] == "estimated":
            assert row["output_tokens"] >= 1 and row["cost"] > 0
        else:
            assert (row["input_tokens"], row["output_tokens"], row["cost"]) == (None,) * 3
    ended = [row for row in found.values() if row["usage_source"] == "upstream"]
    assert len(ended) == len(scripted.charged) and charged == sum(row["cost"] for row in ended)
    for column, place_of in zip(("input_tokens", "output_tokens"), (0, 2), strict=True):
        assert sum(r[column] for r in ended) == sum(u[place_of] for u in scripted.charged.values())


def test_postgresql_away_for_20_seconds_loses_no_row_and_stops_no_known_key(
    tmp_path,
    upstream,
    server,  # noqa: F811
    url,  # noqa: F811
):
    there = sa.make_url(url)
    with Proxy(there.host, there.port or 5432) as proxy:
        near = there.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        path = config(tmp_path, upstream, server=f'database_url = "{near}"')
        with Gateway(path, workers=2) as gateway:
            environ = {**os.environ, "GATEWAY_CONFIG": str(path), "PYTHONPATH": str(ROOT)}
            made = subprocess.run(
                [sys.executable, "-m", "gateway.cli", "keys", "create", "known"],
                env=environ, cwd=ROOT, check=True, capture_output=True, text=True,
            )  # fmt: skip
            key = made.stdout.strip()
            for number in range(40):  # every worker knows it then
                call(gateway, 10**6 + number, "whole", key)
            names = ["whole", "streamed", "translated", "native streamed"]
            with Load(lambda n: call(gateway, n, names[n % 4], key)) as load:
                time.sleep(1)
                proxy.away()
                gone = time.time()
                time.sleep(10)
                spooled = gateway.metrics()["gateway_usage_spooled"]
                time.sleep(10)
                proxy.back()
                came = time.time()
                time.sleep(3)
            assert spooled > 0
            assert load.faults == [] and {status for status, _, _ in load.done} == {200}
            during = [done for done in load.done if gone < done[2] < came]
            assert len(during) > 100
            found = wait_rows(url, {request_id for _, request_id, _ in load.done}, 40)
            assert len(found) == len(load.done) + 40
            assert set(scripted_times(upstream).values()) == {1}
            deadline = time.monotonic() + 10
            while gateway.metrics()["gateway_usage_spooled"]:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert gateway.metrics()["gateway_usage_dropped_total"] == 0


def scripted_times(upstream):
    return upstream._standing[None].times


def test_killed_worker_loses_no_row_that_is_older_than_a_second(tmp_path, upstream, place):
    with Gateway(config(tmp_path, upstream), workers=2) as gateway:
        with Load(lambda number: call(gateway, number)) as load:
            time.sleep(4)
            killed = time.time()
            for pid in gateway.worker_pids():
                os.kill(pid, signal.SIGKILL)
            time.sleep(1)
        before = {request_id for _, request_id, when in load.done if when < killed - 1}
        assert len(before) > 100
        wait_rows(place, before)


def test_rows_of_a_process_that_ends_while_the_database_is_away_are_the_next_one_s(
    tmp_path, upstream, place
):
    database, elsewhere = tmp_path / "gateway.db", tmp_path / "elsewhere"
    with Gateway(config(tmp_path, upstream), workers=2) as gateway:
        first = {call(gateway, number)[1] for number in range(20)}
        wait_rows(place, first)
        database.rename(elsewhere)
        later = {call(gateway, number)[1] for number in range(20, 60)}
        gateway.stop(signal.SIGTERM)
        spooled = list((tmp_path / "spool").glob("*.jsonl"))
        assert sum(file.read_bytes().count(b"\n") for file in spooled) == len(later) == 40
        elsewhere.rename(database)

        gateway.start()
        assert wait_rows(place, first | later).keys() == first | later
        deadline = time.monotonic() + 5
        while list((tmp_path / "spool").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
