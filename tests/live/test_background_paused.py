"""Background responses whose worker is stopped for longer than its lease, and goes on then."""

import contextlib
import signal
import threading
import time

import pytest

from gateway import mock
from tests.live.following import client_of, create, ended, followed, scripted  # noqa: F401
from tests.live.job_workers import JobWorker
from tests.live.twice import wait_for
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live

LEASE = 2
TIMEOUTS = "first_token = 30\nidle = 30\ntotal = 30\nstream_total = 30"


@pytest.fixture
def path(tmp_path, upstream):
    """A gateway that runs no jobs, with an upstream that is called whole."""
    return write_config(
        tmp_path, upstream.url, timeouts=TIMEOUTS, upstream="stream = false",
        more="[jobs]\nconcurrency = 0\n",
    )  # fmt: skip


def held(go, text):
    """Answer a call when it may go on."""
    return lambda request: go.wait(30) and mock.responses(text)(request)


@contextlib.contextmanager
def paused(worker):
    worker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.process.send_signal(signal.SIGCONT)


def test_stream_is_that_of_the_worker_that_was_given_the_job(path, upstream):
    late, mine = threading.Event(), threading.Event()
    upstream.enqueue(held(late, "late " * 5), held(mine, "mine " * 5))
    with (
        Gateway(path) as gateway,
        JobWorker(path, lease=LEASE, name="late") as worker,
        client_of(gateway) as client,
    ):
        id = create(client).id
        upstream.wait_for(1)
        with contextlib.ExitStack() as stack:
            with paused(worker):
                stack.enter_context(JobWorker(path, lease=LEASE, name="next"))
                upstream.wait_for(2, 30)
                late.set()
                time.sleep(0.3)  # until the answer is there
            wait_for(lambda: "no longer this worker's" in worker.said())
            mine.set()
            assert ended(client, id).output_text == "mine " * 5
        events = followed(gateway, id)
    assert "".join(e["delta"] for e in events if e["type"].endswith("text.delta")) == "mine " * 5
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
