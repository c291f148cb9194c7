import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import autogenerate, migration

from gateway import engines, tables
from gateway.database import Database, upgrade
from gateway.errors import DependencyUnavailable

ROOT = Path(__file__).parents[1]
# Every process waits with all imports done, so that they start as much at once as they can.
MIGRATE = """
import sys, alembic.command
from gateway.database import upgrade
print("ready", flush=True)
sys.stdin.readline()
upgrade(sys.argv[1])
"""
ROW = {"name": "n", "hash": "h", "created_at": 0.0, "revision": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "gateway.db"


@pytest.fixture
def database(path):
    upgrade(f"sqlite:///{path}")
    found = Database(f"sqlite:///{path}")
    yield found
    found.close()


def insert(connection, id="a"):
    connection.execute(tables.keys.insert().values(id=id, **(ROW | {"hash": id})))


def count(connection):
    return connection.execute(sa.select(sa.func.count(tables.keys.c.id))).scalar()


def run(*statements):
    """Return a function for `read` or `write` that executes SQL."""

    def work(connection):
        for statement in statements:
            connection.exec_driver_sql(statement)

    return work


def migrate_at_once(url):
    """Return exit code and standard error of four processes."""
    command = [sys.executable, "-c", MIGRATE, url]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    running = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(4)]
    for process in running:
        assert process.stdout.readline() == b"ready\n"
    for process in running:
        process.stdin.write(b"\n")
        process.stdin.flush()
    complaints = [process.communicate(timeout=60)[1] for process in running]
    return [(process.returncode, said) for process, said in zip(running, complaints, strict=True)]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_their_owner_alone(database, path):
    database.write(insert)

    found = {file.name: mode(file) for file in path.parent.iterdir()}
    assert found == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}
    assert mode(path.parent) == 0o700


def test_processes_that_start_at_once_migrate_once(path):
    assert migrate_at_once(f"sqlite:///{path}") == [(0, b"")] * 4
    with sqlite3.connect(path) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [
            ("0007",)
        ]
    connection.close()


def test_upgrading_again_changes_nothing_and_says_nothing(database, capfd):
    database.write(insert)

    upgrade(database.url)

    assert database.read(count) == 1
    assert capfd.readouterr() == ("", "")


def test_migrations_make_the_tables_that_the_code_describes(database):
    def differences(connection):
        context = migration.MigrationContext.configure(connection)
        return autogenerate.compare_metadata(context, tables.metadata)

    assert database.read(differences) == []


def test_database_of_a_newer_version_is_refused_in_a_sentence(database):
    database.write(run("update alembic_version set version_num = '9999'"))

    with pytest.raises(engines.SetupError, match="not one that this version .* knows"):
        upgrade(database.url)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "", "mysql://u:hush@h/d", "postgresql://u:hush@h:port/d", "sqlite://"],
)
def test_wrong_address_is_refused_without_repeating_its_password(url):
    with pytest.raises(engines.SetupError) as caught:
        Database(url)

    assert "database_url" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_folder_that_cannot_be_made_is_a_setup_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(engines.SetupError, match="folder cannot be used"):
        upgrade(f"sqlite:///{tmp_path}/file/gateway.db")


def test_transaction_is_undone_by_an_exception(database):
    def fail(connection):
        insert(connection)
        raise KeyError("x")

    with pytest.raises(KeyError):
        database.write(fail)
    assert database.read(count) == 0


def test_writers_that_read_first_never_lock_each_other_out(database):
    database.write(insert)

    def increment(connection):
        revision = connection.execute(sa.select(tables.keys.c.revision)).scalar()
        connection.execute(tables.keys.update().values(revision=revision + 1))

    def work():
        for _ in range(50):
            database.write(increment)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read(lambda c: c.execute(sa.select(tables.keys.c.revision)).scalar()) == 201


def test_statement_that_the_database_refuses_is_no_outage(database):
    database.write(insert)

    with pytest.raises(sa.exc.IntegrityError):
        database.write(insert)


def delete(path):
    path.unlink()


def spoil(path):
    for file in path.parent.iterdir():
        file.unlink()
    path.write_bytes(b"no database" * 1000)


def empty(path):
    for file in path.parent.iterdir():
        file.unlink()
    path.touch()


@pytest.mark.parametrize("harm", [delete, spoil, empty])
@pytest.mark.parametrize("way", ["read", "write"])
def test_harmed_file_is_an_outage_that_ends_when_it_is_back(database, path, harm, way, tmp_path):
    database.write(insert)
    database.close()
    kept = tmp_path / "kept"
    kept.write_bytes(path.read_bytes())
    database.read(count)
    harm(path)

    with pytest.raises(DependencyUnavailable):
        getattr(database, way)(count)
    assert path.exists() is (harm is not delete)

    os.replace(kept, path)
    assert getattr(database, way)(count) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        [
            "PRAGMA query_only = on",
            "insert into keys (id, name, hash, created_at, revision) values ('b', 'n', 'b', 0, 2)",
        ],
        ["PRAGMA max_page_count = 1", "create table big as select randomblob(100000) as x"],
    ],
    ids=["read-only", "full"],
)
def test_file_that_takes_no_more_is_an_outage_of_writing(database, trouble):
    with pytest.raises(DependencyUnavailable) as caught:
        database.write(run(*trouble))

    assert isinstance(caught.value.__cause__, sa.exc.OperationalError)
    database.write(insert)


def test_full_disk_keeps_the_connection_that_reads(database):
    which = lambda connection: id(connection.connection.dbapi_connection)  # noqa: E731
    before = database.read(which)
    assert database.takes_writes
    with pytest.raises(DependencyUnavailable):
        database.write(
            run("PRAGMA max_page_count = 1", "create table big as select randomblob(99999) as x")
        )

    assert not database.takes_writes
    assert database.read(which) == before
    database.read(run("PRAGMA max_page_count = 1000000"))
    database.write(insert)
    assert database.takes_writes


def test_lock_that_another_process_keeps_is_an_outage_of_writing(database, path):
    database.read(run("PRAGMA busy_timeout = 20"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DependencyUnavailable):
        database.write(insert)
    assert database.read(count) == 0
    other.close()
    database.write(insert)


def test_outage_is_logged_once_and_so_is_its_end(database, path, caplog):
    database.read(count)
    path.rename(path.with_suffix(".away"))
    for _ in range(3):
        for way in (database.read, database.write):
            with pytest.raises(DependencyUnavailable):
                way(count)
    path.with_suffix(".away").rename(path)
    database.read(count)

    assert caplog.messages == [
        "the database is away: unable to open database file",
        "the database is away for writing: unable to open database file",
        "the database is back",
    ]


def test_child_process_has_connections_of_its_own(database):
    seen = database.read(lambda connection: id(connection.connection.dbapi_connection))

    child = os.fork()
    if child == 0:
        other = database.read(lambda connection: id(connection.connection.dbapi_connection))
        database.write(insert)
        os._exit(7 if other != seen else 8)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert database.read(count) == 1


def test_closed_database_opens_again_when_it_is_used(database):
    database.write(insert)
    database.close()
    database.close()

    assert database.read(count) == 1
