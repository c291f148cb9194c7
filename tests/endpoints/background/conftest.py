"""An application of each test's own, which runs no jobs: the tests do."""

import threading

import pytest

from gateway import config, create_app, database
from tests.endpoints.storing import MORE
from tests.serving import KEY, write_config

WHOLE = """
[[upstream]]
name = "whole"
base_url = "URL"
endpoints = ["responses"]
stream = false

[[model]]
id = "whole-only"
upstreams = [{ name = "whole", model = "echo" }]

[jobs]
per_key = 3
"""


@pytest.fixture(name="app")
def own_app(tmp_path, upstream):
    """An application of each test's own: its queue is empty."""
    more = (MORE + WHOLE).replace("URL", upstream.url)
    settings = config.load(
        {"GATEWAY_API_KEYS": KEY}, write_config(tmp_path, upstream.url, more=more)
    )
    database.upgrade(settings.server.database_url)
    found = create_app(settings)
    yield found
    found.extensions["gateway"].close()


@pytest.fixture
def services(app):
    return app.extensions["gateway"]


@pytest.fixture
def loops(services):
    """Let recordings be written and read while they grow, and let polls wait."""
    loops = (*services.recordings.loops[:2], services.waiting)
    threads = [threading.Thread(target=each.run, args=(services.stopping,)) for each in loops]
    for thread in threads:
        thread.start()
    yield
    services.stopping.set()
    for thread in threads:
        thread.join()
