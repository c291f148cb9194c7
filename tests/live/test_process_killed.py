"""A whole gateway killed at work, its master and workers alike: what the next one makes of it."""

import contextlib
import http.client
import os
import signal
import sqlite3
import threading
import time
from types import SimpleNamespace

import httpx2
import pytest

from gateway import mock
from tests.live import limited, twice
from tests.live.job_workers import launch
from tests.live.load import Load
from tests.live.raw import ask, chat, post
from tests.live.test_jobs import accepted, caller, ended
from tests.live.test_operations import cli, wait_until
from tests.live.test_process_host import locked
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

LEASE = 2
STALLS = "mock-stall-after-1"  # one event, and nothing more


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A gateway that was killed with everything under way, and one that was started after it."""
    with ScriptedUpstream() as upstream, contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("killed")
        path = write_config(folder, upstream.url, timeouts=limited.TIMEOUTS, more=limited.MORE)
        environ = {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
        (folder / "metrics").mkdir()
        command = launch(False, LEASE)
        own = stack.enter_context(Gateway(path, workers=2, environ=environ, command=command))
        found = SimpleNamespace(own=own, upstream=upstream, call=caller(own))
        fill(found, stack)
        cli(own, "drain")
        wait_until(lambda: own.metrics()["gateway_in_flight"] == 5)
        with Load(own.port) as found.load:
            with locked(folder / "gateway.db"):
                write_usage(found)
                kill(own)
            own.log_file.close()
            own.start()
            found.ready = httpx2.get(f"{own.ops_url}/readyz").json()
            found.slots = [limited.ask(own, found.secret).status for _ in range(3)]
            found.load.more(50)
        yield found


def fill(found, stack):
    """Begin jobs, a call with an Idempotency-Key, and as many calls as a key may have at once."""
    own, upstream = found.own, found.upstream
    found.begun = accepted(found.call, model=STALLS)["id"]
    wait_until(lambda: twice.rows(own, "select 1 from jobs where answered"))
    upstream.enqueue(mock.hang(60))
    seen = upstream.received
    found.silent = accepted(found.call)["id"]
    upstream.wait_for(seen + 1)
    go = threading.Event()
    stack.callback(go.set)
    upstream.enqueue(twice.held(go, twice.chunks()))
    found.keyed = stack.enter_context(twice.asking(own, "keyed", stream=True))
    assert found.keyed.readline()
    key, found.secret = limited.new_key(own, concurrency=2)
    found.streams = [
        stack.enter_context(twice.asking(own, name, secret=found.secret, model=STALLS, stream=True))
        for name in ("one", "two")
    ]
    assert all(stream.readline() for stream in found.streams)
    assert limited.ask(own, found.secret).error["code"] == "concurrency_limit_exceeded"
    wait_until(lambda: twice.rows(own, "select 1 from recordings"))


def write_usage(found):
    """Make calls whose usage can only be written to disk, and wait until it is there."""
    own = found.own
    answers = [ask(own.port, post(chat())) for _ in range(10)]
    found.called = {answer.headers["x-request-id"] for answer in answers}

    def spooled():
        files = (own.folder / "spool").glob("*.jsonl")
        text = b"".join(file.read_bytes() for file in files).decode()
        return all(request_id in text for request_id in found.called)

    wait_until(spooled)


def kill(own):
    """Kill them as a machine does that is out of memory, all at once."""
    workers = own.worker_pids()
    own.process.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    own.process.wait()


def test_open_streams_are_cut_and_none_ends_as_if_it_were_whole(scene):
    for stream in (*scene.streams, scene.keyed):
        with pytest.raises((OSError, http.client.HTTPException)):
            assert b"[DONE]" in stream.read()


def test_next_one_answers_at_once_and_fails_nobody(scene):
    ends = [(end, came) for end, _, came in scene.load.found]
    last = max(end for end, came in ends if came != 200)
    assert {came for end, came in ends if end > last} == {200}
    assert scene.load.gap < 20
    assert scene.ready["status"] == "ok"


def test_flag_of_a_drain_does_not_stay_up(scene):
    assert scene.ready["traffic"] == "ok"


def test_places_that_the_dead_held_are_free_at_once(scene):
    assert scene.slots == [200, 200, 200]


def test_usage_that_was_on_disk_is_in_the_table_once(scene):
    query = "select request_id from usage"
    wait_until(lambda: scene.called <= {row[0] for row in twice.rows(scene.own, query)}, 20)
    found = [row[0] for row in twice.rows(scene.own, query)]
    assert len(found) == len(set(found))
    wait_until(lambda: not list((scene.own.folder / "spool").glob("*.jsonl")), 20)
    assert scene.own.metrics()["gateway_usage_dropped_total"] == 0


def test_job_whose_answer_had_begun_has_failed_and_is_not_made_again(scene):
    job = ended(scene.call, scene.begun)
    assert (job["status"], job["error"]["code"], job["attempts"]) == ("failed", "worker_lost", 1)
    query = "select usage_source, code from usage where request_id = ?"
    assert twice.rows(scene.own, query, job["request_id"]) == [("absent", "worker_lost")]


def test_job_without_an_answer_runs_again_and_completes(scene):
    job = ended(scene.call, scene.silent)
    assert (job["status"], job["attempts"]) == ("completed", 2)
    query = "select status from usage where request_id = ?"
    wait_until(lambda: twice.rows(scene.own, query, job["request_id"]) == [(200,)])


def test_call_with_an_idempotency_key_is_made_anew_once_its_lease_is_over(scene):
    with sqlite3.connect(scene.own.folder / "gateway.db", timeout=10) as connection:
        connection.execute("update idempotency set lease_until = 1 where name = 'keyed'")
    seen = scene.upstream.received
    answer = twice.ask(scene.own, "keyed", stream=True)
    assert answer.text == "one two three" and "idempotent-replayed" not in answer.headers
    assert scene.upstream.received == seen + 1


def test_metrics_hold_no_gauge_of_the_dead(scene):
    wait_until(lambda: scene.own.metrics()["gateway_in_flight"] == 0)
    wait_until(lambda: scene.own.metrics()["gateway_usage_spooled"] == 0)


def test_log_has_no_traceback(scene):
    time.sleep(0.2)
    assert twice.assert_nothing_wrong(scene.own) is None
