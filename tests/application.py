"""One scripted upstream and one application before it for a whole module; import both fixtures.

The configuration goes on with the module's MORE, in which URL stands for the upstream's.
"""

import pytest

from gateway import config, create_app, database
from tests.serving import KEY, write_config
from tests.upstream import ScriptedUpstream

__all__ = ["shared_app", "shared_upstream"]


@pytest.fixture(scope="module", name="upstream")
def shared_upstream():
    with ScriptedUpstream(keep=5) as server:
        yield server


@pytest.fixture(scope="module", name="app")
def shared_app(request, tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("app")
    more = request.module.MORE.replace("URL", upstream.url)
    settings = config.load({"GATEWAY_API_KEYS": KEY}, write_config(folder, upstream.url, more=more))
    database.upgrade(settings.server.database_url)
    found = create_app(settings)
    yield found
    found.extensions["gateway"].close()
