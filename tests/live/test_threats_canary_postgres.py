"""The same over PostgreSQL: what was said is in three tables for its time, and a key in none."""

import contextlib
import itertools
import uuid

import pytest
import sqlalchemy as sa

from gateway.database import Database, upgrade
from gateway.keys import KeyStore
from tests.live.site import Site
from tests.live.trail import CANARY, COMMAND, KEEPING, UPSTREAM_KEY, WRONG, Trail, doctored, sweep
from tests.live.twice import wait_for
from tests.serving import KEY, Gateway, write_config
from tests.test_postgres import SERVER, server  # noqa: F401
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live


@contextlib.contextmanager
def schema_url(engine):
    """Give the URL of a schema of our own."""
    schema = f"gateway_{uuid.uuid4().hex}"
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    found = sa.make_url(SERVER).update_query_dict({"options": f"-csearch_path={schema}"})
    yield found.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))


def told(database):
    """Return all that each table holds, as bytes."""

    def look(connection):
        schema = connection.scalar(sa.text("select current_schema()"))
        return {
            name: b"\n".join(map(written, itertools.chain(*rows(connection, name))))
            for name in sa.inspect(connection).get_table_names(schema)
        }

    return database.read(look)


def rows(connection, name):
    return connection.execute(sa.select("*").select_from(sa.table(name))).all()


def written(value):
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()


@pytest.fixture(scope="module")
def trail(tmp_path_factory, server):  # noqa: F811
    folder = tmp_path_factory.mktemp("canary")
    with schema_url(server) as url, ScriptedUpstream() as upstream:
        upgrade(url)
        path = write_config(folder, upstream.url, more="[retry]\nattempts = 0\n")
        with contextlib.closing(Database(url)) as database:
            _, secret = KeyStore(database).create("limited", rpm=10_000, tpm=10_000_000)
            environ = {"GATEWAY_DATABASE_URL": url}
            with Gateway(path, command=COMMAND, environ=environ) as gateway:
                made = Trail(Site(gateway, upstream), secret)
                made.errors = list(made.refused())
                made.fine()
                made.zero()
                made.later()
                made.broken()
                made.printed = doctored(made.site)
                gateway.wait_lines(1, end="cancelled")
                id = made.zero_code.headers["x-request-id"]
                made.code = wait_for(lambda: code(database, id))
            made.database, made.log = database, gateway.log_path.read_bytes()
            yield made


def code(database, request_id):
    query = sa.text("select code from usage where request_id = :id")
    return database.read(lambda c: c.scalar(query, {"id": request_id}))


def test_what_was_said_is_in_three_tables_alone_and_a_key_in_none(trail):
    found = told(trail.database)
    assert {name for name, data in found.items() if CANARY in data} == KEEPING
    assert {"keys", "usage", "usage_totals", "idempotency"} <= set(found)
    for name, data in found.items():
        for secret in (trail.secret.encode(), KEY.encode(), WRONG.encode(), UPSTREAM_KEY):
            assert secret not in data, name


def test_logs_and_commands_hold_no_key_and_no_word_that_was_said(trail):
    for found in (trail.log, trail.printed):
        for secret in (CANARY, trail.secret.encode(), KEY.encode(), UPSTREAM_KEY):
            assert secret not in found, found[found.index(secret) - 300 :][:600]


def test_code_of_an_upstream_that_postgresql_cannot_hold_loses_no_usage(trail):
    assert trail.zero_code.json["error"]["message"] == "no"
    assert "zero" not in trail.code and trail.code


def test_what_was_said_is_gone_after_its_time(trail):
    """Comes last: the rows are what the others look at."""
    # PostgreSQL tells the time of jobs itself.
    past = sa.text("update jobs set expires_at = expires_at - 3 * 86400")
    trail.database.write(lambda c: c.execute(past) and None)
    sweep(trail.database)
    found = told(trail.database)
    assert {name for name, data in found.items() if CANARY in data} == set()
    assert found["usage"]
