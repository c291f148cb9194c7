"""A database that takes no writes, is gone, is garbage, hangs or is cut off: chats go on."""

import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from tests.live.faults import assert_no_traceback
from tests.live.raw import JSON, ask, chat, post, request
from tests.live.test_operations import cli, wait_until
from tests.live.usage_proxy import Proxy
from tests.serving import Gateway, write_config
from tests.test_postgres import server, url  # noqa: F401
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

# Modes do not stop root, unless it is without CAP_DAC_OVERRIDE.
PLAIN = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1); os.execv(sys.argv[1], sys.argv[1:])"
)
ASKED = {"model": "gpt-test", "input": "Hi"}
JOB = post(chat(), headers=JSON + "Prefer: respond-async\r\n")
LATER = {
    "job": JOB,
    "background": post({**ASKED, "background": True}, path="/v1/responses"),
    "idempotent": post(chat(), headers=JSON + "Idempotency-Key: fault\r\n"),
}


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:  # noqa: F811
        yield server


@pytest.fixture
def gateway(tmp_path, tmp_path_factory, upstream):
    command = [sys.executable, "-c", PLAIN, sys.executable, "-m", "gunicorn"]
    environ = {"TMPDIR": str(tmp_path_factory.mktemp("tmp"))}  # limits go there for a while
    path = write_config(tmp_path, upstream.url)
    with Gateway(path, command=command, environ=environ) as running:
        yield running
        assert_no_traceback(running.log_path.read_bytes())
        assert running.lines(status=500) == []


def served(gateway, secret):
    """Make some calls, whole and streamed; return their ids."""
    auth = f"Authorization: Bearer {secret}\r\n"
    found = [ask(gateway.port, post(chat(stream=n % 2 > 0), auth=auth)) for n in range(6)]
    found.append(ask(gateway.port, post(ASKED, path="/v1/responses", auth=auth)))
    assert {reply.status for reply in found} == {200}, [reply.body for reply in found]
    return {reply.headers["x-request-id"] for reply in found}


def refused(gateway, upstream):
    """Assert that what has to be written down first is refused, and never reaches the upstream."""
    seen = upstream.received
    for name, data in LATER.items():
        reply = ask(gateway.port, data)
        assert (reply.status, reply.code) == (503, "dependency_unavailable"), name
        assert int(reply.headers["retry-after"]) >= 1 and b"Traceback" not in reply.body
    assert upstream.received == seen


def accepted(gateway):
    assert [ask(gateway.port, data).status for data in LATER.values()] == [202, 200, 200]


def word(gateway):
    reply = ask(gateway.ops_port, request("GET /readyz HTTP/1.1"))
    assert reply.status == 200
    return reply.json["database"]


def rows(gateway):
    with contextlib.closing(sqlite3.connect(gateway.folder / "gateway.db")) as database:
        return {row[0] for row in database.execute("select request_id from usage")}


def recovers(gateway, ids):
    """Assert that writing works again, and that no row of these calls was lost."""
    wait_until(lambda: word(gateway) == "ok", 15)
    accepted(gateway)
    wait_until(lambda: ids <= rows(gateway), 15)
    wait_until(lambda: not gateway.metrics()["gateway_usage_spooled"], 15)
    assert gateway.metrics()["gateway_usage_dropped_total"] == 0


@contextlib.contextmanager
def read_only(gateway, folder):
    """Take the right to write to the database away, and to its folder too if that is asked."""
    files = list(gateway.folder.glob("gateway.db*"))
    for file in files:
        file.chmod(0o444)
    if folder:
        gateway.folder.chmod(0o555)
    try:
        yield
    finally:
        gateway.folder.chmod(0o700)
        for file in files:
            if file.exists():
                file.chmod(0o600)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_database_that_may_only_be_read_stops_no_call_and_loses_no_usage(gateway, upstream, folder):
    secret = cli(gateway, "keys", "create", "known").stdout.strip()
    ids = served(gateway, secret)
    wait_until(lambda: ids <= rows(gateway), 10)
    with read_only(gateway, folder):
        (old,) = gateway.worker_pids()
        os.kill(old, signal.SIGKILL)  # what has the files open may go on writing
        wait_until(lambda: set(gateway.worker_pids()) - {old}, 10)
        ids |= served(gateway, secret)
        wait_until(lambda: word(gateway) == "read_only", 15)
        refused(gateway, upstream)
        ids |= served(gateway, secret)
        wait_until(lambda: folder or gateway.metrics()["gateway_usage_spooled"] > 0)
    recovers(gateway, ids)


def spoil(path):
    path.with_suffix(".bad").write_bytes(os.urandom(50_000))
    os.replace(path.with_suffix(".bad"), path)


def empty(path):
    path.with_suffix(".bad").write_bytes(b"")
    os.replace(path.with_suffix(".bad"), path)


@pytest.mark.parametrize("harm", [os.unlink, spoil, empty], ids=["deleted", "garbage", "empty"])
def test_database_file_that_is_harmed_stops_no_call_and_loses_no_usage(gateway, upstream, harm):
    secret = cli(gateway, "keys", "create", "known").stdout.strip()
    path = gateway.folder / "gateway.db"
    ids = served(gateway, secret)
    wait_until(lambda: ids <= rows(gateway), 10)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"vacuum into '{path.with_suffix('.kept')}'")
    harm(path)
    ids |= served(gateway, secret)
    refused(gateway, upstream)
    wait_until(lambda: word(gateway) == "away", 15)
    assert ask(gateway.port, JOB).status == 503
    ids |= served(gateway, secret)
    for left in gateway.folder.glob("gateway.db-*"):
        left.unlink()
    os.replace(path.with_suffix(".kept"), path)
    recovers(gateway, ids)


class Quiet(Proxy):
    """Passes everything on, but for what the server says while it is told to be silent."""

    def __init__(self, host, port):
        super().__init__(host, port)
        self.open = threading.Event()
        self.open.set()

    def forward(self, source, sink):
        said = source.getpeername() == self.server

        class Ear:
            def recv(ear, size):
                data = source.recv(size)
                if said:
                    self.open.wait(60)
                return data

            def shutdown(ear, how):
                source.shutdown(how)

        super().forward(Ear(), sink)


@pytest.fixture
def line(server, url):  # noqa: F811
    """Return a proxy before PostgreSQL."""
    there = sa.make_url(url)
    with Quiet(there.host, there.port or 5432) as proxy:
        proxy.server = there.host, there.port or 5432
        yield proxy
        proxy.open.set()


@pytest.fixture
def distant(tmp_path, upstream, line, url):  # noqa: F811
    """A gateway with its PostgreSQL behind the proxy."""
    near = sa.make_url(url).set(host="127.0.0.1", port=line.port)
    near = near.render_as_string(hide_password=False)
    path = write_config(tmp_path, upstream.url, server=f'database_url = "{near}"\n')
    with Gateway(path) as running:
        yield running
        log = running.log_path.read_bytes()
        assert_no_traceback(log)
        assert b"already in progress" not in log and running.lines(status=500) == []


@contextlib.contextmanager
def locked(url, *tables):  # noqa: F811
    """Hold locks for which every statement on these tables waits."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sa.text(f"lock table {', '.join(tables)} in access exclusive mode"))
        yield
        connection.rollback()
    engine.dispose()


def beside(gateway, data):
    """Return a thread that makes a call, and the list in which its Reply will be."""
    found = []
    thread = threading.Thread(target=lambda: found.append(ask(gateway.port, data)))
    thread.start()
    return thread, found


def hears_503(thread, found, seconds=15):
    thread.join(seconds)
    assert [(reply.status, reply.code) for reply in found] == [(503, "dependency_unavailable")]


def test_postgresql_that_is_cut_off_in_the_middle_of_a_query_is_found_again(
    distant,
    upstream,
    line,
    url,  # noqa: F811
):
    with locked(url, "jobs", "idempotency"):
        calls = [beside(distant, JOB), beside(distant, LATER["idempotent"])]
        time.sleep(0.5)
        line.away()
        for call in calls:
            hears_503(*call)
        served(distant, distant.key)
    refused(distant, upstream)
    line.back()
    wait_until(lambda: ask(distant.port, JOB).status == 202, 10)
    accepted(distant)
    served(distant, distant.key)


def test_statement_that_hangs_is_given_up_and_holds_up_nobody(distant, line, url):  # noqa: F811
    with locked(url, "jobs", "idempotency"):
        calls = [beside(distant, data) for data in (JOB, JOB, LATER["idempotent"])]
        for _ in range(3):
            served(distant, distant.key)
        for call in calls:
            hears_503(*call)
    wait_until(lambda: ask(distant.port, JOB).status == 202, 10)
    accepted(distant)


def test_postgresql_that_falls_silent_is_given_up_and_found_again(distant, line):
    served(distant, distant.key)
    line.open.clear()
    calls = [beside(distant, data) for data in (JOB, LATER["idempotent"])]
    served(distant, distant.key)
    for call in calls:
        hears_503(*call)
    served(distant, distant.key)
    line.open.set()
    wait_until(lambda: ask(distant.port, JOB).status == 202, 20)
    accepted(distant)
