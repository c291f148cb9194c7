"""`gateway models`: each model, its upstreams and their health."""

import json

import click
from rich.console import Console
from rich.table import Table

from gateway.cli.offer import health, offered


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json):
    """List the models, their upstreams and whether those answer now."""
    settings, catalogue = offered()
    states = {name: health(upstream) for name, upstream in catalogue.upstreams.items()}
    rows = [row(name, target, states) for name, target in offers(catalogue)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        show(rows)


def offers(catalogue):
    """Yield (model id, target) for every model, wildcards after those with names of their own."""
    for route in catalogue.all():
        for target in sorted(route.targets, key=lambda target: target.priority):
            yield route.model, target
    for wildcard in catalogue.wildcards:
        for target in catalogue.route(wildcard, wildcard.id).targets:
            yield wildcard.id, target


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
    table = Table("Model", "Upstream", "Its name there", "Priority", "Weight", "Speaks", "Health")
    for found in rows:
        speaks = " ".join(found["endpoints"]) + ("" if found["stream"] else " (no streams)")
        values = [found[name] for name in ("model", "upstream", "upstream_model")]
        values += [str(found["priority"]), f"{found['weight']:g}", speaks, found["health"]]
        table.add_row(*values)
    Console().print(table)
