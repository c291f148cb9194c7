"""One process of a gateway at work is killed: its master alone, or a worker with calls and jobs."""

import contextlib
import os
import signal
import sys
import threading

import psutil
import pytest

from tests.live import limited, twice
from tests.live.job_workers import launch
from tests.live.load import Load
from tests.live.raw import ask, chat, post
from tests.live.test_jobs import accepted, caller, ended
from tests.live.test_operations import wait_until
from tests.live.test_responses_state import stopped
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live

LEASE = 2
STALLS = "mock-stall-after-1"
SERVE = [sys.executable, "-m", "gateway.cli", "serve"]


@contextlib.contextmanager
def holding(upstream, calls):
    """Answer so many calls with one event, and with the rest when what this gives is set."""
    go = threading.Event()
    upstream.enqueue(*[twice.held(go, twice.chunks()) for _ in range(calls)])
    try:
        yield go
    finally:
        go.set()


def config(tmp_path, upstream):
    server = "drain = 30\n"
    return write_config(tmp_path, upstream.url, server, limited.TIMEOUTS, more=limited.MORE)


def streaming(own, name, **how):
    return twice.asking(own, name, stream=True, **how)


def whole(stream):
    return stream.read().endswith(b"data: [DONE]\n\n")


def begun(own):
    return twice.rows(own, "select 1 from jobs where answered")


def start_again(own):
    own.process.kill()
    own.process.wait()
    own.log_file.close()
    own.start()


def test_master_killed_alone_leaves_calls_jobs_and_places_to_its_workers(tmp_path, upstream):
    """They end by themselves beside the next gateway, which counts with them."""
    with Gateway(config(tmp_path, upstream), workers=2) as own, holding(upstream, 3) as go:
        job = accepted(caller(own))["id"]
        wait_until(lambda: begun(own))
        key, secret = limited.new_key(own, concurrency=1)
        with streaming(own, "one", secret=secret) as one, streaming(own, "two") as two:
            assert one.readline() and two.readline()
            orphans = [psutil.Process(pid) for pid in own.worker_pids()]
            start_again(own)
            assert limited.ask(own, secret).error["code"] == "concurrency_limit_exceeded"
            go.set()
            assert whole(one) and whole(two)
        wait_until(lambda: limited.ask(own, secret).status == 200)
        found = ended(caller(own), job)
        assert (found["status"], found["attempts"]) == ("completed", 1)
        assert not psutil.wait_procs(orphans, 10)[1]
        said = [line["message"] for line in own.log() if "message" in line]
        assert len([text for text in said if text.startswith("Parent changed")]) == 2
        assert twice.ask(own, "two", stream=True).headers["idempotent-replayed"] == "true"
        twice.assert_nothing_wrong(own)


def test_gateway_serve_starts_while_workers_of_a_killed_master_still_listen(tmp_path, upstream):
    with Gateway(config(tmp_path, upstream), workers=2, command=SERVE) as own:
        with Load(own.port) as load:
            start_again(own)
            load.more(20)
        last = max((end for end, _, came in load.found if came != 200), default=0)
        assert {came for end, _, came in load.found if end > last} == {200}


def test_worker_killed_with_streams_and_jobs_takes_nothing_else_with_it(tmp_path, upstream):
    path, command = config(tmp_path, upstream), launch(False, LEASE)
    with Gateway(path, workers=2, command=command) as own, contextlib.ExitStack() as stack:
        victim, other = own.worker_pids()
        with stopped(victim):
            go = stack.enter_context(holding(upstream, 1))
            theirs = stack.enter_context(streaming(own, "theirs"))
            assert theirs.readline()
        with stopped(other):
            lost = accepted(caller(own), model=STALLS)["id"]
            wait_until(lambda: begun(own))
            again = accepted(caller(own), model="mock-late-1000")["id"]
            ours = stack.enter_context(streaming(own, "ours", model=STALLS))
            assert ours.readline()
            os.kill(victim, signal.SIGKILL)
        with pytest.raises((OSError, twice.http.client.HTTPException)):
            ours.read()
        go.set()
        assert whole(theirs)
        wait_until(lambda: set(own.worker_pids()) - {victim, other})
        assert {ask(own.port, post(chat())).status for _ in range(10)} == {200}
        told = [ended(caller(own), id) for id in (lost, again)]
        assert [job["status"] for job in told] == ["failed", "completed"]
        assert told[0]["error"]["code"] == "worker_lost"
        assert [job["attempts"] for job in told] == [1, 2]
