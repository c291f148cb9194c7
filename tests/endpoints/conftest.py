"""One application and its scripted upstream for all the tests of a module, and clients of it."""

import pytest

from gateway import config, create_app, database
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream

MORE = """
[[model]]
id = "team/llm-a"
upstreams = [{ name = "mock", model = "echo" }]

[[model]]
id = "whole-only"
upstreams = [{ name = "whole" }]

[[model]]
id = "embed-only"
upstreams = [{ name = "embedder" }]

[[upstream]]
name = "whole"
base_url = "URL"
endpoints = ["chat"]
stream = false

[[upstream]]
name = "embedder"
base_url = "URL"
endpoints = ["embeddings"]
stream = false

[retry]
attempts = 0
"""


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def app(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("app")
    more = MORE.replace("URL", upstream.url)
    path = write_config(folder, upstream.url, server="max_body_mb = 1", more=more)
    settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
    database.upgrade(settings.server.database_url)
    found = create_app(settings)
    yield found
    found.extensions["gateway"].close()


@pytest.fixture
def stranger(app):
    """A client without a key."""
    return app.test_client()


@pytest.fixture
def client(app):
    """A client that sends the key."""
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    return found


@pytest.fixture
def lines(app, monkeypatch):
    """The fields of the request lines, in place of the log."""
    found = []
    monkeypatch.setattr(
        app.extensions["gateway"].lines, "add", lambda level, fields: found.append(fields)
    )
    return found
