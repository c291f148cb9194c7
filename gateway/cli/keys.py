"""`gateway keys`: create, list, show, update, rotate and revoke API keys."""

import contextlib
import time
from functools import partial

import click

from gateway.cli import fail, load_settings, open_database, streams
from gateway.cli.durations import Duration
from gateway.cli.key_options import bounded, fields
from gateway.cli.key_words import alone, as_json, moment, table, unknown
from gateway.cli.streams import echo_json
from gateway.errors import DependencyUnavailable
from gateway.key import matches
from gateway.keys import KeyStore


@click.group()
def keys():
    """Create, list, show, update, rotate and revoke API keys."""


@keys.command()
@click.argument("name")
@bounded
def create(name, **options):
    """Create a key and print it, alone on standard output; it is shown only this once.

    NAME says whose key it is. Without options the key may use everything, without limits.
    """
    given = fields(**options)
    pairs = given.pop("metadata", None) or {}
    pairs = {name: value for name, value in pairs.items() if value is not None}
    refuse_closed()
    with open_database() as database:
        store = KeyStore(database)
        with blaming():
            key, secret = store.create(name, metadata=pairs, **given)
        hand_out(secret, partial(take_back, store, key))
    click.echo(f"{key.id} is ready. Keep the key itself: it is stored only as a hash.", err=True)
    warn(given.get("models"))


@keys.command("list")
@click.option("--json", "json_", is_flag=True, help="Print a JSON array.")
def list_(json_):
    """List the keys, the oldest first."""
    with open_database() as database:
        found = KeyStore(database).list()
    now = time.time()
    if json_:
        echo_json([as_json(key, now) for key in found])
    elif found:
        table(found, now)
    else:
        click.echo("There are no keys yet: gateway keys create NAME makes one.", err=True)


@keys.command()
@click.argument("id")
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def show(id, json_):
    """Show all there is to know of the key with this public ID, but its secret."""
    with open_database() as database:
        key = KeyStore(database).get(id) or unknown(id)
    now = time.time()
    if json_:
        echo_json(as_json(key, now))
    else:
        click.echo("\n".join(alone(key, now)))


@keys.command()
@click.argument("id")
@click.option("--name", help="Whose key it is.")
@bounded
def update(id, name, **options):
    """Change what the key with this public ID may use; workers follow within seconds.

    What is not given stays as it is. The value none takes a limit away; --metadata name= takes
    one pair away.
    """
    given = fields(name=name, **options)
    if not given:
        raise click.UsageError("There is nothing to change: give at least one option.")
    with open_database() as database, blaming():
        store = KeyStore(database)
        key = store.update(id, **given) or unusable(store, id)
    click.echo("\n".join(alone(key, time.time())))
    warn(given.get("models"))


@keys.command()
@click.argument("id")
@click.option(
    "--grace",
    type=Duration(),
    default="0",
    help="How long the old secret goes on working, such as 24h. Without it: about a second.",
)
def rotate(id, grace):
    """Give the key with this public ID a new secret and print it, alone on standard output.

    The id, the limits and what was used stay. The old secret stops within about a second unless
    there is a grace; so do those that earlier rotations have left in theirs.
    """
    refuse_closed()
    with open_database() as database:
        store = KeyStore(database)
        key, secret = store.rotate(id, grace) or unusable(store, id)
    now = time.time()
    ends = f"works until {moment(key.old_until)}" if grace else "stops working within seconds"
    hand_out(secret, lambda: f"The old one of {key.id} ({key.name}) {ends}. Rotate the key again.")
    click.echo(f"{key.id} ({key.name}) has a new secret. The old one {ends}.", err=True)
    if key.state(now) == "expired":
        click.echo(f"The key has expired, at {moment(key.expires_at)}.", err=True)


@keys.command()
@click.argument("id")
def revoke(id):
    """Revoke the key with this public ID: it stops working within seconds, for ever."""
    with open_database() as database:
        store = KeyStore(database)
        changed, key = store.revoke(id), store.get(id) or unknown(id)
    if changed:
        click.echo(f"{key.id} ({key.name}) is revoked.")
    else:
        click.echo(f"{key.id} ({key.name}) was revoked before, at {moment(key.revoked_at)}.")


@contextlib.contextmanager
def blaming():
    """Turn what the store says against a value into an error of usage."""
    try:
        yield
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None


def refuse_closed():
    """End the command before it writes anything if it cannot print a secret."""
    if streams.closed():
        fail("Standard output is closed, and a key is shown nowhere else. Nothing was changed.")


def hand_out(secret, lost):
    """Print a secret; if that fails, end the command with what `lost()` says of its key."""
    try:
        click.echo(secret)
    except OSError as exc:
        fail(f"The key could not be printed: {streams.reason(exc)}. Nobody has it. {lost()}")


def take_back(store, key):
    """Revoke a key that nobody has; say how it stands then."""
    try:
        store.revoke(key.id)
    except DependencyUnavailable:
        return f"The key may work all the same: gateway keys revoke {key.id} ends it."
    return f"{key.id} ({key.name}) is revoked."


def unusable(store, id):
    """End the command with what keeps a key from being changed."""
    key = store.get(id) or unknown(id)
    fail(f"{key.id} ({key.name}) is revoked, and that is for ever. Create another key.")


def warn(models):
    """Say which ids or wildcards no model of the configuration matches."""
    settings = load_settings()
    local = settings.local_model
    there = [*settings.models] or ([local.chat_id, local.embed_id] if local else [])
    listed = any(upstream.discover for upstream in settings.upstreams.values())
    for id in models or ():
        if not any(matches(id, other) or matches(other, id) for other in there):
            also = ", though an upstream may list it" if listed else ""
            click.echo(f"No model of the configuration matches {id} now{also}.", err=True)
