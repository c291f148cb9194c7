"""Workers are killed again and again: every job ends, and no call is made twice that had begun."""

import collections
import json
import os
import random
import signal
import threading
import time

import orjson
import pytest
import sqlalchemy as sa

from gateway.tables import jobs, usage
from tests.live.job_workers import JobWorker, Queue, launch
from tests.serving import Gateway, write_config
from tests.test_postgres import server, url  # noqa: F401
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

LEASE = 2
ENDED = ("completed", "failed")
# Of ten jobs, so many of each: quick streams, slow ones, ones that begin late, and whole calls.
MIX = ["gpt-test"] * 5 + ["mock-slow-100"] * 2 + ["mock-late-500"] * 2 + ["embeddings"]
STATE = sa.select(jobs.c.answered, jobs.c.status).where(jobs.c.id == sa.bindparam("of_id"))


class Witness:
    """Sees every call at the upstream, and what the job's row says when it comes."""

    def __init__(self):
        self.queue, self.calls, self.again = None, collections.Counter(), []

    def __call__(self, request):
        fields = request.fields
        said = fields.get("input") or fields["messages"][0]["content"]
        self.calls[said] += 1
        where = {"of_id": self.queue.names[said]}
        row = self.queue.database.read(lambda c: c.execute(STATE, where).one())
        if row.answered or row.status in ENDED:
            self.again.append((said, tuple(row)))


@pytest.fixture
def witness():
    return Witness()


@pytest.fixture
def upstream(witness):
    with ScriptedUpstream(keep=0, seen=witness) as found:
        yield found


def fill(queue, count):
    """Add jobs, each of which says something of its own."""
    for number in range(count):
        says, kind = f"job-{number} says one two three four", MIX[number % len(MIX)]
        if kind == "embeddings":
            queue.add(endpoint="embeddings", says=says)
        else:
            queue.add(kind, says=says, stream=number % 2 == 0)


def killing(victim, times, seed, killed):
    """Kill a job worker at random moments and start it again."""
    rand = random.Random(seed)
    for number in range(times):
        running(victim, number + 1)
        time.sleep(rand.uniform(0.2, 1.2))
        victim.kill()
        killed.append(victim)
        victim.start()


def running(victim, starts, seconds=20):
    """Wait until a job worker has said so many times that it runs."""
    deadline = time.monotonic() + seconds
    while victim.said().count("runs up to") < starts:
        assert time.monotonic() < deadline, victim.said()[-3000:]
        time.sleep(0.05)


def killing_web(gateway, times, seed, killed):
    """Kill web workers at random moments; their master starts others."""
    rand = random.Random(seed)
    for _ in range(times):
        time.sleep(rand.uniform(0.5, 3))
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        killed.append(gateway)


def all_ended(queue, count, seconds):
    """Wait until so many jobs have ended; return how many have each status."""
    deadline = time.monotonic() + seconds
    query = sa.select(jobs.c.status, sa.func.count()).group_by(jobs.c.status)
    while True:
        found = dict(queue.database.read(lambda c: [tuple(row) for row in c.execute(query)]))
        if sum(found.get(status, 0) for status in ENDED) == count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def every(queue, table):
    return queue.database.read(lambda c: [dict(r) for r in c.execute(table.select()).mappings()])


def audit(queue, witness, count, capsys, killed):
    rows = every(queue, jobs)
    codes = collections.Counter(orjson.loads(r["error"])["code"] for r in rows if r["error"])
    used = collections.Counter(row["request_id"] for row in every(queue, usage))
    counts = {
        "jobs": len(rows),
        "statuses": dict(collections.Counter(row["status"] for row in rows)),
        "errors": dict(codes),
        "workers killed": killed,
        "calls at the upstream": sum(witness.calls.values()),
        "jobs called more than once": sum(n > 1 for n in witness.calls.values()),
        "most calls of one job": max(witness.calls.values()),
        "attempts": dict(collections.Counter(row["attempts"] for row in rows)),
        "calls made again after an answer had begun": len(witness.again),
        "rows of usage": sum(used.values()),
    }
    with capsys.disabled():
        print("\n" + json.dumps(counts, indent=1))
    assert witness.again == []
    assert len(rows) == count and {row["status"] for row in rows} <= set(ENDED)
    assert set(codes) <= {"worker_lost"}
    assert used == collections.Counter(row["request_id"] for row in rows)
    for row in rows:
        assert (row["result"] is None) == (row["error"] is not None)
        if row["status"] == "completed" and row["endpoint"] == "chat":
            said = orjson.loads(row["result"])["choices"][0]["message"]["content"]
            assert queue.names[said] == row["id"]
    assert counts["statuses"]["completed"] > count * 0.8


def test_thousand_jobs_survive_workers_that_are_killed(tmp_path, upstream, witness, capsys):
    path = write_config(tmp_path, upstream.url, more="[jobs]\nconcurrency = 2\n")
    queue = witness.queue = Queue(path)
    fill(queue, 1000)
    killed = []
    web = Gateway(path, workers=2, command=launch(False, LEASE))
    first = JobWorker(path, "--concurrency", "6", lease=LEASE, name="first")
    second = JobWorker(path, "--concurrency", "6", lease=LEASE, name="second")
    with web, first, second:
        threads = [
            threading.Thread(target=killing, args=(first, 5, 1, killed)),
            threading.Thread(target=killing, args=(second, 5, 2, killed)),
            threading.Thread(target=killing_web, args=(web, 5, 3, killed)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_ended(queue, 1000, 60)
        logs = [victim.said() for victim in (first, second)] + [web.log_path.read_text()]
    audit(queue, witness, 1000, capsys, len(killed))
    assert len(killed) == 15
    for log in logs:
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
    queue.close()


def test_jobs_survive_over_postgresql(tmp_path, upstream, witness, url, capsys):  # noqa: F811
    path = write_config(tmp_path, upstream.url, server=f'database_url = "{url}"')
    queue = witness.queue = Queue(path)
    fill(queue, 200)
    killed = []
    first = JobWorker(path, "--concurrency", "4", lease=LEASE, name="first")
    second = JobWorker(path, "--concurrency", "4", lease=LEASE, name="second")
    with first, second:
        threads = [
            threading.Thread(target=killing, args=(first, 3, 1, killed)),
            threading.Thread(target=killing, args=(second, 3, 2, killed)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_ended(queue, 200, 40)
    audit(queue, witness, 200, capsys, len(killed))
    queue.close()
