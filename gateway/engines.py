"""From the URL of a database to an SQLAlchemy engine with the settings that each kind needs."""

import os
import sqlite3
from functools import partial
from urllib.parse import quote

import sqlalchemy as sa

# Seconds that SQLite waits for another process's write, and that PostgreSQL runs a statement.
BUSY = 5
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    f"busy_timeout={BUSY * 1000}",
    "foreign_keys=ON",
    "secure_delete=ON",  # what has run out leaves no bytes in the file
)


class SetupError(Exception):
    """The database cannot be used as it is set up; the message is a sentence for the operator."""


def parse(url):
    """Return SQLAlchemy's URL or raise SetupError, which never repeats a password."""
    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise SetupError(
            "database_url is no URL of a database. It looks like sqlite:///var/gateway.db "
            "or postgresql+psycopg://user@host/gateway."
        ) from None
    if found.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise SetupError(
            f"database_url names {found.drivername}: use sqlite or postgresql+psycopg."
        )
    if is_sqlite(found) and found.database in (None, "", ":memory:"):
        raise SetupError("database_url needs a file, as in sqlite:///var/gateway.db.")
    return found


def is_sqlite(url):
    """Tell whether a parsed URL names a SQLite file."""
    return url.get_backend_name() == "sqlite"


def build(url):
    """Return an engine for a parsed URL; nothing is opened yet."""
    return _sqlite_engine(url) if is_sqlite(url) else _postgresql_engine(url)


def _sqlite_engine(url):
    path = os.path.abspath(url.database)
    engine = sa.create_engine(
        url,
        creator=partial(_connect, path),
        poolclass=sa.QueuePool,
        pool_timeout=BUSY,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "checkout")
    def same_file(connection, record, proxy):
        """Leave a file that was deleted or replaced: what is written to it nobody sees."""
        if connection.file != _identity(path):
            raise sa.exc.DisconnectionError("the file was replaced")

    @sa.event.listens_for(engine, "begin")
    def begin(connection):
        """Lock first: who reads and then writes fails at once, whatever busy_timeout says."""
        reading = connection.get_execution_options().get("writing") is False
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


class _Connection(sqlite3.Connection):
    file = None


def _connect(path):
    """Open a file that exists: making an empty one would hide that the real one is gone."""
    file = _identity(path)
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=BUSY,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    connection.file = file
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _identity(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _postgresql_engine(url):
    # What the operator writes into the URL wins: options apply in their order.
    ours = {"connect_timeout": 2, "tcp_user_timeout": BUSY * 1000}
    arguments = {name: value for name, value in ours.items() if name not in url.query}
    options = url.query.get("options", "")
    arguments["options"] = f"-c statement_timeout={BUSY * 1000} {options}".strip()
    try:
        return sa.create_engine(
            url,
            connect_args=arguments,
            pool_size=8,
            max_overflow=8,
            pool_timeout=2,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError:
        raise SetupError(
            "PostgreSQL needs the driver psycopg: install klintero-gateway[postgres]."
        ) from None
