"""`gateway explain MODEL`: which upstreams a call would try, and why each other is skipped."""

import click

from gateway import errors
from gateway.cli import fail
from gateway.cli.offer import health, offered
from gateway.routing.router import PATHS, Router


@click.command()
@click.argument("model")
@click.option("--key", metavar="ID", help="Explain it for this API key.")
def explain(model, key):
    """Say which upstreams a call for MODEL would try, in what order, and which it skips."""
    settings, catalogue = offered()
    router = Router(catalogue, settings.retry, settings.timeouts.keepalive)
    try:
        targets = sorted(router.routes(model), key=lambda target: target.priority)
    except errors.GatewayError as error:
        fail(error.message)
    click.echo(f"{model}" + (f" for {key}" if key else ""))
    states = {target.upstream.name: health(target.upstream) for target in targets}
    for endpoint, path in PATHS.items():
        click.echo(f"\nPOST {path}")
        for line in described(targets, endpoint, settings.retry.upstreams, states):
            click.echo(f"  {line}")


def described(targets, endpoint, most, states):
    """Yield a line for each target: its place in the order, or why it is skipped."""
    place = 0
    for target in targets:
        name = f"{target.upstream.name} as {target.model}"
        if endpoint not in target.upstream.endpoints:
            yield f"-  {name}: skipped, it does not speak {endpoint}"
        elif place == most:
            yield f"-  {name}: skipped, one call tries {most} upstreams at most ([retry] upstreams)"
        else:
            place += 1
            yield f"{place}. {name}: {reasons(target, targets, endpoint, states)}"


def reasons(target, targets, endpoint, states):
    """Return what decides a target's place."""
    found = [f"priority {target.priority}", states[target.upstream.name]]
    equals = [
        t for t in targets if t.priority == target.priority and endpoint in t.upstream.endpoints
    ]
    if len(equals) > 1:
        share = target.weight / (sum(t.weight for t in equals) or 1)
        found.append(f"{share:.0%} of the conversations at this priority begin here")
    if not target.upstream.streams:
        found.append("skipped for stream: true")
    return ", ".join(found)
