"""Processes that run jobs: web workers and `gateway worker`, at work, told to end, cut off."""

import os
import signal
import time

import orjson
import pytest
import sqlalchemy as sa

from gateway.tables import jobs, usage
from tests.live.faults import assert_no_traceback
from tests.live.job_workers import KEY_ID, Cuttable, JobWorker, Queue
from tests.serving import Gateway, write_config
from tests.test_postgres import SERVER, server, url  # noqa: F401

pytestmark = pytest.mark.live

ENDED = ("completed", "failed", "cancelled", "incomplete")


@pytest.fixture
def opened():
    """Return a function that makes a Queue, which is closed in the end."""
    made = []

    def make(*args):
        made.append(Queue(*args))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


def answered(queue, id, seconds=15):
    """Wait until an answer to a job is known to have begun."""
    query = sa.select(jobs.c.answered).where(jobs.c.id == id)
    deadline = time.monotonic() + seconds
    while not queue.database.read(lambda c: c.scalar(query)):
        assert time.monotonic() < deadline, queue.get(id)
        time.sleep(0.02)


def used(queue, id):
    """Return the rows of usage of a job."""
    query = sa.select(usage).where(usage.c.request_id == queue.get(id).request_id)
    return queue.database.read(lambda c: [dict(row) for row in c.execute(query).mappings()])


def code(row):
    return orjson.loads(row.error)["code"]


def test_job_worker_alone_runs_jobs_of_every_kind(tmp_path, upstream, opened):
    path = write_config(tmp_path, upstream.url, more="[jobs]\nconcurrency = 0\n")
    queue = opened(path)
    ids = [queue.add(endpoint=e, says=e) for e in ("chat", "responses", "embeddings")]
    broken = queue.add("mock-cut-after-3", says="cut")
    with JobWorker(path) as own:
        rows = [queue.wait(id, *ENDED, seconds=30) for id in ids]
        assert [row.status for row in rows] == ["completed"] * 3
        assert code(queue.wait(broken, *ENDED)) == "upstream_reset"
        for id in (*ids, broken):
            assert len(used(queue, id)) == 1
        own.process.terminate()
        assert own.process.wait(10) == 0
    assert_no_traceback(own.log_path.read_bytes())


def test_web_worker_without_a_share_of_the_jobs_leaves_them(tmp_path, upstream, opened):
    path = write_config(tmp_path, upstream.url, more="[jobs]\nconcurrency = 0\n")
    queue = opened(path)
    with Gateway(path):
        id = queue.add()
        time.sleep(2)
        assert queue.get(id).status == "queued"


def test_cancel_closes_the_upstream_within_a_second_or_so(tmp_path, upstream, opened):
    path = write_config(tmp_path, upstream.url)
    queue = opened(path)
    with JobWorker(path):
        id = queue.add("mock-endless-50")
        answered(queue, id, 30)
        began = time.monotonic()
        queue.jobs.cancel(KEY_ID, id)
        (request,) = upstream.requests
        assert request.closed.wait(5)
        assert request.closed_at - began < 3  # 0.5 s at most, and what a busy machine adds
        assert queue.wait(id, *ENDED).status == "cancelled"
    ((row,), *_) = [used(queue, id)]
    assert (row["end"], row["usage_source"]) == ("cancelled", "estimated")
    assert row["output_tokens"] > 0


@pytest.mark.parametrize("web", [False, True], ids=["worker", "gunicorn"])
def test_sigterm_lets_jobs_end_and_hands_back_what_has_not_begun(tmp_path, upstream, opened, web):
    path = write_config(
        tmp_path, upstream.url, server="drain = 6\n",
        timeouts="stream_total = 30\nfirst_token = 30",
        more="[jobs]\nconcurrency = 3\n",
    )  # fmt: skip
    queue = opened(path)
    short, endless = queue.add("mock-slow-300", says="a b c d"), queue.add("mock-endless-50")
    hanging, waiting = queue.add("mock-hang", says="silent"), queue.add(says="waiting")
    with Gateway(path) if web else JobWorker(path) as own:
        answered(queue, short, 30)
        answered(queue, endless)
        queue.wait(hanging, "in_progress")
        upstream.wait_for(3)
        began = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(20) == 0
        assert time.monotonic() - began > 3  # it has waited for the endless one

    assert queue.get(short).status == "completed"
    lost = queue.get(endless)
    assert (lost.status, code(lost)) == ("failed", "worker_lost")
    (row,) = used(queue, endless)
    assert (row["usage_source"], row["code"]) == ("estimated", "worker_lost")
    back = queue.get(hanging)
    assert (back.status, back.attempts, used(queue, hanging)) == ("queued", 0, [])
    assert upstream.requests[2].closed.wait(5)
    # The one whose place came free was not taken any more.
    assert queue.get(waiting).status == "queued" and upstream.received == 3
    assert_no_traceback(own.log_path.read_bytes())


def test_sigterm_gives_back_a_job_that_is_just_being_taken(tmp_path, upstream, opened, url):  # noqa: F811
    host, port = sa.make_url(SERVER).host, sa.make_url(SERVER).port or 5432
    line = Cuttable(host, port, delay=0.1)
    through = sa.make_url(url).set(host="127.0.0.1", port=line.port)
    path = write_config(tmp_path, upstream.url)
    queue = opened(path, url)
    first = queue.add(says="first")
    own = JobWorker(path)
    own.environ["GATEWAY_DATABASE_URL"] = through.render_as_string(hide_password=False)
    with own:
        queue.wait(first, *ENDED, seconds=30)
        id = queue.add(says="second")
        while queue.get(id).status == "queued":
            time.sleep(0.002)
        own.process.terminate()  # before the worker has heard that the job is its own
        assert own.process.wait(15) == 0
    line.close()
    row = queue.get(id)
    assert (row.status, row.attempts, upstream.received) == ("queued", 0, 1)
    assert_no_traceback(own.log_path.read_bytes())


def test_second_signal_ends_a_job_worker_at_once(tmp_path, upstream, opened):
    path = write_config(
        tmp_path, upstream.url, server="drain = 600\n", timeouts="stream_total = 60"
    )
    queue = opened(path)
    id = queue.add("mock-endless-50")
    with JobWorker(path) as own:
        answered(queue, id, 30)
        own.process.terminate()
        time.sleep(1)
        assert own.process.poll() is None
        own.process.terminate()
        assert own.process.wait(15) == 0
    assert code(queue.get(id)) == "worker_lost"


def test_quick_stop_of_gunicorn_hands_jobs_back(tmp_path, upstream, opened):
    path = write_config(tmp_path, upstream.url, timeouts="first_token = 60")
    queue = opened(path)
    id = queue.add("mock-hang")
    with Gateway(path) as own:
        queue.wait(id, "in_progress")
        upstream.wait_for(1)
        own.process.send_signal(signal.SIGINT)
        own.process.wait(15)
    assert (queue.get(id).status, queue.get(id).attempts) == ("queued", 0)


def test_database_that_is_away_loses_no_job(tmp_path, upstream, opened, url):  # noqa: F811
    host, port = sa.make_url(SERVER).host, sa.make_url(SERVER).port or 5432
    line = Cuttable(host, port)
    through = sa.make_url(url).set(host="127.0.0.1", port=line.port)
    path = write_config(
        tmp_path, upstream.url,
        server=f'database_url = "{through.render_as_string(hide_password=False)}"\n',
        timeouts="first_token = 60\nstream_total = 120\nidle = 60\ntotal = 60",
        more="[jobs]\nconcurrency = 4\n",
    )  # fmt: skip
    queue = opened(path, url)
    streaming = queue.add("mock-slow-500", says="one two three four five six")
    starting, whole = (
        queue.add("mock-late-2500", says="late"),
        queue.add("mock-late-2500", "embeddings", "e"),
    )
    with JobWorker(path) as own:
        answered(queue, streaming, 30)
        upstream.wait_for(3)
        waiting = [queue.add(says=f"waits {n}") for n in range(2)]
        for id in waiting:
            queue.wait(id, *ENDED)
        line.cut()
        size = os.path.getsize(own.log_path)
        late = [queue.add(says=f"came meanwhile {n}") for n in range(5)]
        time.sleep(10)
        said = own.log_path.read_bytes()[size:]
        line.mend()
        for id in (streaming, starting, whole, *late):
            row = queue.wait(id, *ENDED, seconds=30)
            assert (row.status, row.attempts) == ("completed", 1), (id, row)
            assert len(used(queue, id)) == 1
        own.process.terminate()
        assert own.process.wait(15) == 0
    line.close()
    assert said.count(b"\n") < 30, said
    assert upstream.received == 10  # no call was made twice
    assert_no_traceback(said)
