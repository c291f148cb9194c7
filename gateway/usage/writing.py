"""Rows into the database: each request's once, and into the sums of its hour with the same stroke.

A report over a million rows has to read sums: the rows alone take SQLite a second and more. Sums
that a background task made later would need a mark up to which they are true, and PostgreSQL
commits rows out of the order of their ids. So they are kept by the transaction that inserts.
"""

import itertools
import operator

import orjson
import sqlalchemy as sa

from gateway.tables import usage as table
from gateway.tables import usage_totals as totals

AT_ONCE = 100  # rows in one statement: SQLite takes 32,766 values, older ones fewer
# Plain strings: SQLAlchemy's names are of a kind of their own, which is no key of JSON's.
COLUMNS = tuple(str(column.name) for column in table.columns if column.name != "id")
COUNTS = tuple(column.name for column in totals.columns)[4:]  # what is summed up, but for requests
HOUR = 3600
LARGEST = 2**62  # of a sum, which stays there: a bigint holds no more than twice that

values = operator.itemgetter(*COLUMNS)


def listed(names, form='"{}"'):
    return ", ".join(form.format(name) for name in names)


INTO = f'INSERT INTO "usage" ({listed(COLUMNS)})'
ONCE = "ON CONFLICT (request_id) DO NOTHING"
ADD = f"""
INSERT INTO usage_totals (kind, name, hour, requests, {listed(COUNTS)})
SELECT kind, name, hour, count(*), {listed(COUNTS, "CAST(sum({}) AS BIGINT)")} FROM (
    SELECT 'key' AS kind, coalesce("key", '') AS name, %HOUR AS hour, {listed(COUNTS)} FROM %NEW
    UNION ALL
    SELECT 'model', coalesce(model, ''), %HOUR, {listed(COUNTS)} FROM %NEW
) AS found WHERE true GROUP BY kind, name, hour ORDER BY kind, name, hour
ON CONFLICT (kind, name, hour) DO UPDATE SET requests = usage_totals.requests + excluded.requests,
"""
# One null does not make a sum unknown.
ADD += listed(
    COUNTS,
    "{0} = coalesce("
    f"CASE WHEN usage_totals.{{0}} > {LARGEST} - excluded.{{0}} THEN {LARGEST} "
    "ELSE usage_totals.{0} + excluded.{0} END, "
    "usage_totals.{0}, excluded.{0})",
)
# SQLite has a single writer, so what this transaction inserts are the ids above the last.
SQLITE_LAST = 'SELECT coalesce(max(id), 0) FROM "usage"'
SQLITE_ADD = ADD.replace("%HOUR", f"CAST(created_at / {HOUR} AS INTEGER) * {HOUR}")
SQLITE_ADD = SQLITE_ADD.replace("%NEW", '"usage" WHERE id > ?')
# PostgreSQL takes a batch as one JSON text in one round trip. All lock the sums in one order.
POSTGRES_TYPES = {sa.Double: "double precision", sa.BigInteger: "bigint", sa.Integer: "integer"}
POSTGRES_COLUMNS = ", ".join(
    f'"{name}" {POSTGRES_TYPES.get(type(table.c[name].type), "text")}' for name in COLUMNS
)
POSTGRES = sa.text(
    f"""
    WITH new AS (
        {INTO} SELECT {listed(COLUMNS)}
        FROM json_to_recordset(CAST(:rows AS json)) AS given ({POSTGRES_COLUMNS})
        {ONCE} RETURNING *
    )
    """
    + ADD.replace("%HOUR", f"CAST(floor(created_at / {HOUR}) AS bigint) * {HOUR}").replace(
        "%NEW", "new"
    )
)


def insert(connection, rows):
    """Insert the rows of requests that have none yet, and add them to the sums.

    Rows are dicts with every column but the id, a few hundred of them. Other transactions that
    insert wait for what this one has added, so let it be the last statement.
    """
    if connection.dialect.name == "sqlite":
        last = connection.exec_driver_sql(SQLITE_LAST).scalar()
        for first in range(0, len(rows), AT_ONCE):
            insert_at_once(connection, rows[first : first + AT_ONCE])
        connection.exec_driver_sql(SQLITE_ADD, (last, last))
    else:
        connection.execute(POSTGRES, {"rows": written(rows)})


def insert_at_once(connection, rows):
    """Insert rows by one statement of SQLite's, with bare values.

    It lets go of the interpreter once a statement, and what serves requests meanwhile has to give
    it back: a statement a row would cost a request more than its row does.
    """
    places = ", ".join([f"({', '.join('?' * len(COLUMNS))})"] * len(rows))
    flat = tuple(itertools.chain.from_iterable(map(values, rows)))
    connection.exec_driver_sql(f"{INTO} VALUES {places} {ONCE}", flat)


def written(rows):
    """Return rows as JSON. Raises ValueError for what no database takes either."""
    try:
        return orjson.dumps(rows).decode()
    except orjson.JSONEncodeError as exc:
        raise ValueError("a row of usage is no JSON") from exc
