"""The database: transactions that leave the gevent hub free, and the migrations.

Whatever means "the database is away" leaves this module as errors.DependencyUnavailable.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import sys
import threading
from functools import partial

import sqlalchemy as sa

from gateway import engines
from gateway.errors import DependencyUnavailable

log = logging.getLogger("gateway")

PATIENCE = 8  # seconds that a greenlet waits for its transaction, the queue before it included
MIGRATION_LOCK = 0x6B6C6E74  # any number will do that nobody else locks in the same database
# A connection that is closed on a full disk can be opened no more, not even for reading.
STILL_READS = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}
UNPREPARED = {"42P01", "42501"}  # no such table, no right to it: a database without its migrations


class Database:
    """Run functions in transactions without ever holding up the gevent hub.

    A function gets an SQLAlchemy connection and may run in a native thread: it uses nothing but
    that connection, and returns plain data, no open result. The engine is made at first use and
    again after a fork. A SQLite file has to exist: `upgrade` makes it.
    """

    def __init__(self, url):
        self.url = engines.parse(url)
        self._lock = threading.Lock()
        self._session = None
        self._inherited = []
        self._away = set()

    def read(self, fn):
        """Return `fn(connection)`, run in a transaction that only reads."""
        return self._run(False, fn)

    def write(self, fn):
        """Return `fn(connection)`, run in a transaction that may write; SQLite has one at a time.

        After DependencyUnavailable the write may have happened all the same.
        """
        return self._run(True, fn)

    @property
    def takes_writes(self):
        """Tell whether it did when last asked to, which some sweep does every few seconds."""
        return True not in self._away

    def close(self):
        """Close this process's connections; the next use opens new ones."""
        with self._lock:
            session, self._session = self._session, None
            if session and session.pid != os.getpid():
                self._inherited.append(session)
                return
        if session:
            session.close()

    def _run(self, writing, fn):
        session = self._current()
        try:
            found = session.run(partial(_transact, session.engine, writing, fn))
        except Exception as exc:
            if not _means_away(exc):
                raise
            self._note_away(writing, exc)
            raise DependencyUnavailable() from exc
        self._note_back(writing)
        return found

    def _current(self):
        session = self._session
        if session and session.pid == os.getpid():
            return session
        with self._lock:
            if self._session is None or self._session.pid != os.getpid():
                # What a parent process opened is kept, never used and never closed here:
                # closing would end the parent's own connections and release its locks.
                self._inherited.append(self._session)
                self._session = _session(self.url)
            return self._session

    def _note_away(self, writing, exc):
        """Log the beginning alone, or an outage would write a line for every request."""
        if writing not in self._away:
            self._away.add(writing)
            log.warning("the database is away%s: %s", " for writing" * writing, reason(exc))

    def _note_back(self, writing):
        if writing in self._away:
            self._away.discard(writing)
            log.warning("the database is back%s", " for writing" * writing)


class _Session:
    """One process's engine, used from the caller's own thread."""

    def __init__(self, engine):
        self.pid = os.getpid()
        self.engine = engine

    def run(self, work):
        return work()

    def close(self):
        self.engine.dispose()


class _Patient(_Session):
    """PostgreSQL under gevent: waits cooperatively, but not for ever for a silent server."""

    def run(self, work):
        with _patience():
            return work()


class _Aside(_Session):
    """SQLite under gevent: all of it happens in a single native thread, so that the hub stays free.

    SQLAlchemy's locks are gevent's then, and made for greenlets of one thread. Here nobody but the
    one native thread ever takes them.
    """

    def __init__(self, engine):
        from gevent.threadpool import ThreadPool

        super().__init__(engine)
        self._thread = ThreadPool(1)

    def run(self, work):
        with _patience():
            found, error = self._thread.apply(_outcome, (work,))
        if error is not None:
            raise error
        return found

    def close(self):
        self.run(self.engine.dispose)
        self._thread.kill()


def _outcome(work):
    """Hand an exception over as a value: one that leaves a native thread is printed by gevent."""
    try:
        return work(), None
    except BaseException as exc:
        return None, exc


@contextlib.contextmanager
def _patience():
    import gevent

    timer = gevent.Timeout.start_new(PATIENCE)
    try:
        yield
    except BaseException as exc:
        # The way out of a driver that was interrupted may fail for reasons of its own.
        if timer.pending or not (exc is timer or isinstance(exc, Exception)):
            raise
        raise TimeoutError(f"no answer within {PATIENCE} seconds") from exc
    finally:
        timer.close()


def _session(url):
    monkey = sys.modules.get("gevent.monkey")
    if not (monkey and monkey.is_module_patched("threading")):
        return _Session(engines.build(url))
    return (_Aside if engines.is_sqlite(url) else _Patient)(engines.build(url))


def _transact(engine, writing, fn):
    with engine.connect() as connection:
        connection.execution_options(writing=writing)
        try:
            with connection.begin():
                return fn(connection)
        except sa.exc.DBAPIError as exc:
            if _means_away(exc) and _sqlite_code(exc) not in STILL_READS:
                connection.invalidate(exc)
            raise


def _sqlite_code(exc):
    return getattr(exc.orig, "sqlite_errorcode", None)


def _means_away(exc):
    """Tell a database that cannot answer now from a statement that is wrong or refused."""
    if not isinstance(exc, sa.exc.DBAPIError):
        return isinstance(exc, (sa.exc.TimeoutError, TimeoutError))
    return (
        exc.connection_invalidated
        or isinstance(exc, (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError))
        or type(exc) is sa.exc.DatabaseError  # SQLite's for a file that is no database
        or getattr(exc.orig, "sqlstate", None) in UNPREPARED
    )


def reason(exc):
    """Say in a line what a driver complained of, without the statement or its parameters."""
    lines = str(getattr(exc, "orig", None) or exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__


def upgrade(url):
    """Bring the tables up to date, by any number of processes at once; make a missing SQLite file.

    Raise SetupError for what the operator has to put right, DependencyUnavailable for the rest.
    """
    url = engines.parse(url)
    try:
        with _alone(url), contextlib.closing(_Session(engines.build(url))) as session:
            _transact(session.engine, True, _migrate)
    except OSError as exc:
        raise engines.SetupError(
            f"The database's folder cannot be used: {exc.filename}: {exc.strerror}."
        ) from exc
    except sa.exc.DBAPIError as exc:
        if _means_away(exc):
            raise DependencyUnavailable() from exc
        raise engines.SetupError(f"The database refused: {reason(exc)}.") from exc


@contextlib.contextmanager
def _alone(url):
    """Hold a lock on a SQLite file's folder; for PostgreSQL the transaction itself takes one.

    SQLite's busy_timeout does not cover the change to WAL mode, and closing a handle on the file
    itself would drop SQLite's own locks on it.
    """
    if not engines.is_sqlite(url):
        yield
        return
    path = os.path.abspath(url.database)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _make_file(path)
        yield
    finally:
        os.close(folder)


def _make_file(path):
    # SQLite gives its -wal and -shm files the mode of this one.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _version(connection):
    """Return the last migration that a database has had, or None."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))


def migration(connection):
    """Return the last migration that a database has had, or None, and the last one there is."""
    return _version(connection), _newest()


def _newest():
    """Return the last migration there is; their files are numbered."""
    folder = os.path.join(os.path.dirname(__file__), "migrations", "versions")
    return max(name for name in os.listdir(folder) if name[:4].isdigit())[:4]


def _migrate(connection):
    # Alembic takes a third of a second to import, and only a database that is behind needs it.
    if _version(connection) == _newest():
        return
    from alembic import command, config, util

    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    settings = config.Config(attributes={"connection": connection})
    settings.set_main_option("script_location", "gateway:migrations")
    try:
        command.upgrade(settings, "head")
    except util.CommandError as exc:
        raise engines.SetupError(
            f"The database is not one that this version of the gateway knows: {exc}."
        ) from exc
