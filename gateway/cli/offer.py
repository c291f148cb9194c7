"""What the configuration offers, as the commands that show it see it."""

from gateway import errors, upstreams
from gateway.cli import fail, load_settings
from gateway.routing.catalogue import Catalogue


def offered():
    """Return the settings and the catalogue, with what upstreams list where that is asked for."""
    settings = load_settings()
    if settings.local_model is not None and not settings.models:
        fail("There is no configuration: the local model is offered while `gateway serve` runs.")
    catalogue = Catalogue(settings, upstreams.build(settings))
    catalogue.refresh()
    return settings, catalogue


def health(upstream):
    """Ask an upstream for its models; return a word or two on how that went."""
    try:
        upstream.models()
    except errors.GatewayError as error:
        return error.code.removeprefix("upstream_").replace("_", " ")
    return "ok"
