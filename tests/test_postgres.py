"""The database and the keys over PostgreSQL, where there is one to test with."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.database import Database, upgrade
from gateway.errors import DependencyUnavailable, InvalidKey
from gateway.keys import KeyStore
from gateway.tables import keys
from tests.test_database import migrate_at_once

ROOT = Path(__file__).parents[1]
SERVER = os.environ.get(
    "TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test?connect_timeout=2"
)
START = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent, sqlalchemy as sa
from gateway import database as module
from gateway.errors import DependencyUnavailable

database = module.Database(sys.argv[1])
one = lambda connection: connection.scalar(sa.text("select 1"))
nap = lambda connection: connection.execute(sa.text("select pg_sleep(0.4)")) and None
began = time.monotonic()
"""


@pytest.fixture(scope="module")
def server():
    try:
        engine = sa.create_engine(SERVER)
        engine.connect().close()
    except (ImportError, sa.exc.OperationalError) as exc:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"There is no PostgreSQL to test with: {exc}")
    yield engine
    engine.dispose()


@pytest.fixture
def url(server):
    schema = f"gateway_{uuid.uuid4().hex}"
    with server.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    found = sa.make_url(SERVER).update_query_dict({"options": f"-csearch_path={schema}"})
    yield found.render_as_string(hide_password=False)
    with server.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))


@pytest.fixture
def database(url):
    upgrade(url)
    found = Database(url)
    yield found
    found.close()


def patched(url, script):
    command = [sys.executable, "-W", "ignore", "-c", START + script, url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def one(connection):
    return connection.scalar(sa.text("select 1"))


def test_processes_that_start_at_once_migrate_once(url):
    assert migrate_at_once(url) == [(0, b"")] * 4
    upgrade(url)


def test_keys_are_made_seen_and_revoked(database):
    store, other = KeyStore(database), KeyStore(database)
    other.refresh()
    key, secret = store.create("mine")
    assert other.verify(secret) == key == store.list()[0]

    assert store.revoke(key.id) and not store.revoke(key.id)

    other.refresh()
    with pytest.raises(InvalidKey):
        other.verify(secret)


def test_no_refresh_passes_over_a_key_that_is_committed_late(database):
    store, other, done = KeyStore(database), KeyStore(database), threading.Event()

    def work():
        for _ in range(20):
            store.create("x")

    def watch():
        while not done.is_set():
            other.refresh()

    writers = [threading.Thread(target=work) for _ in range(4)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    watcher.join()

    other.refresh()
    revisions = database.read(lambda c: c.scalars(sa.select(keys.c.revision)).all())
    assert sorted(revisions) == list(range(1, 81))
    assert len(other._known.secrets) == 80


def test_database_without_its_tables_is_an_outage(url):
    database = Database(url)

    with pytest.raises(DependencyUnavailable):
        KeyStore(database).refresh()
    database.close()


def test_connection_that_the_server_ended_is_replaced(database, server):
    pid = database.read(lambda c: c.scalar(sa.text("select pg_backend_pid()")))
    with server.begin() as connection:
        connection.execute(sa.text("select pg_terminate_backend(:pid)"), {"pid": pid})

    assert database.read(one) == 1


@pytest.mark.parametrize("listening", [True, False], ids=["silent", "refusing"])
def test_server_that_does_not_answer_is_an_outage_within_seconds(server, listening):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listening:
            listener.listen()
        port = listener.getsockname()[1]
        database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{port}/test")
        began = time.monotonic()

        with pytest.raises(DependencyUnavailable):
            database.read(one)

        assert time.monotonic() - began < 4
        database.close()


def test_waiting_for_the_server_leaves_the_hub_free(database):
    patched(
        database.url.render_as_string(hide_password=False),
        """
jobs = [gevent.spawn(database.read, nap) for _ in range(4)]
gevent.joinall(jobs, raise_error=True)
assert time.monotonic() - began < 1.5
""",
    )


def test_killed_greenlets_leave_the_pool_usable(database):
    patched(
        database.url.render_as_string(hide_password=False),
        """
for _ in range(3):
    jobs = [gevent.spawn(database.write, nap) for _ in range(20)]
    gevent.sleep(0.3)
    gevent.killall(jobs)
jobs = [gevent.spawn(database.read, one) for _ in range(40)]
assert [job.get() for job in jobs] == [1] * 40
""",
    )


def test_server_that_falls_silent_is_an_outage_that_ends(database):
    patched(
        database.url.render_as_string(hide_password=False),
        """
import logging
logging.disable()
assert database.read(one) == 1
module.PATIENCE = 0.1
try:
    database.read(nap)
except DependencyUnavailable as exc:
    assert isinstance(exc.__cause__, TimeoutError)
else:
    raise AssertionError
module.PATIENCE = 8
assert database.read(one) == 1
""",
    )
