"""`gateway explain MODEL`: which upstreams a call would try, and why each other is skipped."""

import time

import click

from gateway import errors
from gateway.cli import fail, load_settings, open_database
from gateway.cli.key_words import unknown
from gateway.cli.offer import health, offered
from gateway.key import fixed_key
from gateway.keys import KeyStore
from gateway.routing.router import PATHS, Router
from gateway.upstreams.dialects import speaks


@click.command()
@click.argument("model")
@click.option("--key", "id", metavar="ID", help="Explain it for the API key of this public id.")
def explain(model, id):
    """Say which upstreams a call for MODEL would try, in what order, and which it skips."""
    key = allowed(id, model) if id else None
    with offered() as (settings, catalogue):
        router = Router(catalogue, settings.retry, settings.timeouts.keepalive)
        try:
            targets = sorted(router.routes(model), key=lambda t: (t.priority, not t.weight))
        except errors.GatewayError:
            fail(f"There is no model {model}. The command gateway models lists what there is.")
        upstreams = {target.upstream.name: target.upstream for target in targets}
        states = {name: health(upstream) for name, upstream in upstreams.items()}
        click.echo(f"{model} for {key.id} ({key.name})" if key else model)
        notes = {t: [*origin(t, router, model), states[t.upstream.name]] for t in targets}
        for endpoint, stream in calls(targets):
            click.echo(f"\nPOST {PATHS[endpoint]}{', stream: true' if stream else ''}")
            if key and key.endpoints and endpoint not in key.endpoints:
                click.echo("  The answer is 403 endpoint_not_allowed.")
                continue
            for line in described(notes, endpoint, stream, settings.retry.upstreams):
                click.echo(f"  {line}")
        for name in unlisted(router, model):
            click.echo(f"\nThe fallback {name} is left out: there is no such model now.")


def allowed(id, model):
    """Return the key with a public id; end the command if it may not call a model."""
    fixed = {key.id: key for key in map(fixed_key, load_settings().api_keys)}
    with open_database() as database:
        key = fixed.get(id) or KeyStore(database).get(id) or unknown(id)
    if (state := key.state(time.time())) != "active":
        fail(f"{key.id} ({key.name}) is {state}: the answer is 401 invalid_api_key.")
    if not key.may_use(model):
        fail(
            f"{key.id} ({key.name}) may not use {model}: the answer is 404 model_not_found. "
            f"It may use {', '.join(key.models)}."
        )
    return key


def calls(targets):
    """Yield the kinds of calls that differ, as (endpoint, stream)."""
    for endpoint in PATHS:
        yield endpoint, False
        speaking = [target for target in targets if speaks(target.upstream, endpoint)]
        if endpoint != "embeddings" and not all(target.upstream.streams for target in speaking):
            yield endpoint, True


def described(notes, endpoint, stream, most):
    """Yield a line for each target: its place in the order, or why it is skipped."""
    able = [target for target in notes if not unable(target, endpoint, stream)]
    for target, known in notes.items():
        name = f"{target.upstream.name} as {target.model}"
        if target not in able:
            yield f"-  {name}: skipped, it {unable(target, endpoint, stream)}"
        elif target in able[most:]:
            yield f"-  {name}: skipped unless one above is: a call tries {most} ([retry] upstreams)"
        else:
            told = [rank(target, able), *translated(target, endpoint), *known]
            yield f"{able.index(target) + 1}. {name}: {', '.join(told)}"
    if not able:
        yield f"The answer is 400 {'stream' if stream else 'endpoint'}_not_supported."


def unable(target, endpoint, stream):
    """Say why a target cannot take a call; nothing if it can."""
    if not speaks(target.upstream, endpoint):
        return f"does not speak {endpoint}"
    return "cannot stream" if stream and not target.upstream.streams else ""


def translated(target, endpoint):
    """Return what says that a call reaches a target in the words of another endpoint."""
    return [] if endpoint in target.upstream.endpoints else ["translated to chat"]


def rank(target, able):
    """Say what decides a target's place."""
    equals = [other for other in able if other.priority == target.priority]
    if len(equals) == 1:
        return f"priority {target.priority}"
    share = target.weight / (sum(other.weight for other in equals) or 1)
    return f"priority {target.priority} with {share:.0%} of the conversations"


def origin(target, router, model):
    """Return what says which fallback brings a target in, if it is not the model's own."""
    route = router.catalogue.find(model)
    for other in (route, *router.fallbacks(route)):
        if any((t.upstream, t.model) == (target.upstream, target.model) for t in other.targets):
            return [] if other is route else [f"fallback {other.model}"]
    return []


def unlisted(router, model):
    """Return the fallbacks that no upstream offers."""
    route = router.catalogue.find(model)
    found = {other.model for other in router.fallbacks(route)}
    return [name for name in route.fallbacks if name not in found]
