"""`gateway drain`: let load balancers look away before the listeners close."""

import time

import click

from gateway.cli import load_settings
from gateway.draining import Flag


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

    It goes on answering calls. Nothing needs to run.
    """
    Flag(load_settings()).raise_up()
    time.sleep(wait)
