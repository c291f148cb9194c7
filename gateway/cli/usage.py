"""`gateway usage`: what was used and what it cost, by key, model or day."""

import csv
import datetime
import io
import sys
import time

import click
import orjson

from gateway.cli import open_database
from gateway.cli.durations import seconds
from gateway.prices import usd
from gateway.usage.report import BY, report

COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
TITLES = {"key": ("name", "id"), "model": ("model",), "day": ("day",)}


class Since(click.ParamType):
    """Turns a duration or a date (UTC) into the unix second at which it begins."""

    name = "since"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            day = datetime.date.fromisoformat(value) if "-" in value else None
            if day is None:
                return max(time.time() - seconds(value), 0)
        except ValueError:
            self.fail(f"{value!r} is no duration such as 7d or 24h, nor a date (2026-01-31).")
        return max((day - datetime.date(1970, 1, 1)).days * 86400, 0)


@click.command()
@click.option("--by", type=click.Choice(BY), default="key", show_default=True)
@click.option("--since", type=Since(), default="7d", show_default=True, metavar="7d|2026-01-31")
@click.option("--json", "form", flag_value="json", help="Print a JSON array.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV with a head.")
def usage(by, since, form):
    """Show requests, tokens and cost (USD) by key, model or day (UTC).

    Tokens and costs that nobody has counted are left empty.
    """
    with open_database() as database:
        rows = [shown(row, by) for row in report(database, by, since)]
    if form == "json":
        click.echo(as_json(rows))
    elif form == "csv":
        click.echo(as_csv(rows, TITLES[by]), nl=False)
    elif rows:
        show(rows, TITLES[by])
    else:
        click.echo("Nothing was used in this time.", err=True)


def shown(row, by):
    """Return a row under the names and in the order in which it is printed, its cost as text."""
    titles = {by: row[by]}
    if by == "key":
        titles = {"name": row["name"], "id": row["key"]}
    elif by == "day":
        titles = {"day": time.strftime("%Y-%m-%d", time.gmtime(row["day"]))}
    cost = None if row["cost"] is None else usd(row["cost"])
    return {**titles, **{name: row[name] for name in COUNTS}, "cost": cost}


def as_json(rows):
    # A float could not hold every nano-USD of a large sum.
    found = [{**row, "cost": row["cost"] and orjson.Fragment(row["cost"].encode())} for row in rows]
    return orjson.dumps(found, option=orjson.OPT_INDENT_2)


def as_csv(rows, titles):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([(*titles, *COUNTS, "cost"), *(row.values() for row in rows)])
    return out.getvalue()


def show(rows, titles):
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in rows[0]:
        words = "cost (USD)" if title == "cost" else title.removesuffix("_tokens")
        left = title in titles
        table.add_column(words, justify="left" if left else "right", overflow="fold")
    for row in rows:
        # Texts, because a name may hold brackets, which mean colours to rich.
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    # Whatever reads a pipe has no width, and wants a row to a line.
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, width=width).print(table)
