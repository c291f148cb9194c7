"""What the machine does to the gateway: a log that nobody reads, descriptors that run out."""

import contextlib
import os
import resource
import select
import shutil
import signal
import sqlite3
import sys
import time

import httpx2
import psutil
import pytest

from tests.live.load import Load
from tests.live.raw import ask, chat, connected, post
from tests.live.test_operations import wait_until
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live

COUNTED = 'gateway_requests_total{endpoint="chat",model="gpt-test",status="200"}'
PIPED = "import os, sys; os.dup2(int(sys.argv[1]), 2); os.execv(sys.executable, sys.argv[2:])"


def test_log_that_nobody_reads_holds_up_no_call(upstream, tmp_path):
    theirs, ours = os.pipe()
    command = [sys.executable, "-c", PIPED, str(ours), sys.executable, "-m", "gunicorn"]
    gateway = Gateway(write_config(tmp_path, upstream.url), command=command)
    gateway.pass_fds = (ours,)
    with gateway as own:
        with Load(own.port) as load:
            load.more(600, 60)  # some 400 bytes each: more than the 64 KiB that a pipe holds
        assert set(load.outcomes) == {200}, load.outcomes
        # No page of it is free; how many bytes that is depends on what each line left of its page.
        wait_until(lambda: not select.select([], [ours], [], 0)[1])
        os.close(theirs)  # the reader has died: writing is an error now
        assert ask(own.port, post(chat())).status == 200
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(10) == 0
    os.close(ours)


def test_worker_without_descriptors_recovers_when_there_are_some(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url)) as own:
        assert ask(own.port, post(chat())).status == 200
        (pid,) = own.worker_pids()
        worker = psutil.Process(pid)
        before = worker.rlimit(resource.RLIMIT_NOFILE)
        worker.rlimit(resource.RLIMIT_NOFILE, (worker.num_fds() + 4, before[1]))
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connected(own.port))
            wait_until(lambda: worker.num_fds() >= worker.rlimit(resource.RLIMIT_NOFILE)[0] - 1)
        wait_until(lambda: worker.num_fds() < worker.rlimit(resource.RLIMIT_NOFILE)[0] - 2)
        assert {ask(own.port, post(chat())).status for _ in range(5)} == {200}
        assert own.worker_pids() == [pid]


@contextlib.contextmanager
def locked(path):
    """Hold the database's only write lock, as a backup or a shell may."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("begin immediate")
        yield
        database.execute("rollback")


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("select count(distinct request_id) from usage").fetchone()[0]


def test_database_locked_by_another_process_fails_no_call_and_loses_no_usage(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url)) as own:
        with Load(own.port) as load:
            with locked(tmp_path / "gateway.db"):
                time.sleep(5)
                load.more(20)
        assert set(load.outcomes) == {200}, load.outcomes
        wait_until(lambda: rows(tmp_path / "gateway.db") == len(load.found), 15)


def test_database_deleted_under_it_stops_no_known_key(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url)) as own:
        assert ask(own.port, post(chat())).status == 200
        for path in tmp_path.glob("gateway.db*"):
            path.unlink()
        statuses = {ask(own.port, post(chat())).status for _ in range(20)}
        assert statuses == {200}
        assert b"Traceback" not in own.log_path.read_bytes()
        assert httpx2.get(f"{own.ops_url}/readyz").status_code in (200, 503)


def test_metrics_folder_that_is_tidied_away_ends_nobody(upstream, tmp_path):
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    with Gateway(write_config(tmp_path, upstream.url), environ=environ) as own:
        (pid,) = own.worker_pids()
        shutil.rmtree(tmp_path / "metrics")
        assert ask(own.port, post(chat())).status == 200
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: set(own.worker_pids()) - {pid})
        assert ask(own.port, post(chat())).status == 200
        wait_until(lambda: own.metrics().get(COUNTED) == 1)
