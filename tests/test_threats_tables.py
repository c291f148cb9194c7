"""What clients make up fills no table: neither the metrics nor anything a process remembers."""

import collections
import gc
import io
import json
import string

import pytest

from gateway import exchange, metrics
from gateway.limits.stores import lmdb_storage
from gateway.metrics import tally
from gateway.routing import router as routing
from gateway.upstreams import relay
from tests.application import shared_app, shared_upstream  # noqa: F401
from tests.serving import KEY

MORE = """
[[upstream]]
name = "other"
base_url = "URL"
endpoints = ["chat", "responses", "embeddings"]

[[model]]
id = "any-*"
upstreams = [{ name = "mock", model = "any-*" }]

[[model]]
id = "twins-*"
upstreams = [{ name = "mock", model = "any-*" }, { name = "other", model = "any-*" }]

[retry]
attempts = 0
"""
CHAT = "/v1/chat/completions"
LEAST = 250  # by how much a table may grow: SQLite notes up to 200 cursors
KEPT = 40  # breakers and budgets, in place of ten thousand
CONTAINERS = (dict, list, set, collections.deque)


class Wsgi:
    """Makes requests without a client, whose own tables would be counted too."""

    def __init__(self, app):
        self.app, self.services = app, app.extensions["gateway"]
        self.services.lines.add = lambda level, fields: None
        self.statuses = collections.Counter()

    def ask(self, method, path, body=None, query="", key=KEY, **headers):
        data = b"" if body is None else json.dumps(body).encode()
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query,
            "SERVER_NAME": "x", "SERVER_PORT": "1", "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(data),
            "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(data)),
            "HTTP_AUTHORIZATION": f"Bearer {key}", **headers,
        }  # fmt: skip
        said = []
        blocks = self.app(environ, lambda status, headers, *rest: said.append(int(status[:3])))
        b"".join(blocks)
        blocks.close()
        self.statuses[said[0]] += 1

    def settle(self):
        """Do what the loops of a running gateway do."""
        self.services.recorder.flush()
        self.services.recordings.flusher.flush_safely()
        tally.flush()

    def series(self):
        """Return the names and labels in /metrics."""
        self.settle()
        rows = metrics.exposition().decode().splitlines()
        return {row.rpartition(" ")[0] for row in rows if row[:1] != "#"}


@pytest.fixture
def wsgi(app):
    return Wsgi(app)


def said(name, **more):
    return {"model": name, "messages": [{"role": "user", "content": name}], **more}


def refused(wsgi, number):
    """Make ten requests, each of which says something that none has said before."""
    name = f"made-up-{number}"
    letters = "".join(string.ascii_uppercase[int(digit)] for digit in str(number))
    wsgi.ask("POST", CHAT, said(name))
    wsgi.ask("POST", CHAT, said("gpt-test", temperature=name, **{name: name}))
    wsgi.ask("POST", CHAT, said("gpt-test", messages=[{"role": name}], metadata={name: name}))
    wsgi.ask("GET", f"/v1/models/{name}", **{f"HTTP_X_{letters}": name})
    wsgi.ask("GET", f"/v1/{name}", HTTP_USER_AGENT=name, HTTP_X_CLIENT_REQUEST_ID=name)
    wsgi.ask("GET", f"/{name}", HTTP_HOST=name, key=name)
    wsgi.ask(f"M{letters}", "/v1/models" if number % 2 else f"/v1/{name}", query=f"{name}={name}")
    wsgi.ask("GET", "/v1/models", key=f"sk-{number:012}-{'0' * 43}")
    wsgi.ask("GET", f"/v1/jobs/job_{number:032x}", query=f"wait={number}", HTTP_PREFER=name)
    wsgi.ask("DELETE" if number % 2 else "GET", f"/v1/responses/resp_{number:032x}")


def answered(wsgi, number):
    """Make calls under names that a wildcard matches, for conversations and calls of their own."""
    name = f"name-{number}"
    wsgi.ask("POST", CHAT, said(f"any-{name}", user=name), HTTP_TRACEPARENT=name)
    wsgi.ask("POST", CHAT, said(f"twins-{name}", prompt_cache_key=name, stream=True))
    given = {"model": f"twins-{name}", "input": name, "metadata": {name: name}, "store": False}
    wsgi.ask("POST", "/v1/responses", given)


def sizes():
    """Return the length of every container in the process by its identity."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        for each in (thing, *gc.get_referents(thing)):
            if issubclass(type(each), CONTAINERS):  # asking a proxy would wake what it stands for
                found[id(each)] = len(each)
    return found


def grown(before):
    """Return descriptions of the containers that have grown by a lot, by their identity."""
    after = sizes()
    large = {id for id, size in after.items() if size - before.get(id, size) > LEAST}
    return {
        id(each): (type(thing).__name__, str(each)[:300], len(each))
        for thing in gc.get_objects()
        for each in (thing, *gc.get_referents(thing))
        if id(each) in large and issubclass(type(each), CONTAINERS)
    }


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(routing, "KEPT", KEPT)


def test_ten_thousand_made_up_requests_leave_no_series_and_no_entry_behind(wsgi, few):
    for number in range(20):
        refused(wsgi, number)
        answered(wsgi, number)
    series, found = wsgi.series(), []
    # What is loaded once, by whatever is in this process, grows once; what is kept grows twice.
    for first in (1000, 2000):
        before = sizes()
        for number in range(first, first + 500):
            refused(wsgi, number)
        for number in range(first, first + LEAST + 50):
            answered(wsgi, number)
        wsgi.settle()
        found.append(grown(before))
    assert sum(wsgi.statuses.values()) >= 10_000

    assert wsgi.series() == series
    both = set(found[0]) & set(found[1])
    assert [found[1][id] for id in both] == []
    assert set(wsgi.statuses) == {200, 400, 401, 404, 405}, wsgi.statuses
    router = wsgi.services.router
    assert len(router.breakers) == len(router.budgets) == KEPT
    assert set(router.load) <= {"mock", "other"}


def test_growth_would_be_seen():
    kept = {"table": {}}
    before = sizes()
    kept["table"].update((f"{number}", number) for number in range(LEAST + 1))
    assert [size for _, _, size in grown(before).values()] == [LEAST + 1]


def test_breakers_and_budgets_of_made_up_names_make_room(wsgi):
    router = wsgi.services.router
    for number in range(routing.KEPT + 500):
        router.breaker_of("mock", f"mock-{number}")
        router.budget(f"mock-{number}")
    assert len(router.breakers) == len(router.budgets) == routing.KEPT
    assert ("mock", f"mock-{number}") in router.breakers and f"mock-{number}" in router.budgets


def test_states_know_the_names_of_the_configuration_alone(wsgi, few):
    states, router = wsgi.services.states, wsgi.services.router
    states.values(0)
    known = set(states.known)
    for number in range(KEPT):
        breaker = router.breaker_of("mock", f"mock-{number}")
        breaker.until = 10.0
    states.values(0)
    assert states.known == known


def test_quoted_models_are_kept_up_to_a_bound():
    for number in range(1000):
        exchange.quoted(f"made-up-{number}")
    assert exchange.quoted.cache_info().currsize <= 256


def test_keys_of_limits_are_kept_up_to_a_bound():
    bound = lmdb_storage.record_key.cache_info().maxsize
    for number in range(2 * bound):
        lmdb_storage.record_key(b"w", f"rpm:{number}")
    assert lmdb_storage.record_key.cache_info().currsize == bound <= 10_000


def test_spelled_models_are_kept_up_to_a_bound():
    for number in range(1000):
        relay.spelled(f"made-up-{number}")
    assert relay.spelled.cache_info().currsize <= 256
