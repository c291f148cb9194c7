"""What commands say of keys: in JSON, in a table, one alone, and of one that is not there."""

import sys
import time
from decimal import Decimal

from gateway.cli import fail
from gateway.prices import usd

FIELDS = (
    "id", "name", "state", "created_at", "expires_at", "revoked_at", "old_until", "models",
    "endpoints", "rpm", "tpm", "concurrency", "budget", "period", "metadata",
)  # fmt: skip


def as_json(key, now):
    """Return what JSON says of a key: times in unix seconds, the budget in USD."""
    found = {name: getattr(key, name) for name in FIELDS if name != "state"}
    budget = key.budget and Decimal(key.budget).scaleb(-9)
    found["budget"] = budget and (int(budget) if budget == int(budget) else float(budget))
    return {name: found.get(name, key.state(now)) for name in FIELDS}


def table(found, now):
    """Print keys in a table, one to a line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False)
    made.add_column("id", min_width=16)
    made.add_column("name", min_width=8, overflow="fold")
    for title in ("state", "models", "limits", "created", "ends"):
        made.add_column(title, overflow="fold")
    for key in found:
        ends = moment(key.revoked_at or key.expires_at)
        values = [key.name, key.state(now), uses(key), limits(key), moment(key.created_at), ends]
        # Texts, because a name may hold brackets, which mean colours to rich.
        made.add_row(key.id, *map(Text, values))
    # Whatever reads a pipe has no width, and wants a key to a line.
    width = None if sys.stdout.isatty() else 10_000
    Console(highlight=False, width=width).print(made)


def alone(key, now):
    """Yield lines that say all there is to know of a key."""
    told = {
        "id": key.id,
        "name": key.name,
        "state": key.state(now),
        "created": moment(key.created_at),
        "expires": moment(key.expires_at) or "never",
        "revoked": moment(key.revoked_at),
        "old secret": key.old_until and key.old_until > now and f"until {moment(key.old_until)}",
        "models": ", ".join(key.models or ["all"]),
        "endpoints": ", ".join(key.endpoints or ["all"]),
        "limits": limits(key) or "none",
        "metadata": ", ".join(f"{name}={value}" for name, value in key.metadata.items()),
    }
    for label, value in told.items():
        if value:
            yield f"{label:10}  {value}"


def uses(key):
    """Say shortly which models and endpoints a key may use; nothing if it may use all."""
    models = ", ".join(key.models or ())
    endpoints = f"only {', '.join(key.endpoints)}" if key.endpoints else ""
    return "; ".join(filter(None, [models, endpoints]))


def limits(key):
    """Say shortly how much a key may use; nothing if there is no limit."""
    counts = {"rpm": key.rpm, "tpm": key.tpm, "at once": key.concurrency}
    told = [f"{count:,} {name}" for name, count in counts.items() if count is not None]
    if key.budget is not None:
        told.append(
            f"{usd(key.budget)} USD {'in total' if key.period == 'total' else f'a {key.period}'}"
        )
    return ", ".join(told)


def unknown(id):
    """End the command because no key has this public id."""
    fail(f"There is no key {id}. The command gateway keys list shows the ids.")


def moment(seconds):
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else ""
