"""The services of one process with their scripted upstream, and jobs that are run in the test."""

import time

import gevent
import pytest
import sqlalchemy as sa

from gateway import config, create_app, database
from gateway.jobs.running import NO_SINK, Running
from gateway.key import fixed_key
from gateway.tables import usage
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream

MORE = """
[[upstream]]
name = "whole"
base_url = "URL"
stream = false

[[upstream]]
name = "chat"
base_url = "URL"
endpoints = ["chat"]

[[upstream]]
name = "keeper"
base_url = "URL"
endpoints = ["responses"]
stateful = true

[[model]]
id = "whole-only"
upstreams = [{ name = "whole", model = "echo" }]

[[model]]
id = "chat-only"
upstreams = [{ name = "chat", model = "echo" }]

[[model]]
id = "kept"
upstreams = [{ name = "keeper", model = "echo" }]

[[model]]
id = "stream-first"
upstreams = [
    { name = "mock", model = "mock-500" },
    { name = "whole", model = "echo", priority = 1 },
]

[[model]]
id = "whole-first"
upstreams = [{ name = "whole", model = "echo" }, { name = "mock", model = "echo", priority = 1 }]

[retry]
attempts = 0
"""
KEY_ID = fixed_key(KEY).id


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def app(tmp_path_factory, upstream):
    path = write_config(
        tmp_path_factory.mktemp("app"), upstream.url, more=MORE.replace("URL", upstream.url)
    )
    settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
    database.upgrade(settings.server.database_url)
    found = create_app(settings)
    yield found
    found.extensions["gateway"].close()


@pytest.fixture
def client(app):
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    return found


class Desk:
    """Adds jobs, claims them and runs them, and knows what has become of them."""

    def __init__(self, services, upstream):
        self.services, self.upstream = services, upstream
        self.lines, self.numbers = [], 0

    def claim(self, endpoint="chat", key=KEY_ID, background=False, id=None, **payload):
        """Add a job and return it claimed."""
        self.numbers += 1
        payload = {"model": "gpt-test", **asked(endpoint), **payload}
        request_id = f"req_{time.monotonic_ns()}"
        added = self.services.jobs.add(key, endpoint, payload, request_id, background, id)
        claimed = self.services.jobs.claim("me")
        assert claimed.id == added.id
        return claimed

    def run(self, endpoint="chat", sink=NO_SINK, **how):
        """Add a job, run it to its end, and return its row."""
        claimed = self.claim(endpoint, **how)
        Running(self.services, claimed, sink, sleep=lambda seconds: None).run()
        return self.row(claimed)

    def row(self, claimed):
        return self.services.jobs.get(claimed.key, claimed.id)

    def begin(self, claimed, sink=NO_SINK):
        """Run a claimed job in a greenlet; return both."""
        running = Running(self.services, claimed, sink)
        return running, gevent.spawn(running.run)

    def wait(self, holds):
        """Wait until something holds, while jobs run."""
        deadline = time.monotonic() + 5
        while not holds():
            assert time.monotonic() < deadline
            gevent.sleep(0.01)

    def usage(self, request_id):
        """Return the rows of usage of a request."""
        query = sa.select(usage).where(usage.c.request_id == request_id)
        rows = self.services.database.read(lambda c: c.execute(query).mappings().all())
        return [dict(row) for row in rows]


def asked(endpoint):
    said = "Say this is a test"
    return (
        {"messages": [{"role": "user", "content": said}]} if endpoint == "chat" else {"input": said}
    )


@pytest.fixture
def desk(app, upstream, monkeypatch):
    services = app.extensions["gateway"]
    found = Desk(services, upstream)
    monkeypatch.setattr(services.lines, "add", lambda level, line: found.lines.append(line))
    yield found
    while (left := services.jobs.claim("sweeper")) is not None:
        services.jobs.finish(left, "failed")
    services.router.breakers.clear()
