"""The queue between processes: what each of them is told, and what the rows say, is one truth."""

import collections
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.database import Database, upgrade
from gateway.jobs.store import Jobs
from tests.contracts.queueing import add, fill, later, settings, sweep, used
from tests.test_postgres import server, url  # noqa: F401

pytestmark = pytest.mark.live  # four processes at a time, and minutes on a busy machine

ROOT = Path(__file__).parents[2]
START = """
import json, random, sys, time
from gateway.database import Database
from gateway.errors import JobQueueFull
from gateway.jobs.store import Jobs
from tests.contracts.queueing import add, complete, settings

name, jobs = sys.argv[1], Jobs(Database(sys.argv[2]), settings(per_key=10_000))
random.seed(name)
jobs.database.read(lambda connection: None)
print("ready", flush=True)
sys.stdin.readline()
"""
CLAIM = """
found = []
while (claimed := jobs.claim(name)) is not None:
    found.append(claimed.id)
print(json.dumps(found))
"""
ADD = """
jobs, found = Jobs(jobs.database, settings(per_key=100)), 0
for number in range(60):
    try:
        add(jobs, number)
        found += 1
    except JobQueueFull:
        pass
print(found)
"""
# Runs each job for a moment; whether it ends well or was cancelled is a matter of luck.
FINISH = """
found = {}
while len(found) < 500 and (claimed := jobs.claim(name) or jobs.claim(name)) is not None:
    time.sleep(random.uniform(0, 0.004))
    if random.random() < 0.5 and jobs.beat(name, [claimed.id])[1]:
        found[claimed.id] = ["cancelled", jobs.finish(claimed, "cancelled")]
    else:
        found[claimed.id] = ["completed", complete(jobs, claimed)]
print(json.dumps(found))
"""
CANCEL = """
found = {}
for id in json.loads(sys.argv[3]):
    while random.random() < 0.9 and jobs.get("mine", id).status == "queued":
        time.sleep(0.0005)
    time.sleep(random.uniform(0, 0.004))
    found[id] = jobs.cancel("mine", id).status
print(json.dumps(found))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def jobs(request, tmp_path):
    address = f"sqlite:///{tmp_path}/gateway.db"
    if request.param == "postgresql":
        address = request.getfixturevalue("url")
    upgrade(address)
    database = Database(address)
    yield Jobs(database, settings(per_key=10_000))
    database.close()


@contextlib.contextmanager
def processes(jobs, **scripts):
    """Start scripts at once, each in a process of its own; give a function that reads them."""
    address = jobs.database.url.render_as_string(hide_password=False)
    started = {}
    try:
        for name, (script, *arguments) in scripts.items():
            command = [sys.executable, "-c", START + script, name, address, *arguments]
            started[name] = subprocess.Popen(
                command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        for process in started.values():
            assert process.stdout.readline() == "ready\n"
        for process in started.values():
            process.stdin.write("go\n")
            process.stdin.flush()

        def read(name):
            said, _ = started[name].communicate(timeout=240)
            assert started[name].returncode == 0
            return json.loads(said)

        yield read
    finally:
        for process in started.values():
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def test_each_of_2000_jobs_is_claimed_once_by_four_processes(jobs):
    ids = fill(jobs, 2000, keys=7)

    with processes(jobs, **{name: (CLAIM,) for name in "abcd"}) as read:
        found = [read(name) for name in "abcd"]

    assert sorted(id for each in found for id in each) == sorted(ids)
    assert sum(map(len, found)) == 2000 and min(map(len, found)) > 0
    rows = jobs.newest(2000)
    assert collections.Counter((row.status, row.attempts) for row in rows) == {
        ("in_progress", 1): 2000
    }


def test_cap_of_a_key_is_exact_between_processes(jobs):
    with processes(jobs, **{name: (ADD,) for name in "abcd"}) as read:
        counts = [read(name) for name in "abcd"]
    assert sum(counts) == 100 == len(jobs.newest(1000))


def test_500_races_of_cancel_and_finish_have_one_outcome_each(jobs):
    ids = [add(jobs, number).id for number in range(500)]
    seen = {}

    with processes(jobs, ends=(FINISH,), cancels=(CANCEL, json.dumps(ids))) as read:
        deadline = time.monotonic() + 240
        while len(seen) < 500 and time.monotonic() < deadline:
            watch(jobs, ids, seen)
        finished, cancelled = read("ends"), read("cancels")

    outcomes = collections.Counter()
    for id in ids:
        status = jobs.get("mine", id).status
        wanted, done = finished.get(id, (None, False))
        assert status == (wanted if done else "cancelled")
        # What the caller was told is what came of it, unless it was told that nothing is sure.
        assert cancelled[id] in (status, "in_progress")
        assert id in finished or cancelled[id] == "cancelled"
        assert seen[id] == status
        outcomes[status, cancelled[id], id in finished] += 1
    print(sorted(outcomes.items()))
    assert {status for status, _, _ in outcomes} == {"completed", "cancelled"}
    assert len(outcomes) >= 3, "these were no races"

    for id in ids:
        assert jobs.cancel("mine", id).status == seen[id]
    later(jobs, 1000)
    sweep(jobs)
    watch(jobs, ids, seen)
    ran = [id for id in ids if id in finished and seen[id] == "completed"]
    assert len(used(jobs)) == len(ran)


def watch(jobs, ids, seen):
    """Note which jobs have ended, and assert that none that had has changed."""
    for id, status in jobs.statuses(ids).items():
        if status not in ("queued", "in_progress"):
            assert seen.setdefault(id, status) == status
