"""What a worker takes, keeps, stops and hands back; its store and its jobs are scripted."""

import itertools
import logging
import threading
import time
from types import SimpleNamespace

import pytest

from gateway import errors
from gateway.jobs import running as runs
from gateway.jobs import worker as module
from gateway.jobs.worker import Worker


class Store:
    """A queue of jobs; `away` raises what it holds in place of the next answers."""

    def __init__(self, *ids):
        self.queue, self.away = list(ids), []
        self.claims, self.released, self.beats = [], [], []
        self.ours, self.cancelled = None, set()

    def fail(self):
        if self.away:
            raise self.away.pop(0)

    def claim(self, worker):
        self.claims.append(worker)
        self.fail()
        return SimpleNamespace(id=self.queue.pop(0)) if self.queue else None

    def release(self, claimed):
        self.fail()
        self.released.append(claimed.id)

    def beat(self, worker, ids):
        self.beats.append(set(ids))
        self.fail()
        return set(ids) if self.ours is None else self.ours, self.cancelled


class Job:
    """Runs until it is told to end; `stop` ends it too unless it is stubborn."""

    def __init__(self, claimed):
        self.claimed, self.why = claimed, []
        self.done, self.begun, self.stubborn = threading.Event(), threading.Event(), False

    def run(self):
        self.begun.set()
        assert self.done.wait(10)

    def stop(self, why):
        self.why.append(why)
        if not self.stubborn:
            self.done.set()


class Bench:
    """A worker over a scripted store, and the jobs that it has begun by their ids."""

    def __init__(self, *ids, concurrency=2, **how):
        self.store, self.jobs = Store(*ids), {}
        self.worker = Worker(self.store, self.begin, concurrency, **how)

    def begin(self, claimed):
        job = self.jobs[claimed.id] = Job(claimed)
        return job

    def end(self, *ids):
        for id in ids or self.jobs:
            self.jobs[id].done.set()
        self.wait(lambda: not [j for j in self.worker.running if j.done.is_set()])

    def wait(self, holds):
        deadline = time.monotonic() + 5
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def bench():
    made = []

    def make(*ids, **how):
        made.append(Bench(*ids, **how))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records]


def test_jobs_are_taken_one_after_another_until_there_is_no_room(bench):
    at = bench("a", "b", "c")
    assert [at.worker.step() for _ in range(3)] == [0, 0, module.FULL]
    assert list(at.jobs) == ["a", "b"] and len(at.store.claims) == 2

    at.end("a")
    assert at.worker.step() == 0
    assert list(at.jobs) == ["a", "b", "c"]


def test_empty_queue_is_looked_at_seldom_and_at_different_times(bench):
    at = bench()
    rests = {at.worker.step() for _ in range(20)}
    assert len(rests) > 1 and all(0.5 <= rest <= 1 for rest in rests)


def test_every_worker_has_a_name_of_its_own(bench):
    assert bench().worker.id != bench().worker.id


@pytest.mark.parametrize(
    ("exc", "rest", "lines"),
    [(errors.DependencyUnavailable(), module.AWAY, 0), (ValueError("x"), module.WRONG, 1)],
)
def test_trouble_with_the_queue_is_waited_out(bench, told, exc, rest, lines):
    at = bench("a")
    at.store.away = [exc]
    assert at.worker.step() == rest
    assert len(told()) == lines
    assert at.worker.step() == 0


def test_poke_ends_the_rest_and_so_does_a_job_that_has_ended(bench, monkeypatch):
    monkeypatch.setattr(module, "POLL", (60, 60))
    monkeypatch.setattr(module, "FULL", 60)
    at, stop = bench(concurrency=1), threading.Event()
    thread = threading.Thread(target=at.worker.run, args=(stop,), daemon=True)
    thread.start()
    at.wait(lambda: at.store.claims)
    at.store.queue += ["a", "b"]
    at.worker.poke()
    at.wait(lambda: "a" in at.jobs)
    at.end("a")
    at.wait(lambda: "b" in at.jobs)
    stop.set()
    at.end("b")
    thread.join(5)
    assert not thread.is_alive()


class Broken(Job):
    def run(self):
        raise ValueError("x")


def test_job_that_raises_makes_room_for_another(bench, told):
    at = bench("a", "b", concurrency=1)
    at.worker.begin = Broken
    assert at.worker.step() == 0
    at.wait(lambda: not at.worker.running)
    assert told() == ["a job could not be run"]
    assert at.worker.step() == 0


def test_beat_renews_what_runs_and_nothing_else(bench):
    at = bench("a", "b")
    at.worker.beat()
    assert at.store.beats == []
    at.worker.step(), at.worker.step()
    at.end("a")
    at.worker.beat()
    assert at.store.beats == [{"b"}]


def test_beat_brings_what_is_to_be_cancelled_and_what_is_lost(bench):
    at = bench("a", "b", "c", concurrency=3)
    for _ in range(3):
        at.worker.step()
    at.store.ours, at.store.cancelled = {"b", "c"}, {"c"}
    at.worker.beat()
    assert [at.jobs[id].why for id in "abc"] == [[runs.LOST], [], [runs.CANCELLED]]


def test_many_leases_are_renewed_in_several_statements(bench, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    at = bench(*"abcde", concurrency=5)
    for _ in range(5):
        at.worker.step()
    at.worker.beat()
    assert sorted(map(len, at.store.beats)) == [1, 2, 2]
    assert set().union(*at.store.beats) == set("abcde")


def test_leases_are_renewed_while_the_worker_runs_and_trouble_is_waited_out(
    bench, monkeypatch, told
):
    monkeypatch.setattr(module, "BEAT", 0.01)
    at, stop = bench("a"), threading.Event()
    thread = threading.Thread(target=at.worker.run, args=(stop,), daemon=True)
    thread.start()
    at.wait(lambda: at.store.beats)
    at.store.away = [errors.DependencyUnavailable(), ValueError("x")]
    seen = len(at.store.beats)
    at.wait(lambda: len(at.store.beats) > seen + 3)
    assert at.jobs["a"].why == []
    assert [line for line in told() if "leases" in line] in ([], ["leases could not be renewed"])
    stop.set()
    at.end()
    thread.join(5)


def test_job_that_was_taken_while_the_worker_began_to_drain_is_given_back(bench):
    at = bench("a", "b")
    claim = at.store.claim

    def slow(worker):
        found = claim(worker)
        at.worker.draining = True
        return found

    at.store.claim = slow
    at.worker.step()
    assert at.store.released == ["a"] and at.jobs == {}
    assert at.worker.step() == module.FULL
    assert at.store.queue == ["b"]


def test_drain_waits_for_a_job_that_is_just_being_taken(bench):
    at, taken, go = bench("a"), threading.Event(), threading.Event()
    claim = at.store.claim

    def slow(worker):
        found = claim(worker)
        taken.set()
        assert go.wait(5)
        return found

    at.store.claim = slow
    taking = threading.Thread(target=at.worker.step, daemon=True)
    taking.start()
    assert taken.wait(5)
    draining = threading.Thread(target=at.worker.drain, args=(60,), daemon=True)
    draining.start()
    draining.join(0.2)
    assert draining.is_alive() and at.store.released == []
    go.set()
    draining.join(5)
    assert not draining.is_alive()
    assert at.store.released == ["a"] and at.jobs == {}


def test_drain_waits_for_what_runs_and_takes_nothing_more(bench):
    at = bench("a", "b", "c")
    at.worker.step(), at.worker.step()
    draining = threading.Thread(target=at.worker.drain, args=(60,), daemon=True)
    draining.start()
    at.wait(lambda: at.worker.draining)
    assert at.worker.step() == module.FULL
    at.end("a", "b")
    draining.join(5)
    assert not draining.is_alive()
    assert [job.why for job in at.jobs.values()] == [[], []]
    assert at.store.queue == ["c"]


@pytest.mark.parametrize("seconds", [0, 1, 30])
def test_drain_stops_what_still_runs_two_seconds_before_its_end(bench, monkeypatch, told, seconds):
    # A second with every look, until the job is stopped: its thread ends when it gets its turn.
    clock, stopped = itertools.count(), []
    at = bench("a", clock=lambda: stopped[0] if stopped else next(clock))
    monkeypatch.setattr(module, "LOOK", 0)
    at.worker.step()
    job = at.jobs["a"]
    stop = job.stop
    job.stop = lambda why: (stopped.append(next(clock)), stop(why))
    at.worker.drain(seconds)
    assert job.why == [runs.DRAINED]
    least = max(seconds - 2, 0)
    assert least <= stopped[0] <= least + 3  # a look or two
    assert told() == ["jobs are stopped that have not ended: 1"]
    assert not at.worker.running


def test_drain_does_not_wait_for_ever_for_what_will_not_stop(bench, monkeypatch):
    clock = itertools.count()
    at = bench("a", clock=lambda: next(clock))
    monkeypatch.setattr(module, "LOOK", 0)
    at.worker.step()
    at.jobs["a"].stubborn = True
    at.worker.drain(5)
    assert at.worker.running and 5 - 2 <= next(clock) <= 10


def test_second_drain_ends_the_first(bench):
    at = bench("a")
    at.worker.step()
    draining = threading.Thread(target=at.worker.drain, args=(600,), daemon=True)
    draining.start()
    at.worker.drain()
    draining.join(5)
    assert not draining.is_alive() and at.jobs["a"].why == [runs.DRAINED]
