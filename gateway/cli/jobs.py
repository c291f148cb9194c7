"""`gateway jobs`: list, show and cancel jobs."""

import contextlib
import sys
import time

import click
import orjson

from gateway.cli import fail, load_settings, open_database
from gateway.cli.key_words import unknown
from gateway.cli.streams import echo_json
from gateway.jobs.background import Background
from gateway.jobs.statements import STATUSES
from gateway.jobs.store import Jobs
from gateway.jobs.view import ended, shown
from gateway.keys import PUBLIC
from gateway.stored import Stored


@click.group()
def jobs():
    """List, show and cancel jobs."""


@jobs.command("list")
@click.option("--key", help="Only jobs of the key with this public ID.", metavar="ID")
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs in this state.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_(key, status, limit, as_json):
    """List jobs, the newest first."""
    if key is not None:
        named = PUBLIC.fullmatch(key) or unknown(key)
        key = f"key_{named[1]}"
    with opened() as store:
        found = store.newest(limit, key, status)
    if as_json:
        echo_json([told(row) for row in found])
    elif found:
        table(found)
    else:
        click.echo("There are no such jobs.", err=True)


@jobs.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--answer", is_flag=True, help="Print the body of the job's answer and nothing else.")
def show(id, as_json, answer):
    """Show the job with this ID, but not what was asked and answered."""
    with opened() as store:
        row = found(store, store.get, id)
    if answer:
        if row.result is None:
            fail(f"{row.id} has no answer: it is {row.status}.")
        click.echo(row.result)
    elif as_json:
        echo_json(told(row))
    else:
        for line in lines(row):
            click.echo(line)


@jobs.command()
@click.argument("id")
def cancel(id):
    """Cancel the job with this ID; one that has ended stays as it is."""
    with opened() as store:
        before = found(store, store.get, id)
        row = found(store, store.cancel, id)
    if not ended(row):
        click.echo(f"{row.id} is running, and is cancelled within a second or so.")
    elif ended(before) or row.status != "cancelled":
        click.echo(f"{row.id} has ended before: it is {row.status}.")
    else:
        click.echo(f"{row.id} is cancelled.")


@contextlib.contextmanager
def opened():
    with open_database() as database:
        settings = load_settings()
        stored = Stored(database, settings.responses.retention_hours)
        background = Background(stored, settings.jobs.retention_hours * 3600)
        yield Jobs(database, settings.jobs, told=background)


def found(store, look, id):
    """Return the row of a job, whoever's it is; end the command if there is none."""
    key = store.owner(id)
    row = key and look(key, id)
    if not row:
        fail(f"There is no job {id}. The command gateway jobs list shows the ids.")
    return row


def told(row):
    """Return a job object with its key, and without what was answered."""
    job = shown(row)
    if job["result"]:
        job["result"]["body"] = None
    return {"id": job.pop("id"), "key": row.key, **job}


def lines(row):
    """Yield lines that say all there is to know of a job."""
    for name, value in told(row).items():
        if name.endswith("_at"):
            value = moment(value)
        elif name == "result":
            value = value and f"status {value['status_code']}"
        elif name == "error":
            value = value and f"{value['code']}: {value['message']}"
        elif isinstance(value, dict):
            value = value and orjson.dumps(value).decode()
        if value not in (None, "", {}) and name != "object":
            yield f"{name.removesuffix('_at').replace('_', ' '):10}  {value}"


def table(rows):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False)
    for title in ("id", "key", "endpoint", "model", "status", "created", "ended", "attempts"):
        made.add_column(title, overflow="fold")
    for row in rows:
        over = moment(row.completed_at or row.cancelled_at)
        values = [row.id, row.key, row.endpoint, row.model, row.status, moment(row.created_at)]
        # Texts, because a model may hold brackets, which mean colours to rich.
        made.add_row(*map(Text, values), over, str(row.attempts))
    # Whatever reads a pipe has no width, and wants a job to a line.
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, width=width).print(made)


def moment(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else ""
