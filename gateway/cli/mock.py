"""`gateway mock`: a scripted upstream, where the name of a model picks the fault."""

import click

from gateway import mock as scripted


def resolvable(ctx, param, host):
    """Refuse what no resolver takes: for it a socket raises a TypeError, and no OSError."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise click.BadParameter(f"{host!r} is no name of a host.") from None
    return host


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8099, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, callback=resolvable)
def mock(port, host):
    """Answer like OpenAI, or wrongly where the model's name says so, until Ctrl-C."""
    scripted.main(port, host)
