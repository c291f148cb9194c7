"""What the queue of jobs promises over every database."""

import contextlib
import threading
import time
from functools import partial
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from gateway import errors
from gateway.jobs import rows
from gateway.jobs import store as module
from gateway.jobs import sweep as sweeping
from gateway.jobs.store import LEASE, Jobs
from tests.contracts import queueing
from tests.contracts.queueing import (
    HOUR,
    add,
    code,
    column,
    complete,
    drained,
    later,
    number_of,
    sweep,
    used,
)

UNKNOWN = "job_" + "0" * 32


@contextlib.contextmanager
def listening(database, statements):
    """Add the statements that a database is asked."""

    def hear(connection, cursor, statement, *args):
        statements.append(statement)

    engine = database.read(lambda connection: connection.engine)
    sa.event.listen(engine, "before_cursor_execute", hear)
    yield
    sa.event.remove(engine, "before_cursor_execute", hear)


class JobsContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def jobs(self, database):
        return Jobs(database, queueing.settings())

    @pytest.fixture
    def other(self, jobs):
        """The store of another process."""
        found = queueing.another(jobs)
        yield found
        found.database.close()

    def test_job_is_on_disk_once_it_is_added(self, jobs, other):
        before = time.time()
        row = add(jobs, 7, metadata={"a": "\0é"})

        found = other.get("mine", row.id)
        assert module.FORM.fullmatch(row.id) and row.id.startswith("job_")
        assert (found.status, found.endpoint, found.model) == ("queued", "chat", "m")
        assert found.request_id == f"req_{7:032x}"
        assert found.metadata == '{"a":"\\u0000é"}'.encode()
        assert before - 5 < found.created_at < time.time() + 5
        assert (found.attempts, found.result, found.error, found.expires_at) == (0, None) + (
            None,
        ) * 2
        assert other.asked("mine", row.id)["messages"][0]["content"] == "7"

    def test_background_job_has_the_id_it_is_given(self, jobs):
        id = "resp_" + "a" * 32
        row = jobs.add("mine", "responses", {"model": "m"}, "req_1", background=True, id=id)
        assert (row.id, row.background, row.metadata) == (id, True, None)
        assert jobs.claim("w").background

    @pytest.mark.parametrize("way", ["get", "cancel", "asked"])
    @pytest.mark.parametrize("id", ["", "x", "\0", "job_\ud800", UNKNOWN, UNKNOWN + "\n"])
    def test_unknown_id_is_none(self, jobs, way, id):
        add(jobs)
        assert getattr(jobs, way)("mine", id) is None
        assert jobs.owner(id) is None

    @pytest.mark.parametrize("way", ["get", "cancel", "asked"])
    def test_job_of_another_key_is_none(self, jobs, way):
        row = add(jobs)
        assert getattr(jobs, way)("yours", row.id) is None
        assert jobs.get("mine", row.id).status == "queued"
        assert jobs.claim("w") is not None
        assert getattr(jobs, way)("yours", row.id) is None
        assert column(jobs, row.id, "cancel") == (False,)
        assert jobs.owner(row.id) == "mine"

    def test_claim_takes_the_oldest_and_nothing_twice(self, jobs, other):
        ids = [add(jobs, number).id for number in range(3)]
        claimed = [jobs.claim("a"), other.claim("b"), jobs.claim("a")]

        assert [c.id for c in claimed] == ids
        assert [number_of(c) for c in claimed] == [0, 1, 2]
        assert {(c.attempt, c.claim) for c in claimed} == {(1, 1)}
        assert jobs.claim("a") is None
        row = jobs.get("mine", ids[0])
        assert (row.status, row.attempts) == ("in_progress", 1)
        assert row.started_at >= row.created_at

    def test_key_with_many_jobs_does_not_hold_up_another(self, jobs):
        for number in range(5):
            add(jobs, number)
        add(jobs, 100, key="yours")
        add(jobs, 200, key="theirs")
        add(jobs, 101, key="yours")

        found = drained(jobs)
        assert found[0] == 0 and set(found[1:3]) == {100, 200}
        assert [n for n in found if n < 100] == [0, 1, 2, 3, 4]

    def test_key_that_comes_later_does_not_overtake_for_ever(self, jobs):
        for number in range(3):
            add(jobs, number)
        later(jobs, 10)  # all three are older now than what comes
        add(jobs, 100, key="yours")
        assert drained(jobs) == [0, 1, 2, 100]

    def test_as_many_jobs_of_a_key_as_it_may_have(self, jobs):
        for number in range(5):
            add(jobs, number)
        with pytest.raises(errors.JobQueueFull) as found:
            add(jobs, 5)
        assert found.value.headers()["retry-after"] == "5"
        add(jobs, 6, key="yours")

        claimed = jobs.claim("w")
        with pytest.raises(errors.JobQueueFull):
            add(jobs, 5)  # a running one counts
        assert complete(jobs, claimed)
        assert add(jobs, 5)

    def test_as_many_jobs_as_there_is_room_for(self, jobs, monkeypatch):
        monkeypatch.setattr(module, "MOST", 3)
        for key in "abc":
            add(jobs, key=key)
        with pytest.raises(errors.JobQueueFull, match="queue is full"):
            add(jobs, key="d")
        assert jobs.cancel("a", jobs.newest(1, key="a")[0].id).status == "cancelled"
        assert add(jobs, key="d")

    @pytest.mark.parametrize("bound", ["key", "all"])
    def test_caps_are_exact_when_many_add_at_once(self, jobs, other, monkeypatch, bound):
        monkeypatch.setattr(module, "MOST", 5 if bound == "all" else 1000)
        done, start = [], threading.Barrier(4)

        def work(mine, first):
            start.wait()
            for number in range(first, first + 6):
                key = "mine" if bound == "key" else f"key{number}"
                with contextlib.suppress(errors.JobQueueFull):
                    done.append(add(mine, number, key=key).id)

        args = [(jobs, 0), (other, 10), (jobs, 20), (other, 30)]
        threads = [threading.Thread(target=work, args=found) for found in args]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 5 == len(jobs.newest(100))

    def test_answered_and_finish_are_only_for_who_holds_the_job(self, jobs, other):
        row = add(jobs)
        first = jobs.claim("a")
        later(jobs, LEASE + 1)
        sweep(jobs)
        second = other.claim("b")

        assert second.id == first.id and second.attempt == 2
        assert not jobs.answered(first)
        assert not complete(jobs, first)
        assert not jobs.release(first)
        assert jobs.beat("a", [first.id]) == (set(), set())
        assert used(jobs) == []
        assert other.answered(second)
        assert complete(other, second)
        assert not complete(other, second)
        assert not other.answered(second)
        found = jobs.get("mine", row.id)
        assert (found.status, found.attempts) == ("completed", 2)
        assert used(jobs) == [(row.request_id, 200, None, "upstream")]

    def test_earlier_claim_of_the_same_worker_holds_nothing(self, jobs):
        add(jobs)
        first = jobs.claim("a")
        assert jobs.release(first)
        second = jobs.claim("a")

        assert (second.attempt, second.claim) == (1, 2)
        assert not jobs.answered(first) and not complete(jobs, first)
        assert not jobs.release(first)
        assert complete(jobs, second)

    def test_finished_job_is_whole(self, jobs, other):
        id = add(jobs).id
        claimed = jobs.claim("w")
        assert complete(jobs, claimed)

        row = other.get("mine", id)
        assert (row.status, row.result_status, row.result) == ("completed", 200, b'{"a":1}')
        assert row.usage == b'{"input_tokens":3,"output_tokens":2,"total_tokens":5}'
        assert (row.error, row.cancelled_at) == (None, None)
        assert row.expires_at == pytest.approx(row.completed_at + HOUR)
        assert column(jobs, id, "payload", "worker", "lease_until") == (None, None, None)

    @pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled", "expired"])
    def test_each_end_is_for_good(self, jobs, status):
        id = add(jobs).id
        claimed = jobs.claim("w")
        error = {"message": "m", "type": "t", "param": None, "code": "c"}
        assert jobs.finish(claimed, status, error=error)

        row = jobs.get("mine", id)
        assert (row.status, code(row)) == (status, "c")
        assert (row.completed_at is None) == (status == "cancelled") != (row.cancelled_at is None)
        assert jobs.cancel("mine", id)._mapping == row._mapping
        assert not complete(jobs, claimed)
        later(jobs, LEASE + 1)
        sweep(jobs)
        assert jobs.get("mine", id).status == status
        assert jobs.claim("w") is None

    def test_job_and_its_usage_are_written_together_or_not_at_all(self, jobs):
        id = add(jobs).id
        claimed = jobs.claim("w")
        with pytest.raises(Exception, match="(?i)null|constraint"):
            bad = {**queueing.usage_row(claimed), "status": None}
            jobs.finish(claimed, "completed", usage_row=bad)

        assert jobs.get("mine", id).status == "in_progress"
        assert complete(jobs, claimed)

    def test_background_job_keeps_what_it_was_asked(self, jobs):
        id = "resp_" + "b" * 32
        jobs.add("mine", "responses", {"model": "m", "input": "x"}, "req_1", True, id)
        assert jobs.finish(jobs.claim("w"), "failed")
        assert jobs.asked("mine", id) == {"model": "m", "input": "x"}

    def test_job_given_back_is_taken_again_when_it_may_be(self, jobs):
        id = add(jobs).id
        claimed = jobs.claim("w")
        assert jobs.release(claimed, wait=1000)

        row = jobs.get("mine", id)
        assert (row.status, row.attempts, row.started_at) == ("queued", 0, None)
        assert jobs.claim("w") is None
        later(jobs, 1001)
        assert jobs.claim("w").id == id

    def test_attempt_that_was_spent_is_not_given_back(self, jobs):
        add(jobs)
        for attempt in (1, 2):
            claimed = jobs.claim("w")
            assert claimed.attempt == attempt
            assert jobs.release(claimed, spent=True)

    def test_job_that_was_answered_cannot_be_given_back(self, jobs):
        add(jobs)
        claimed = jobs.claim("w")
        assert jobs.answered(claimed)
        assert not jobs.release(claimed)
        assert jobs.claim("w") is None

    def test_beat_renews_leases_and_brings_cancels(self, jobs, other):
        ids = [add(jobs, number).id for number in range(3)]
        mine = [jobs.claim("a"), jobs.claim("a")]
        yours = other.claim("b")
        other.cancel("mine", ids[1])
        later(jobs, LEASE + 1)

        assert jobs.beat("a", ids[:2]) == ({*ids[:2]}, {ids[1]})
        assert jobs.beat("a", [yours.id, UNKNOWN]) == (set(), set())
        assert jobs.beat("a", []) == (set(), set())
        sweep(jobs)
        assert [jobs.get("mine", c.id).status for c in mine] == ["in_progress"] * 2
        assert jobs.get("mine", yours.id).status == "queued"

    def test_leases_are_written_only_when_they_are_due(self, jobs):
        add(jobs)
        claimed = jobs.claim("a")
        before = column(jobs, claimed.id, "lease_until")
        for seconds in (0, module.RENEW / 2):
            later(jobs, seconds)
            assert jobs.beat("a", [claimed.id]) == ({claimed.id}, set())
        (after,) = column(jobs, claimed.id, "lease_until")
        assert after == pytest.approx(before[0] - module.RENEW / 2, abs=0.001)

        later(jobs, module.RENEW)
        assert jobs.beat("a", [claimed.id]) == ({claimed.id}, set())
        assert column(jobs, claimed.id, "lease_until")[0] >= before[0]

    def test_cancelled_in_the_queue_is_cancelled_at_once(self, jobs, other):
        id = add(jobs).id
        row = other.cancel("mine", id)

        assert (row.status, code(row), row.completed_at) == ("cancelled", "cancelled", None)
        assert row.expires_at == pytest.approx(row.cancelled_at + HOUR)
        assert jobs.claim("w") is None
        assert other.cancel("mine", id)._mapping == jobs.get("mine", id)._mapping
        assert column(jobs, id, "payload") == (None,)
        assert used(jobs) == []  # it never ran

    def test_cancelled_while_it_runs_is_its_worker_s_to_end(self, jobs, other):
        id = add(jobs).id
        claimed = jobs.claim("w")
        row = other.cancel("mine", id)
        assert (row.status, row.cancelled_at, row.error) == ("in_progress", None, None)
        assert other.cancel("mine", id).status == "in_progress"

        assert jobs.finish(claimed, "cancelled")
        assert code(jobs.get("mine", id)) == "cancelled"

    def test_job_that_ends_before_its_cancel_was_seen_has_completed(self, jobs):
        id = add(jobs).id
        claimed = jobs.claim("w")
        jobs.cancel("mine", id)
        assert complete(jobs, claimed)
        assert jobs.cancel("mine", id).status == "completed"

    @pytest.mark.parametrize("spent", [True, False])
    def test_giving_back_what_is_to_be_cancelled_cancels_it(self, jobs, spent):
        row = add(jobs)
        claimed = jobs.claim("w")
        jobs.cancel("mine", row.id)
        assert jobs.release(claimed, spent=spent)

        found = jobs.get("mine", row.id)
        assert (found.status, code(found)) == ("cancelled", "cancelled")
        assert found.expires_at == pytest.approx(found.cancelled_at + HOUR)
        assert used(jobs) == [(row.request_id, 499, "cancelled", "absent")] * spent

    def test_lost_worker_gives_its_job_back(self, jobs, other):
        id = add(jobs).id
        jobs.claim("a")
        sweep(jobs)
        assert jobs.get("mine", id).status == "in_progress"

        later(jobs, LEASE + 1)
        sweep(other)
        row = jobs.get("mine", id)
        assert (row.status, row.attempts, row.started_at) == ("queued", 1, None)
        assert used(jobs) == []

    @pytest.mark.parametrize("answered", [True, False])
    def test_job_that_may_not_run_again_fails_once(self, jobs, other, answered):
        row = add(jobs)
        for _ in range(1 if answered else sweeping.TRIES):
            assert jobs.get("mine", row.id).status == "queued"
            claimed = jobs.claim("w")
            assert not answered or jobs.answered(claimed)
            later(jobs, LEASE + 1)
            sweep(jobs)
        sweep(other)

        found = jobs.get("mine", row.id)
        assert (found.status, code(found)) == ("failed", "worker_lost")
        assert found.expires_at == pytest.approx(found.completed_at + HOUR)
        assert used(jobs) == [(row.request_id, 500, "worker_lost", "absent")]
        assert not complete(jobs, claimed)

    def test_lost_job_that_was_to_be_cancelled_is_cancelled(self, jobs):
        row = add(jobs)
        assert jobs.answered(jobs.claim("w"))
        jobs.cancel("mine", row.id)
        later(jobs, LEASE + 1)
        sweep(jobs)

        assert jobs.get("mine", row.id).status == "cancelled"
        assert used(jobs) == [(row.request_id, 499, "cancelled", "absent")]

    def test_job_that_waited_too_long_expires(self, jobs):
        row = add(jobs)
        later(jobs, HOUR + 1)
        add(jobs, 2)
        sweep(jobs)

        found = jobs.get("mine", row.id)
        assert (found.status, code(found)) == ("expired", "expired")
        assert drained(jobs) == [2]
        assert used(jobs) == []

    def test_running_job_is_kept_however_long_it_takes(self, jobs):
        add(jobs)
        claimed = jobs.claim("w")
        later(jobs, 9 * HOUR)
        jobs.beat("w", [claimed.id])
        sweep(jobs)
        assert complete(jobs, claimed)
        assert jobs.get("mine", claimed.id).status == "completed"

    def test_ended_job_is_gone_after_its_hours(self, jobs):
        ids = [add(jobs, number).id for number in range(2)]
        complete(jobs, jobs.claim("w"))
        later(jobs, HOUR + 1, ids[0])

        assert jobs.get("mine", ids[0]) is None
        assert jobs.cancel("mine", ids[0]) is None
        assert [row.id for row in jobs.page("mine", 10)[0]] == [ids[1]]
        assert jobs.page("mine", 10, after=ids[0]) is None
        gone = []
        sweep(jobs, also=[lambda connection, ids: gone.extend(ids)])
        assert gone == [ids[0]]
        assert [row.id for row in jobs.newest(10)] == [ids[1]]

    def test_sweep_goes_through_more_than_a_batch(self, jobs, monkeypatch):
        monkeypatch.setattr("gateway.sweeping.PAUSE", 0)
        many = Jobs(jobs.database, queueing.settings(per_key=1000))
        total = sweeping.sql.BATCH + 20
        for number in range(total):
            add(many, number)
            many.answered(many.claim("w"))
        later(many, LEASE + 1)

        sweep(many)
        assert {row.status for row in many.newest(1000)} == {"failed"}
        assert len(used(many)) == total
        later(many, HOUR + 1)
        sweep(many)
        assert many.newest(1000) == []

    def test_sweep_deletes_no_more_at_once_than_the_database_has_time_for(self, jobs):
        for number in range(5):
            add(jobs, number)
            complete(jobs, jobs.claim("w"), result=b"x" * 1000)
        later(jobs, HOUR + 1)

        def purged(weight):
            return jobs.write(partial(rows.purge, also=(), weight=weight))

        found = [purged(weight) for weight in (1, 2000, 10_000, 1)]
        assert found == [(1, True), (2, True), (2, False), (0, False)]

    @pytest.mark.parametrize("way", ["finish", "cancel", "release", "discard"])
    def test_sums_of_usage_are_held_by_the_last_statement(self, jobs, database, way):
        statements, claimed = [], None
        id = add(jobs).id
        claimed = jobs.claim("w")
        if way == "release":
            jobs.cancel("mine", id)
        run = {
            "finish": lambda: complete(jobs, claimed, also=note),
            "cancel": lambda: jobs.cancel("mine", id),
            "release": lambda: jobs.release(claimed, spent=True),
            "discard": lambda: jobs.discard("mine", id, also=[note]),
        }[way]

        def note(connection, *args):
            connection.execute(sa.text("select 42"))

        jobs.told = SimpleNamespace(ended=note)
        if way == "cancel":
            assert jobs.release(claimed, spent=True)
        with listening(database, statements):
            assert run()
        assert any("42" in each for each in statements)
        assert "usage_totals" in statements[-1]

    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_pages_show_every_job_once(self, jobs, order):
        add(jobs, 100, key="yours")
        ids = [add(jobs, number).id for number in range(5)]
        ids = ids if order == "asc" else ids[::-1]

        first, more = jobs.page("mine", 2, order=order)
        second, still = jobs.page("mine", 2, first[-1].id, order)
        third, last = jobs.page("mine", 2, second[-1].id, order)
        assert [row.id for row in (*first, *second, *third)] == ids
        assert (more, still, last) == (True, True, False)
        assert not hasattr(first[0], "result") and not hasattr(first[0], "payload")
        assert jobs.page("mine", 5)[1] is False
        assert jobs.page("mine", 5, UNKNOWN) is None
        assert jobs.page("mine", 5, "\0") is None
        assert jobs.page("yours", 5, ids[0]) is None

    def test_jobs_made_at_the_same_time_are_paged_once_each(self, jobs):
        ids = sorted(add(jobs, number).id for number in range(4))
        change = module.sql.table.update().values(created_at=5e9)
        jobs.database.write(lambda c: c.execute(change) and None)
        found, after = [], None
        for _ in ids:
            (row,), _ = jobs.page("mine", 1, after, "asc")
            found.append(after := row.id)
        assert found == ids

    def test_newest_are_told_by_key_and_status(self, jobs):
        add(jobs, 1)
        add(jobs, 2, key="yours")
        jobs.claim("w")
        assert [row.key for row in jobs.newest(5)] == ["yours", "mine"]
        assert [row.key for row in jobs.newest(1)] == ["yours"]
        assert [row.key for row in jobs.newest(5, key="mine")] == ["mine"]
        assert [row.key for row in jobs.newest(5, status="in_progress")] == ["mine"]
        assert jobs.newest(5, key="yours", status="in_progress") == []

    def test_statuses_of_many_jobs(self, jobs):
        ids = [add(jobs, number).id for number in range(3)]
        jobs.claim("w")
        found = {ids[0]: "in_progress", ids[1]: "queued"}
        assert jobs.statuses({ids[0], ids[1], UNKNOWN}) == found

    def test_sweep_counts_jobs_by_status(self, jobs):
        from gateway import metrics

        def counts():
            samples = metrics.jobs.collect()[0].samples
            return {s.labels["status"]: s.value for s in samples if s.value}

        for number in range(3):
            add(jobs, number)
        complete(jobs, jobs.claim("w"))
        jobs.claim("w")
        one = sweeping.Sweep(jobs)
        one.sweep(threading.Event())
        assert counts() == {"completed": 1, "in_progress": 1, "queued": 1}
        drained(jobs)
        one.sweep(threading.Event())
        assert counts() == {"completed": 1, "in_progress": 2}


class TestSQLite(JobsContract):
    dialect = "sqlite"


class TestPostgreSQL(JobsContract):
    dialect = "postgresql"
