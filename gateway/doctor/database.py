"""The database: reachable, migrated, its file for nobody else, its clock ours."""

import contextlib
import pathlib
import time

import sqlalchemy as sa

from gateway import engines
from gateway.database import Database, migration, reason
from gateway.doctor.finding import OK, PROBLEM, WARNING, Finding, judge
from gateway.doctor.machine import places
from gateway.errors import DependencyUnavailable

APART = 5  # seconds between two clocks that leases and budgets still bear
NAME = "database"
UPGRADE = "run `gateway db upgrade`, or start the gateway, which does so itself."


def check(settings):
    try:
        url = engines.parse(settings.server.database_url)
        sqlite = engines.is_sqlite(url)
        if sqlite:
            yield from file(pathlib.Path(url.database))
        with contextlib.closing(Database(settings.server.database_url)) as found:
            yield from asked(found, sqlite)
    except engines.SetupError as exc:
        yield Finding(PROBLEM, NAME, str(exc))
    except DependencyUnavailable as exc:
        yield Finding(PROBLEM, NAME, f"It does not answer: {reason(exc.__cause__ or exc)}.")


def file(path):
    if not path.exists():
        yield Finding(WARNING, NAME, f"{path} is not there yet: {UPGRADE}")
        return
    mode = path.stat().st_mode & 0o777
    wrong = f"{path} is open to other accounts (mode {mode:o}): chmod 600 {path}*."
    yield judge(not mode & 0o077, NAME, f"{path} has mode {mode:o}.", wrong, WARNING)
    yield from places(NAME, path)


def asked(database, sqlite):
    if sqlite and not pathlib.Path(database.url.database).exists():
        return
    began = time.monotonic()
    had, newest = database.read(migration)
    took = (time.monotonic() - began) * 1000
    yield Finding(OK, NAME, f"It answers ({took:.0f} ms).")
    wrong = f"It is at migration {had or 'none'}, not {newest}: {UPGRADE}"
    yield judge(had == newest, NAME, f"It is up to date (migration {newest}).", wrong)
    if sqlite:
        mode = database.read(lambda c: c.scalar(sa.text("PRAGMA journal_mode")))
        wrong = f"journal_mode is {mode}, not wal: readers would wait for writers."
        yield judge(mode == "wal", NAME, "journal_mode is wal.", wrong)
    else:
        there = database.read(lambda c: c.scalar(sa.text("SELECT extract(epoch from now())")))
        apart = abs(float(there) - time.time())
        wrong = f"Its clock and ours are {apart:.0f} s apart: run an NTP client on both."
        yield judge(apart <= APART, NAME, "Its clock and ours agree.", wrong, WARNING)
