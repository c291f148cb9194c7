"""What most tests share: a scripted upstream, a gateway in front of it, and a key for it."""

import pytest

from gateway import config, create_app
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream


@pytest.fixture
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def settings(tmp_path, upstream):
    path = write_config(tmp_path, upstream.url)
    return config.load({"GATEWAY_API_KEYS": KEY}, path)


@pytest.fixture
def app(settings):
    from gateway import database

    database.upgrade(settings.server.database_url)
    app = create_app(settings)
    yield app
    app.extensions["gateway"].close()


@pytest.fixture
def client(app):
    """A client that sends the key."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    return client
