"""Keys and prompts leave no trace where they have no business, whatever became of the call.

A prompt is kept in stored responses, jobs and recordings alone, and there only for its time; a key
nowhere. Every way to end is gone through first, and then every byte on disk is looked at.
"""

import contextlib
import sqlite3
import stat
import sys
import threading
import time

import pytest

from gateway import idempotency, mock, recordings
from gateway.config.shape import Settings
from gateway.database import Database
from gateway.jobs.store import Jobs
from gateway.jobs.sweep import Sweep
from gateway.stored import Stored
from tests.live.limited import new_key
from tests.live.raw import request
from tests.live.site import Site
from tests.live.twice import wait_for
from tests.serving import KEY, Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

CANARY = b"CANARY"
WRONG = "sk-CANARYwrong1-" + "c" * 43
UPSTREAM_KEY = b"sk-upstream-secret"
KEEPING = {"responses", "jobs", "recordings"}  # the tables that may hold what clients said
COMMAND = [sys.executable, "-m", "gunicorn", "tests.live.crashing:app"]
TOLD = "Traceback for CANARY-upstream sk-upstream-secret"


class Trail:
    """Makes calls that each carry a canary of their own."""

    def __init__(self, site, secret):
        self.site, self.secret = site, secret

    def ask(self, name, status, model="gpt-test", secret=None, headers=None, **fields):
        """Make a call and return its Answer, which has to have this status."""
        said = f"CANARY-{name}"
        if fields.get("endpoint") != "embeddings":
            fields.setdefault("metadata", {"note": f"{said}-metadata"})
        found = self.site.ask(
            model,
            headers={"Authorization": f"Bearer {secret or self.secret}", **(headers or {})},
            text=said,
            user=f"{said}-user",
            **fields,
        )
        assert found.status == status, (name, found.body)
        return found

    def get(self, path):
        data = request(f"GET {path} HTTP/1.1", auth=f"Authorization: Bearer {self.secret}\r\n")
        with self.site.connected(data) as sock:
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def wait_end(self, path):
        wait_for(lambda: not {b'"queued"', b'"in_progress"'} & set(words(self.get(path))))

    def fine(self):
        """Make the calls that end well; some of them are kept."""
        for stream in (False, True):
            self.ask("chat", 200, stream=stream)
            self.ask("fixed", 200, secret=KEY, stream=stream)
            made = self.ask("response", 200, endpoint="responses", stream=stream)
            response = made.events[-2]["response"] if stream else made.json
            previous = {"previous_response_id": response["id"]}
            self.ask("turn", 200, endpoint="responses", stream=stream, **previous)
            for _ in range(2):
                once = {"Idempotency-Key": f"once-{stream}"}
                self.ask("once", 200, headers=once, stream=stream)
        self.ask("embedding", 200, endpoint="embeddings")

    def later(self):
        """Make the calls that are answered later, two of which fail."""
        later = {"Prefer": "respond-async"}
        for model in ("gpt-test", "mock-500", "mock-cut-after-3"):
            made = self.ask("job", 202, model, headers=later)
            self.wait_end(f"/v1/jobs/{made.json['id']}")
            made = self.ask("background", 200, model, endpoint="responses", background=True)
            self.wait_end(f"/v1/responses/{made.json['id']}")

    def refused(self):
        """Make the calls whose error may hold nothing of what was sent; return the Answers."""
        yield self.ask("wrong", 401, secret=WRONG)
        yield self.ask("unknown", 404, "nope")
        self.site.upstream.enqueue(mock.error(500, TOLD))
        yield self.ask("failing", 502)
        self.site.upstream.enqueue(mock.error(401, TOLD))
        yield self.ask("unpaid", 502)
        yield self.ask("timeout", 504, "mock-hang")
        yield self.ask("crash", 500, headers={"X-Crash": "1"})

    def broken(self):
        """Make the calls that are wrong in ways that their error may quote, or that break off."""
        self.ask("role", 400, messages=[{"role": "CANARY-role", "content": "x"}])
        self.ask("field", 400, temperature="CANARY-field", **{"CANARY-name": 1})
        for data in (b'{"model": "gpt-test", "messages": ["CANARY-json', b"\xff CANARY-bytes"):
            head = self.site.raw_head(length=len(data), Connection="close")
            with self.site.connected(head + data) as sock:
                assert b" 400 " in sock.recv(65536)
        with self.site.connected(
            request(f"GET /v1/models?key={self.secret}&q=CANARY-query HTTP/1.1", auth="")
        ) as sock:
            assert b" 401 " in sock.recv(65536)
        for model in ("mock-cut-after-3", "mock-error-after-3", "mock-bad-json-after-3"):
            self.ask("cut", 200, model, stream=True)
        with self.site.asking("mock-slow-100", stream=True, text="CANARY-left") as (response, _):
            response.read(10)


def words(data):
    return data.replace(b",", b" ").replace(b":", b" ").replace(b"}", b" ").split()


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


def sweep(folder):
    """Do what the sweeps of a running gateway do, as they would in three days."""
    stop, settings = threading.Event(), Settings()

    def clock():
        return time.time() + 3 * 86400

    with contextlib.closing(Database(f"sqlite:///{folder / 'gateway.db'}")) as database:
        Sweep(Jobs(database, settings.jobs, clock), [recordings.Recordings(database).remove]).sweep(
            stop
        )
        Stored(database, settings.responses.retention_hours, clock).sweep(stop)
        idempotency.Sweep(database, clock).sweep(stop)
        recordings.Sweep(database, clock).sweep(stop)


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
            made.later()
            made.broken()
            made.spool = spooled(site, made)
            made.modes = modes(folder)
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


def test_log_metrics_and_spool_hold_no_key_and_no_word_that_was_said(trail):
    assert b'"exception"' in trail.log  # the crash was logged
    for found in (trail.log, trail.metrics.encode(), trail.spool):
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
    sweep(trail.folder)
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
