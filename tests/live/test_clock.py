"""A wall clock that jumps by an hour while everything runs: only dates change.

The gateway's processes get their time from a file of the test's: what it holds is added to
time.time(), while time.monotonic() goes on as it is.
"""

import os
import signal
import struct
import threading
import time
from functools import partial

import pytest

from tests.live.job_workers import launch
from tests.live.limited import early_in_a_minute, flood, new_key
from tests.live.raw import JSON, ask, chat, post
from tests.live.test_jobs import accepted, caller
from tests.live.test_operations import wait_until
from tests.serving import ROOT, Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

CUSTOM = """
import mmap, os, struct, time
with open(os.environ["CLOCK"], "r+b") as file:
    ahead = mmap.mmap(file.fileno(), 8)
def shifted(real=time.time):
    return real() + struct.unpack("d", ahead[:8])[0]
time.time = shifted
"""
HOUR = 3600
LONG = "idle = 20\ntotal = 20\nfirst_token = 20\nstream_total = 30\n"
WAYS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])


class Clock:
    """What the gateway's processes take for the time, in seconds ahead of the true one."""

    def __init__(self, folder):
        self.path = folder / "clock"
        self.path.write_bytes(bytes(8))
        (folder / "sitecustomize.py").write_text(CUSTOM)
        self.environ = {"CLOCK": str(self.path), "PYTHONPATH": f"{folder}:{ROOT}"}

    def jump(self, seconds):
        with self.path.open("r+b") as file:
            file.write(struct.pack("d", seconds))


@pytest.fixture
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def clock(tmp_path):
    folder = tmp_path / "custom"
    folder.mkdir()
    return Clock(folder)


@pytest.fixture
def gateway(tmp_path, upstream, clock):
    timeouts = "idle = 3\ntotal = 20\nfirst_token = 10\nstream_total = 30\n"
    path = write_config(tmp_path, upstream.url, timeouts=timeouts, server="drain = 20\n")
    with Gateway(path, workers=2, environ=clock.environ) as running:
        yield running


def beside(function, *args):
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*args)))
    thread.start()
    return lambda: (thread.join(30), found)[1]


@WAYS
def test_jobs_and_idempotent_calls_that_run_are_made_once(gateway, upstream, clock, jump):
    call = caller(gateway)
    jobs = [accepted(call, model="mock-late-4000") for _ in range(6)]
    upstream.wait_for(6)
    named = [
        post(chat("mock-late-4000"), headers=f"{JSON}Idempotency-Key: {number}\r\n")
        for number in range(6)
    ]
    first = [beside(ask, gateway.port, data) for data in named]
    upstream.wait_for(12)
    time.sleep(0.5)
    clock.jump(jump)
    again = [beside(ask, gateway.port, data) for data in named]
    for answers in first + again:
        assert [reply.status for reply in answers()] == [200]
    for job in jobs:
        _, _, found = call(f"jobs/{job['id']}?wait=20")
        assert (found["status"], found["attempts"]) == ("completed", 1)
    assert upstream.received == 12


def test_job_of_a_worker_that_dies_after_a_jump_back_is_taken_up(tmp_path, upstream, clock):
    """Its lease is over when it would have been, and not an hour later."""
    path = write_config(tmp_path, upstream.url, timeouts=LONG)
    with Gateway(path, environ=clock.environ, command=launch(False, lease=2)) as gateway:
        call = caller(gateway)
        job = accepted(call, model="mock-late-4000")
        upstream.wait_for(1)
        clock.jump(-HOUR)
        time.sleep(2)  # leases are renewed, by the new time
        (pid,) = gateway.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: upstream.received == 2, 15)
        _, _, found = call(f"jobs/{job['id']}?wait=20")
        assert (found["status"], found["attempts"]) == ("completed", 2)


@WAYS
def test_calls_and_their_timeouts_go_on_as_if_nothing_had_happened(gateway, upstream, clock, jump):
    began = time.monotonic()
    slow = [
        beside(ask, gateway.port, post(chat("mock-late-3000", stream=stream)))
        for stream in (False, True)
    ]
    stalled = beside(ask, gateway.port, post(chat("mock-stall-after-3", stream=True)))
    upstream.wait_for(3)
    time.sleep(0.5)
    clock.jump(jump)
    assert {ask(gateway.port, post(chat())).status for _ in range(20)} == {200}
    for answers in slow:
        assert [reply.status for reply in answers()] == [200]
    (reply,) = stalled()
    assert b"upstream_timeout" in reply.body and 3 < time.monotonic() - began < 9


@WAYS
def test_limit_locks_nobody_out_for_longer_than_its_window(gateway, clock, jump):
    early_in_a_minute(10)
    _, secret = new_key(gateway, rpm=5)
    calls = partial(flood, [gateway], secret, at_once=1, model="gpt-test")
    assert [reply.status for reply in calls(7)] == [200] * 5 + [429] * 2
    clock.jump(jump)
    for reply in calls(7):
        assert reply.status == 200 or (
            reply.status == 429 and float(reply.headers["retry-after"]) <= 60
        )
    clock.jump(jump + 125)  # two windows later
    assert calls(1)[0].status == 200


@WAYS
def test_stop_lets_calls_end_though_the_clock_jumps(gateway, upstream, clock, jump):
    late = beside(ask, gateway.port, post(chat("mock-late-3000")))
    upstream.wait_for(1)
    gateway.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    clock.jump(jump)
    assert [reply.status for reply in late()] == [200]
    assert gateway.process.wait(10) == 0
