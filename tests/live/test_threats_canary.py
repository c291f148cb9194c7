"""Keys and prompts leave no trace where they have no business, whatever became of the call.

A prompt is kept in stored responses, jobs and recordings alone, and there only for its time; a key
nowhere. Every way to end is gone through first, and then every byte on disk is looked at.
"""

import contextlib
import sqlite3
import stat
import time

import pytest

from gateway.database import Database
from tests.live.limited import new_key
from tests.live.site import Site
from tests.live.trail import CANARY, COMMAND, KEEPING, UPSTREAM_KEY, WRONG, Trail, doctored, sweep
from tests.live.twice import wait_for
from tests.serving import KEY, Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live


def spooled(site, trail):
    """Make a call while the database can't be written, and return what is kept of it on disk."""
    folder = site.gateway.folder / "spool"
    with contextlib.closing(sqlite3.connect(site.gateway.folder / "gateway.db")) as database:
        database.execute("begin immediate")
        trail.ask("spooled", 200)
        found = wait_for(lambda: b"".join(f.read_bytes() for f in folder.glob("*.jsonl")), 20)
        database.rollback()
    return found


def told(folder):
    """Return what each table holds, as bytes."""
    with contextlib.closing(sqlite3.connect(folder / "gateway.db")) as database:
        names = "select name from sqlite_master where type = 'table'"
        tables = [name for (name,) in database.execute(names)]
        rows = {name: database.execute(f'select * from "{name}"').fetchall() for name in tables}
    return {
        name: b"\n".join(
            value if isinstance(value, bytes) else str(value).encode()
            for row in found
            for value in row
        )
        for name, found in rows.items()
    }


def files(folder):
    """Return the bytes of every file but the configuration, by name."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if path.name != "gateway.toml"
    }


def modes(folder):
    """Return the mode of each file and folder that the gateway has made, by name."""
    found = [path for path in folder.rglob("*") if path.suffix not in (".toml", ".log")]
    return {
        str(path.relative_to(folder)): (path.is_dir(), stat.S_IMODE(path.stat().st_mode))
        for path in found
    }


@pytest.fixture(scope="module")
def trail(tmp_path_factory):
    """Run every kind of call, and give what a test may look at when the gateway has ended."""
    folder = tmp_path_factory.mktemp("canary")
    with ScriptedUpstream() as upstream:
        path = write_config(folder, upstream.url, more="[retry]\nattempts = 0\n")
        with Gateway(path, command=COMMAND) as gateway:
            site = Site(gateway, upstream)
            _, secret = new_key(gateway, rpm=10_000, tpm=10_000_000)
            made = Trail(site, secret)
            made.errors = list(made.refused())
            made.fine()
            made.zero()
            made.later()
            made.broken()
            made.spool = spooled(site, made)
            made.modes = modes(folder)
            made.printed = doctored(site)
            made.metrics = "\n".join(gateway.metrics())
            made.alive = files(folder)
            gateway.wait_lines(1, end="cancelled")
            time.sleep(1)
    made.folder = folder
    made.log = gateway.log_path.read_bytes()
    made.kept = told(folder)
    made.ended = files(folder)
    return made


def test_no_error_holds_a_key_or_what_was_said(trail):
    secrets = (CANARY, trail.secret.encode(), KEY.encode(), WRONG.encode(), UPSTREAM_KEY)
    for answer in trail.errors:
        said = answer.body + repr(answer.headers).encode()
        assert [secret for secret in secrets if secret in said] == [], said
        assert b"Traceback" not in said and b".py" not in said


def test_logs_metrics_spool_and_commands_hold_no_key_and_no_word_that_was_said(trail):
    assert b'"exception"' in trail.log  # the crash was logged
    for found in (trail.log, trail.metrics.encode(), trail.spool, trail.printed):
        assert found
        for secret in (CANARY, trail.secret.encode(), KEY.encode(), UPSTREAM_KEY):
            assert secret not in found, found[found.index(secret) - 300 :][:600]


def test_no_key_is_in_any_file(trail):
    for found in (trail.alive, trail.ended):
        assert "gateway.db" in found
        for name, data in found.items():
            for secret in (trail.secret.encode(), KEY.encode(), WRONG.encode(), UPSTREAM_KEY):
                assert secret not in data, name


def test_what_was_said_is_in_three_tables_alone(trail):
    holding = {name for name, data in trail.kept.items() if CANARY in data}
    assert holding == KEEPING
    assert {"keys", "usage", "usage_totals", "idempotency"} <= set(trail.kept)
    database = {"gateway.db", "gateway.db-wal", "gateway.db-shm"}
    found = {name for name, data in (trail.alive | trail.ended).items() if CANARY in data}
    assert found and found <= database


def test_what_was_said_is_gone_from_the_disk_after_its_time(trail):
    with contextlib.closing(Database(f"sqlite:///{trail.folder / 'gateway.db'}")) as database:
        sweep(database)
    with contextlib.closing(sqlite3.connect(trail.folder / "gateway.db")) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    holding = {name for name, data in told(trail.folder).items() if CANARY in data}
    assert holding == set()
    assert [name for name, data in files(trail.folder).items() if CANARY in data] == []


def test_files_and_folders_are_for_their_owner_alone(trail):
    assert {"gateway.db", "gateway.db-wal", "spool"} <= set(trail.modes)
    assert [name for name in trail.modes if name.endswith(".mdb")]
    for name, (folder, mode) in trail.modes.items():
        assert mode == (0o700 if folder else 0o600), (name, oct(mode))
