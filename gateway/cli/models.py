"""`gateway models`: each model, its upstreams and their health."""

import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.offer import health, offered
from gateway.cli.streams import echo_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def models(as_json):
    """List the models, their upstreams and whether those answer now."""
    with offered() as (_, catalogue):
        states = {name: health(upstream) for name, upstream in catalogue.upstreams.items()}
        rows = [row(name, target, states) for name, target in offers(catalogue)]
    if as_json:
        echo_json(rows)
    elif rows:
        show(rows)
    else:
        click.echo("There are no models.", err=True)


def offers(catalogue):
    """Yield (model id, target) for every model, wildcards after those with names of their own."""
    wildcards = [catalogue.route(wildcard, wildcard.id) for wildcard in catalogue.wildcards]
    for route in (*catalogue.all(), *wildcards):
        for target in sorted(route.targets, key=lambda target: target.priority):
            yield route.model, target


def row(name, target, states):
    return {
        "model": name,
        "upstream": target.upstream.name,
        "upstream_model": target.model,
        "priority": target.priority,
        "weight": target.weight,
        "endpoints": sorted(target.upstream.endpoints),
        "stream": target.upstream.streams,
        "health": states[target.upstream.name],
    }


def show(rows):
    table = Table(box=None, pad_edge=False)
    for title in ("model", "upstream", "its name there", "priority", "weight", "speaks", "health"):
        table.add_column(title, overflow="fold")
    for found in rows:
        speaks = " ".join(found["endpoints"]) + ("" if found["stream"] else " (no streams)")
        values = [found[name] for name in ("model", "upstream", "upstream_model")]
        values += [str(found["priority"]), f"{found['weight']:g}", speaks, found["health"]]
        # Texts, because a name may hold brackets, which mean colours to rich.
        table.add_row(*map(Text, values))
    # Whatever reads a pipe has no width, and wants a model to a line.
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, width=width).print(table)
