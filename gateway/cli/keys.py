"""`gateway keys`: create, list and revoke API keys."""

import json
import sys
import time
from dataclasses import asdict

import click

from gateway.cli import fail, open_database
from gateway.keys import KeyStore


@click.group()
def keys():
    """Create, list and revoke API keys."""


@keys.command()
@click.argument("name")
def create(name):
    """Create a key and print it, alone on standard output; it is shown only this once.

    NAME says whose key it is.
    """
    with open_database() as database:
        try:
            key, secret = KeyStore(database).create(name)
        except ValueError as exc:
            raise click.BadParameter(str(exc), param_hint="NAME") from None
    click.echo(secret)
    click.echo(f"{key.id} is ready. Keep the key itself: it is stored only as a hash.", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_(as_json):
    """List the keys, the oldest first."""
    with open_database() as database:
        found = KeyStore(database).list()
    if as_json:
        click.echo(json.dumps([asdict(key) for key in found], indent=2, ensure_ascii=False))
    elif found:
        _print_table(found)
    else:
        click.echo("There are no keys yet: gateway keys create NAME makes one.", err=True)


@keys.command()
@click.argument("id")
def revoke(id):
    """Revoke the key with this public ID: it stops working within seconds, for ever."""
    with open_database() as database:
        store = KeyStore(database)
        changed, key = store.revoke(id), store.get(id)
    if key is None:
        fail(f"There is no key {id}. The command gateway keys list shows the ids.")
    elif changed:
        click.echo(f"{key.id} ({key.name}) is revoked.")
    else:
        click.echo(f"{key.id} ({key.name}) was revoked before, at {_moment(key.revoked_at)}.")


def _print_table(found):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("id", min_width=16)
    table.add_column("name", min_width=8, overflow="fold")
    table.add_column("created")
    table.add_column("revoked")
    for key in found:
        # A Text, because a name may hold brackets, which mean colours to rich.
        table.add_row(key.id, Text(key.name), _moment(key.created_at), _moment(key.revoked_at))
    # Whatever reads a pipe has no width, and wants a key to a line.
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width).print(table)


def _moment(seconds):
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else ""
