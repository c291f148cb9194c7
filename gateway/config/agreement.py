"""Checks that need more than one setting: names that must be known or differ, a clash of binds."""

from gateway.config.addresses import clash
from gateway.config.mistakes import meant


def check(found, at, local=False):
    """Report where tables don't agree with each other. What is None in them was reported before.

    `local` says that the local model will be the only upstream.
    """
    upstreams = [upstream for upstream in found.upstreams or () if upstream]
    models = [model for model in found.models or () if model]
    check_binds(found.server, at.into("server"))
    check_unique(found.upstreams, "name", at.into("upstream"))
    check_unique(found.models, "id", at.into("model"))
    if not local:
        check_offer(found, at)
    for index, model in enumerate(found.models or ()):
        if model:
            place = at.into("model").into(index)
            check_targets(model, upstreams, place.into("upstreams"))
            check_fallbacks(model, models, upstreams, place.into("fallbacks"))


def check_binds(server, at):
    if server and server.bind and server.ops_bind and clash(server.bind, server.ops_bind):
        key, other = ("ops_bind", "bind") if at.into("ops_bind").given else ("bind", "ops_bind")
        at.into(key).wrong(f"is the same address as {other}: the two listeners need one each")


def check_unique(tables, key, at):
    first = {}
    for index, table in enumerate(tables or ()):
        name = table and getattr(table, key)
        if name and first.setdefault(name, index) != index:
            line = at.report.line(at.into(first[name]).into(key).path)
            at.into(index).into(key).wrong(f"is taken already, in line {line}")


def check_offer(found, at):
    """Report a file that leaves the gateway with nothing to offer."""
    if found.upstreams is not None and not found.upstreams:
        at.into("upstream").wrong("is missing: at least one [[upstream]] is needed")
    elif found.upstreams and found.models is not None and not found.models:
        if not any(upstream is None or upstream.discover for upstream in found.upstreams):
            at.into("model").wrong("is missing: no [[model]], and no upstream has discover = true")


def check_targets(model, upstreams, at):
    if model.targets == ():
        at.wrong('must name at least one upstream: [{ name = "…" }]')
    names = [upstream.name for upstream in upstreams]
    for index, target in enumerate(model.targets or ()):
        place = at.into(index)
        # With no upstreams, or a name that was refused, there is nothing to hold this one against.
        if target and target.upstream is not None and names and None not in names:
            if target.upstream not in names:
                place.into("name").wrong(
                    f"no upstream has this name{meant(target.upstream, names)}"
                )
        if target and (target.model or "").endswith("*") and not (model.id or "*").endswith("*"):
            place.into("model").wrong('may end in "*" only if the id does')


def check_fallbacks(model, models, upstreams, at):
    ids = [other.id for other in models]
    # An upstream that discovers may offer any model, which is known only once it has been asked.
    closed = None not in ids and not any(upstream.discover for upstream in upstreams)
    for index, fallback in enumerate(model.fallbacks or ()):
        place = at.into(index)
        if fallback is None:
            continue
        if fallback == model.id:
            place.wrong("a model can't fall back to itself")
        elif fallback in model.fallbacks[:index]:
            place.wrong("is named twice")
        elif fallback.endswith("*"):
            place.wrong("must be a single model, not a wildcard")
        elif closed and not any(other.matches(fallback) for other in models):
            place.wrong(f"no model has this id{meant(fallback, ids)}")
