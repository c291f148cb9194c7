"""The flag that says a gateway is about to end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from gateway.draining import LOOK, Flag, Master
from tests.serving import ROOT


def settings(folder, bind="127.0.0.1:8000"):
    return SimpleNamespace(state=folder, server=SimpleNamespace(bind=bind))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_flag_is_seen_by_others_within_half_a_second(tmp_path):
    clock = Clock()
    ours, theirs = Flag(settings(tmp_path)), Flag(settings(tmp_path), clock)
    assert not theirs.up
    ours.raise_up()
    ours.raise_up()
    clock.now += LOOK
    assert theirs.up
    ours.take_down()
    ours.take_down()
    clock.now += LOOK
    assert not theirs.up


def test_file_is_looked_at_no_more_than_twice_a_second(tmp_path):
    clock = Clock()
    flag = Flag(settings(tmp_path), clock)
    assert not flag.up
    Flag(settings(tmp_path)).raise_up()
    clock.now += LOOK * 0.9
    assert not flag.up
    clock.now += LOOK * 0.2
    assert flag.up


@pytest.mark.parametrize(
    "other", ["127.0.0.1:8010", "[::1]:8000", "unix:/run/gateway/gw.sock", "0.0.0.0:8000"]
)
def test_standby_of_the_same_machine_is_not_drained_with_it(tmp_path, other):
    Flag(settings(tmp_path)).raise_up()
    assert not Flag(settings(tmp_path, other)).up
    Flag(settings(tmp_path, other)).take_down()
    assert Flag(settings(tmp_path)).up


@pytest.fixture
def umask():
    """Return a function that sets the umask until the test is over."""
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o027])
def test_folder_and_flag_are_this_account_s_alone_whatever_the_umask(tmp_path, umask, mask):
    umask(mask)
    flag = Flag(settings(tmp_path / "a" / "b"))
    flag.raise_up()
    assert flag.up
    modes = [path.stat().st_mode & 0o777 for path in (flag.path, flag.path.parent)]
    assert modes == [0o600, 0o700]


STAY = """
import os, pathlib, sys, time
from types import SimpleNamespace
from gateway.draining import Master
bind = SimpleNamespace(bind="127.0.0.1:8000")
Master(SimpleNamespace(state=pathlib.Path(sys.argv[1]), server=bind)).stay()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def running(folder):
    """Give a process that has said that it runs; a child of its own outlives it."""
    command = [sys.executable, "-c", STAY, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    child = int(process.stdout.readline())
    try:
        yield process
    finally:
        process.kill()
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_master_runs_until_it_is_killed_and_no_child_runs_in_its_name(tmp_path):
    assert not Master(settings(tmp_path)).runs
    with running(tmp_path) as master:
        assert Master(settings(tmp_path)).runs
        assert not Master(settings(tmp_path, "127.0.0.1:8010")).runs
        master.kill()
        master.wait()
        assert not Master(settings(tmp_path)).runs


def test_who_asks_whether_a_master_runs_does_not_keep_one_from_saying_so(tmp_path):
    found, over = Master(settings(tmp_path)), threading.Event()

    def ask():
        while not over.is_set():
            assert found.runs in (True, False)

    with running(tmp_path) as first:  # makes the file
        first.kill()
        first.wait()
        asking = threading.Thread(target=ask)
        asking.start()
        with running(tmp_path):
            over.set()
            asking.join()
            assert found.runs


def test_master_knows_whether_another_one_runs_in_its_place(tmp_path):
    with running(tmp_path):
        assert not Master(settings(tmp_path)).stay()
    assert Master(settings(tmp_path)).stay()


def test_master_starts_also_where_it_cannot_say_so(tmp_path):
    (tmp_path / "file").touch()
    assert not Master(settings(tmp_path / "file")).stay()
    assert (tmp_path / "file").read_bytes() == b""
