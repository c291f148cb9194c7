"""What the queue promises of jobs whose keys are at their limits, over every database."""

import time

import pytest

from gateway.jobs.store import Jobs
from tests.contracts import queueing
from tests.contracts.queueing import add, complete, drained, fill, later


class LimitedJobsContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def jobs(self, database):
        return Jobs(database, queueing.settings())

    def test_job_that_waits_holds_up_those_behind_it_of_its_key_and_no_other(self, jobs):
        for number in range(3):
            add(jobs, number)
        jobs.claim("w")
        assert jobs.release(jobs.claim("w"), wait=1000)
        add(jobs, 100, key="yours")
        assert drained(jobs) == [100]
        later(jobs, 1001)
        assert drained(jobs) == [1, 2]

    def test_job_before_one_that_waits_is_not_held_up(self, jobs):
        add(jobs)
        add(jobs, 2)
        first = jobs.claim("w")
        assert jobs.release(jobs.claim("w"), wait=1000)
        assert jobs.release(first)
        assert drained(jobs) == [1]

    def test_job_that_ends_wakes_the_next_one_of_its_key(self, jobs):
        for number in range(4):
            add(jobs, number)
        first = jobs.claim("w")
        others = [jobs.claim("w"), jobs.claim("w")]
        for claimed in others[::-1]:
            assert jobs.release(claimed, wait=1000)
        assert jobs.claim("w") is None
        assert complete(jobs, first)
        assert drained(jobs) == [1]  # one slot was given back, not two

    def test_job_that_ends_wakes_nobody_of_another_key(self, jobs):
        add(jobs)
        add(jobs, 2, key="yours")
        first = jobs.claim("w")
        assert jobs.release(jobs.claim("w"), wait=1000)
        assert complete(jobs, first)
        assert jobs.claim("w") is None

    def test_keys_at_their_limits_do_not_keep_a_newer_job_of_another_waiting(self, jobs):
        fill(jobs, 500, keys=5)
        later(jobs, 1000)
        row = add(jobs, 1, key="free")
        claimed = []
        while not claimed or claimed[-1].id != row.id:
            claimed.append(jobs.claim("w"))
            if claimed[-1].id != row.id:
                assert jobs.release(claimed[-1], wait=0.001)
                time.sleep(0.002)  # so that they may be tried again at once
        assert len(claimed) <= 6

    def test_tries_of_a_key_at_its_limits_do_not_grow_with_its_queue(self, jobs):
        ids = fill(jobs, 300, keys=3)
        tries = []
        for _ in range(3):
            while (claimed := jobs.claim("w")) is not None:
                tries.append(claimed.id)
                assert jobs.release(claimed, wait=100)
            later(jobs, 101)
        assert sorted(tries) == sorted(ids[:3] * 3)

    def test_key_at_its_limits_keeps_the_order_of_its_jobs(self, jobs):
        for number in range(5):
            add(jobs, number)
        later(jobs, 1000)
        taken = [jobs.claim("w") for _ in range(3)]
        for claimed in (taken[1], taken[0], taken[2]):
            assert jobs.release(claimed, wait=10)
        later(jobs, 11)
        assert drained(jobs) == [0, 1, 2, 3, 4]

    def test_key_at_its_limits_keeps_its_place_before_those_that_come_later(self, jobs):
        add(jobs)
        assert jobs.release(jobs.claim("w"), wait=10)
        later(jobs, 11)
        add(jobs, 100, key="yours")
        assert drained(jobs) == [1, 100]

    def test_wait_is_told_by_the_clock_that_ends_it(self, jobs):
        add(jobs)
        claimed = jobs.claim("w")
        if self.dialect == "postgresql":
            jobs.clock = lambda: time.time() + 600  # this machine's, which is wrong
        assert jobs.release(claimed, wait=1)
        assert jobs.claim("w") is None
        later(jobs, 1.1)
        assert jobs.claim("w") is not None

    def test_key_with_one_slot_has_one_job_after_the_other_without_a_pause(self, jobs):
        many = Jobs(jobs.database, queueing.settings(per_key=20))
        for number in range(20):
            add(many, number)
        done, running = [], None
        while len(done) < 20:
            claimed = many.claim("w")
            if claimed is None:
                done.append(queueing.number_of(running))
                assert complete(many, running)
                running = None
            elif running is None:
                running = claimed
            else:
                assert many.release(claimed, wait=1000)  # as its key's only slot is taken
        assert done == list(range(20))


class TestSQLite(LimitedJobsContract):
    dialect = "sqlite"


class TestPostgreSQL(LimitedJobsContract):
    dialect = "postgresql"
