"""`gateway mock`: a scripted upstream, where the name of a model picks the fault."""

import click

from gateway import mock as scripted


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8099, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def mock(port, host):
    """Answer like OpenAI, or wrongly where the model's name says so, until Ctrl-C."""
    scripted.main(port, host)
