"""`gateway drain`: let load balancers look away before the listeners close."""

import time

import click

from gateway.cli import fail, load_settings
from gateway.draining import Flag, Master


@click.command()
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=0,
    metavar="SECONDS",
    help="Return only so much later, when load balancers have seen it.",
)
def drain(wait):
    """Turn /readyz of this machine's gateway to 503, until it is started again.

    It goes on answering calls. Where none runs this says so at once, with exit status 1.
    """
    settings = load_settings()
    if settings.state.is_dir():  # whoever runs has made it, and nobody else is to
        Flag(settings).raise_up()
    if not Master(settings).runs:
        fail(f"No gateway runs at {settings.server.bind} with the state folder {settings.state}.")
    time.sleep(wait)
