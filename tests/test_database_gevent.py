"""The database under gevent, each time in a process patched as gunicorn's workers are."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.database import upgrade

ROOT = Path(__file__).parents[1]
START = """
from gevent import monkey
monkey.patch_all()
import sqlite3, sys, threading, time
import gevent, sqlalchemy as sa
from gateway import database as module
from gateway.errors import DependencyUnavailable

sleep = monkey.get_original("time", "sleep")  # holds its native thread up
database = module.Database(sys.argv[1])
one = lambda connection: connection.scalar(sa.text("select 1"))

def gap_during(work):
    longest, last = 0, time.monotonic()
    job = gevent.spawn(work)
    while not job.dead:
        gevent.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    return longest, job.get()
"""


@pytest.fixture
def url(tmp_path):
    upgrade(f"sqlite:///{tmp_path}/gateway.db")
    return f"sqlite:///{tmp_path}/gateway.db"


def patched(url, script):
    """Run a script that asserts; an exception that gevent prints on the way counts as a failure."""
    command = [sys.executable, "-c", START + script, url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_hub_stays_free_while_another_process_holds_the_lock(url):
    patched(
        url,
        """
database.read(one)
other = sqlite3.connect(database.url.database, isolation_level=None)
other.execute("begin immediate")
gevent.spawn_later(1, other.rollback)
began = time.monotonic()
longest, found = gap_during(lambda: database.write(one))
assert found == 1 and time.monotonic() - began > 0.9
assert longest < 0.3, longest
""",
    )


def test_only_one_native_thread_ever_touches_sqlalchemy(url):
    patched(
        url,
        """
threads = set()

@sa.event.listens_for(sa.pool.Pool, "checkout")
def remember(*_):
    threads.add(threading.get_native_id())

def add(connection):
    top = connection.scalar(sa.text("select coalesce(max(revision), 0) from keys")) + 1
    names = "id, name, hash, created_at, revision"
    sql = f"insert into keys ({names}) values (:n, 'n', :n, 0, :n)"
    connection.execute(sa.text(sql), {"n": top})
    return top

def work():
    for _ in range(5):
        made.append(database.write(add))
        assert database.read(one) == 1
        gevent.sleep(0)

made = []
jobs = [gevent.spawn(work) for _ in range(100)]
gevent.joinall(jobs, raise_error=True)
assert sorted(made) == list(range(1, 501))
assert len(threads) == 1 and threading.get_native_id() not in threads
""",
    )


def test_killed_greenlets_leave_the_thread_usable(url):
    patched(
        url,
        """
def slow(connection):
    sleep(0.2)

jobs = [gevent.spawn(database.write, slow) for _ in range(20)]
gevent.sleep(0.05)
gevent.killall(jobs)
began = time.monotonic()
assert database.read(one) == 1
assert time.monotonic() - began < 1
""",
    )


def test_exceptions_come_out_of_the_thread_and_into_no_log(url):
    patched(
        url,
        """
import logging
logging.disable()

def fail(connection):
    raise KeyError("x")

for error, work in [(KeyError, fail), (DependencyUnavailable, lambda c: c.execute(sa.text("?")))]:
    try:
        database.write(work)
    except error:
        pass
    else:
        raise AssertionError(error)
    assert database.read(one) == 1
""",
    )


def test_thread_that_is_stuck_is_an_outage_that_ends(url):
    patched(
        url,
        """
import logging
logging.disable()
module.PATIENCE = 0.2

def stuck(connection):
    sleep(0.6)

for work in (stuck, one):
    try:
        database.read(work)
    except DependencyUnavailable as exc:
        assert isinstance(exc.__cause__, TimeoutError)
    else:
        raise AssertionError(work)
gevent.sleep(0.5)
assert database.read(one) == 1
""",
    )


def test_timeout_of_the_caller_stays_the_callers(url):
    patched(
        url,
        """
def slow(connection):
    sleep(0.3)

mine = gevent.Timeout.start_new(0.05)
try:
    database.read(slow)
except gevent.Timeout as exc:
    assert exc is mine
else:
    raise AssertionError
assert database.read(one) == 1
""",
    )


def test_child_process_has_a_thread_of_its_own(url):
    patched(
        url,
        """
import os
assert database.read(one) == 1
child = os.fork()
if child == 0:
    assert [job.get() for job in [gevent.spawn(database.write, one) for _ in range(9)]] == [1] * 9
    database.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert database.write(one) == 1
""",
    )


def test_closed_database_opens_again_when_it_is_used(url):
    patched(
        url,
        """
assert database.read(one) == 1
database.close()
database.close()
assert database.read(one) == 1
database.close()
""",
    )
