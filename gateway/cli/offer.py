"""What the configuration offers, as the commands that show it see it."""

import contextlib
import logging

import click

from gateway import errors, upstreams
from gateway.cli import fail, load_settings
from gateway.routing.catalogue import Catalogue

LOCAL = (
    "There is no configuration. Without one, `gateway serve` offers a local model while it runs; "
    "a gateway.toml here, GATEWAY_CONFIG or GATEWAY_UPSTREAM_URL names others."
)


@contextlib.contextmanager
def offered():
    """Give the settings and the catalogue, with what upstreams list where that is asked for."""
    settings = load_settings()
    if settings.local_model is not None and not settings.models:
        fail(LOCAL)
    found = upstreams.build(settings)
    try:
        yield settings, listed(Catalogue(settings, found))
    finally:
        for upstream in found.values():
            upstream.close()


def listed(catalogue):
    """Ask upstreams what they offer, and say which of them did not answer."""
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # said below, in a sentence
    catalogue.refresh()
    for name, error in catalogue.failed.items():
        click.echo(f"What {name} offers is not known: {words(error)}.", err=True)
    return catalogue


def health(upstream):
    """Ask an upstream for its models; return a word or two on how that went."""
    try:
        upstream.models()
    except errors.GatewayError as error:
        return words(error)
    return "ok"


def words(error):
    """Say shortly what an upstream did when it was asked for its models."""
    if error.upstream_status is not None:
        return f"answers {error.upstream_status} to GET /models"
    return error.code.removeprefix("upstream_").replace("_", " ")
