"""One scripted upstream and one real gateway before it for a whole module; import both fixtures."""

import pytest

from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

__all__ = ["shared_gateway", "shared_upstream"]

# Retries of its own would blur the counts that tell what clients retry.
MORE = """
[[model]]
id = "team/llm-a"
upstreams = [{ name = "mock", model = "echo" }]

[[model]]
id = "whole-only"
upstreams = [{ name = "whole" }]

[[upstream]]
name = "whole"
base_url = "URL"
endpoints = ["chat"]
stream = false

[retry]
attempts = 0
"""


@pytest.fixture(scope="module", name="upstream")
def shared_upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module", name="gateway")
def shared_gateway(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("gateway")
    more = MORE.replace("URL", upstream.url)
    path = write_config(folder, upstream.url, server="max_body_mb = 1", more=more)
    with Gateway(path) as running:
        yield running
