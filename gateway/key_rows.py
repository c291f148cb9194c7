"""How keys stand in their table: columns from a key's fields, and back."""

import json
from typing import NamedTuple

import sqlalchemy as sa

from gateway.key import Key
from gateway.tables import keys

NAME = 100  # most characters of a key's name
PAIRS, PAIR_NAME, PAIR_VALUE = 16, 64, 512  # most metadata of a key, as OpenAI bounds it
AS_JSON = {"models", "endpoints", "metadata"}

SUMMARY = sa.select(sa.func.coalesce(sa.func.max(keys.c.revision), -1), sa.func.count(keys.c.id))
ALL = sa.select(keys).order_by(keys.c.created_at, keys.c.id)
ONE = sa.select(keys).where(keys.c.id == sa.bindparam("public"))
NEWER = sa.select(keys).where(keys.c.revision > sa.bindparam("seen"))
CHANGE = sa.update(keys).where(keys.c.id == sa.bindparam("public"))
TOP = sa.select(sa.func.max(keys.c.revision))
# SQLite has a single writer anyway. Readers of the table are not held up by this lock.
LOCK = sa.text("LOCK TABLE keys IN EXCLUSIVE MODE")


class Entry(NamedTuple):
    """A row as a process remembers it.

    `secrets` maps each hash to (Key, the unix second at which it stops working, or None).
    """

    id: str
    revision: int
    secrets: dict


def entry(row):
    """Return what to remember of a row."""
    key = key_of(row)
    ends = {**old_hashes(row), row.hash: None}
    last = 0 if key.revoked_at is not None else key.expires_at
    return Entry(row.id, row.revision, {h: (key, sooner(last, end)) for h, end in ends.items()})


def key_of(row):
    """Return a row's Key."""
    return Key(
        "key_" + row.id,
        row.name,
        row.created_at,
        row.revoked_at,
        row.expires_at,
        row.models and tuple(json.loads(row.models)),
        row.endpoints and tuple(json.loads(row.endpoints)),
        row.rpm,
        row.tpm,
        row.concurrency,
        row.budget,
        row.period,
        json.loads(row.metadata or "{}"),
        max(old_hashes(row).values(), default=None),
    )


def columns(fields):
    """Return a Key's fields as columns. Raises ValueError, a sentence about the one to blame."""
    found = {name: fields[name] for name in fields.keys() - AS_JSON}
    for name in fields.keys() & AS_JSON:
        found[name] = json.dumps(fields[name]) if fields[name] else None
    check_name(fields.get("name", "-"))
    check_metadata(fields.get("metadata") or {})
    return found


def check_name(name):
    if not (0 < len(name) <= NAME and name.isprintable() and name.strip()):
        raise ValueError(f"A key's name has 1 to {NAME} printable characters.")


def check_metadata(pairs):
    if len(pairs) > PAIRS:
        raise ValueError(f"A key's metadata has at most {PAIRS} pairs, not {len(pairs)}.")
    for name, value in pairs.items():
        if not (0 < len(name) <= PAIR_NAME and name.isprintable()):
            raise ValueError(f"A name in metadata has 1 to {PAIR_NAME} printable characters.")
        if not (len(value) <= PAIR_VALUE and value.isprintable()):
            raise ValueError(f"A value in metadata has at most {PAIR_VALUE} printable characters.")


def replaced(row, now, grace):
    """Return the column of old hashes when a row's secret is replaced.

    All that worked until now go on for `grace` seconds at most.
    """
    older = {hash: end for hash, end in old_hashes(row).items() if end > now}
    ends = {hash: min(end, now + grace) for hash, end in {**older, row.hash: now + grace}.items()}
    return json.dumps(ends) if grace > 0 else None


def old_hashes(row):
    return json.loads(row.old_hashes or "{}")


def sooner(*ends):
    return min((end for end in ends if end is not None), default=None)


def next_revision(connection):
    """Return one more than any revision, while no other transaction can write keys."""
    if connection.dialect.name == "postgresql":
        connection.execute(LOCK)
    return (connection.execute(TOP).scalar() or 0) + 1
