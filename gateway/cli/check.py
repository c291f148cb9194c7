"""`gateway check`: read a configuration and say everything that is wrong with it."""

import sys

import click

from gateway import config


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
def check(file):
    """Validate FILE, or the configuration that would be used."""
    try:
        settings = config.load(path=file)
    except config.ConfigError as exc:
        click.echo(str(exc), err=True)
        sys.exit(1)
    click.echo(f"{settings.path or 'The built-in configuration'} is valid: {counted(settings)}.")


def counted(settings):
    upstreams, models = len(settings.upstreams), len(settings.models)
    if settings.local_model is not None:
        return "a local model"
    return f"upstreams: {upstreams}, models: {models}"
