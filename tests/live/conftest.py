"""What live tests share: a gateway in front of a scripted upstream, one for a whole module."""

from contextlib import ExitStack

import pytest

from tests.live.site import Site
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def open_site(tmp_path_factory):
    """Return a function that starts a Site, by write_config's arguments and Gateway's.

    In `more`, the rest of the configuration, `$URL` stands for the scripted upstream's.
    """
    sites = []
    with ExitStack() as stack:

        def start(more="", environ=(), command=None, **config):
            upstream = stack.enter_context(ScriptedUpstream())
            more = more.replace("$URL", upstream.url)
            config = {name: f"{lines}\n" for name, lines in config.items()}
            path = write_config(tmp_path_factory.mktemp("site"), upstream.url, more=more, **config)
            gateway = stack.enter_context(Gateway(path, environ=environ, command=command))
            sites.append(Site(gateway, upstream))
            return sites[-1]

        yield start
        for site in sites:
            site.audit()
