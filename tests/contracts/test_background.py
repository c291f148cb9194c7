"""What holds of background responses over every database, whoever ends them."""

import threading
from collections import Counter
from functools import partial

import orjson
import pytest
import sqlalchemy as sa

from gateway import errors
from gateway.database import Database
from gateway.jobs.background import Background
from gateway.jobs.ended import CANCELLED, Ended
from gateway.jobs.recorded import Recorded
from gateway.jobs.store import Jobs
from gateway.recordings import Recordings, outside
from gateway.stored import Stored
from gateway.tables import recordings as recordings_table
from gateway.tables import responses as responses_table
from gateway.translate.response import skeleton
from tests.contracts.queueing import HOUR, later, settings, sweep
from tests.raw_client import events

DELTA = b'event: response.output_text.delta\ndata: {"delta":"%d"}\n\n'


def event(kind, number):
    return b'data: {"type":"%b","sequence_number":%d}\n\n' % (kind, number)


class Site:
    """A process: its jobs, recordings and stored responses."""

    def __init__(self, database):
        self.database, self.recordings = database, Recordings(database)
        self.stored = Stored(database, 1)
        self.background = Background(self.stored, HOUR)
        self.jobs = Jobs(database, settings(per_key=10_000), told=self.background)

    def add(self, number):
        id, payload = f"resp_{number:032x}", {"model": "m", "input": "Hi", "background": True}
        also = partial(self.background.begin, payload=payload)
        self.jobs.add(
            "mine", "responses", payload, f"req_{number:032x}", background=True, id=id, also=also
        )
        return id

    def begin(self, number):
        """Add a job whose answer has begun; return it claimed, with its sink."""
        self.add(number)
        claimed, sink = self.claim()
        assert self.jobs.answered(claimed)
        return claimed, sink

    def claim(self, worker="w"):
        """Claim the next job, and return it with its sink."""
        claimed = self.jobs.claim(worker)
        return claimed, Recorded(self.background, self.recordings, claimed)

    def lose(self, claimed):
        """Let a job's lease run out, and its loss be noticed."""
        later(self.jobs, 31, claimed.id)
        sweep(self.jobs)

    def finish(self, claimed, found, sink):
        given = {"result_status": found.http, "result": found.body, "error": found.error}
        also = sink.end(claimed, found)
        return self.jobs.finish(claimed, found.status, **given, also=also)

    def told(self, id, after=-1):
        reader = self.recordings.reader(id, after, alive=lambda: False, keepalive=0)
        data = b"".join(reader)  # what has no end is lost
        assert reader.end == "done"
        return events(data)

    def recorded(self):
        """Return how many rows there are of recordings."""
        count = sa.select(sa.func.count()).select_from(recordings_table)
        return self.database.read(lambda c: c.scalar(count))

    def same(self, id):
        """Assert that job, stored Response and last event say the same, once; return it."""
        row, found = self.jobs.get("mine", id), self.stored.get("mine", id)
        told = self.told(id)
        assert [each["sequence_number"] for each in told] == list(range(len(told)))
        ends = [each for each in told if each["type"].split(".")[1] in ENDS]
        assert ends == told[-1:] and ends[0]["response"] == found
        assert found["status"] == row.status
        if row.result is not None:
            assert orjson.loads(row.result) == found
        return row.status


ENDS = ("completed", "failed", "incomplete")


def whole(claimed, *texts):
    """Return the end of a job whose whole answer says some texts."""
    said = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    found = {
        **skeleton(claimed.payload, claimed.id),
        "status": "completed",
        "created_at": int(claimed.created_at),
        "store": True,
        "output": [{**message, "content": said}] if said else [],
    }
    return Ended("completed", 200, orjson.dumps(found))


def deltas(told):
    return [each["delta"] for each in told if each["type"].endswith("output_text.delta")]


class BackgroundContract:
    @pytest.fixture
    def site(self, database):
        return Site(database)

    @pytest.fixture
    def other(self, database, address):
        """Another process."""
        found = Database(address)
        yield Site(found)
        found.close()

    def test_end_stands_behind_what_was_written(self, site):
        claimed, sink = site.begin(1)
        sink.add(DELTA % 1 + DELTA % 2)
        assert site.finish(claimed, whole(claimed), sink)
        assert site.same(claimed.id) == "completed"
        assert len(site.told(claimed.id)) == 5

    def test_last_event_may_be_large(self, site):
        site.add(1)
        id, size = f"resp_{1:032x}", 300_000

        def last(number):
            return event(b"response.failed" + b"x" * size, number)

        site.database.write(lambda c: outside.end(c, id, last))
        site.database.write(lambda c: outside.end(c, id, last))
        assert [each["sequence_number"] for each in site.told(id)] == [0, 1, 2]
        assert len(site.told(id, 1)) == 1 and site.told(id, 2) == []

    def test_what_is_not_recorded_has_no_end(self, site):
        site.database.write(lambda c: outside.end(c, "resp_x", partial(event, b"x")))
        assert site.recorded() == 0

    def test_end_that_was_refused_leaves_no_trace(self, site):
        claimed, sink = site.begin(1)
        site.jobs.cancel("mine", claimed.id)
        later(site.jobs, 31, claimed.id)
        sweep(site.jobs)
        assert not site.finish(claimed, whole(claimed), sink)
        assert site.same(claimed.id) == "cancelled"

    def test_job_that_was_given_back_and_cancelled_is_told(self, site):
        site.add(1)
        claimed = site.jobs.claim("w")
        site.jobs.cancel("mine", claimed.id)
        assert site.jobs.release(claimed)
        assert site.same(claimed.id) == "cancelled"

    def test_late_writer_never_displaces_the_end(self, site):
        for number in range(20):
            claimed, sink = site.begin(number)
            later(site.jobs, 31, claimed.id)
            together(partial(write, sink, 30), partial(sweep, site.jobs))
            told = site.told(claimed.id)
            assert site.same(claimed.id) == "failed"
            sink.add(DELTA % 1)
            sink.writer.flush_now()
            sink.add(DELTA % 2)
            sink.writer.flush_now()
            assert site.told(claimed.id) == told
            assert site.told(claimed.id, len(told) - 2) == told[-1:]
            assert site.told(claimed.id, len(told)) == []

    def test_stream_tells_the_answer_of_the_worker_whose_job_it_is(self, site, other):
        site.add(1)
        late, its = site.claim("late")
        site.lose(late)
        claimed, sink = other.claim("next")
        assert not site.finish(late, whole(late, "late"), its)
        its.end(late, None)
        assert other.finish(claimed, whole(claimed, "mine"), sink)
        assert site.same(claimed.id) == "completed"
        assert deltas(site.told(claimed.id)) == ["mine"]

    def test_answer_that_could_not_be_written_is_not_told_as_another_s(self, site, other):
        site.add(1)
        late, its = site.claim("late")
        its.writer.flusher.database = Away()
        with pytest.raises(errors.DependencyUnavailable):
            its.end(late, whole(late, "late"))
        site.lose(late)
        claimed, sink = other.claim("next")
        its.writer.flusher.database = site.database
        its.writer.flusher.flush()
        assert not site.finish(late, whole(late, "late"), its)
        its.writer.flusher.flush()
        assert other.finish(claimed, whole(claimed, "mine"), sink)
        assert site.same(claimed.id) == "completed"
        assert deltas(site.told(claimed.id)) == ["mine"]

    def test_call_is_not_made_again_once_its_whole_answer_is_written(self, site):
        site.add(1)
        claimed, sink = site.claim()
        also = sink.end(claimed, whole(claimed, "x" * 3_000_000, "one", "two"))
        site.lose(claimed)
        assert site.jobs.claim("next") is None
        assert site.same(claimed.id) == "failed"
        assert deltas(site.told(claimed.id))[1:] == ["one", "two"]
        assert not site.jobs.finish(claimed, "completed", also=also)

    def test_answer_to_a_job_that_was_deleted_is_not_written(self, site, other):
        for number, begun in enumerate((False, True)):
            site.add(number)
            claimed, sink = site.claim()
            if begun:
                assert site.jobs.answered(claimed)
                sink.add(DELTA % 1)
            delete(other, claimed.id)
            assert not site.finish(claimed, whole(claimed, "secret"), sink)
            site.recordings.flusher.flush()
            assert site.recorded() == 0

    def test_many_may_end_a_response_at_once(self, site, other):
        ends = Counter()
        for number in range(60):
            claimed, sink = site.begin(number)
            sink.add(DELTA % 1)
            if number % 3 == 0:
                later(site.jobs, 31, claimed.id)
            found = CANCELLED if number % 2 else whole(claimed)
            together(
                partial(site.finish, claimed, found, sink),
                partial(other.jobs.cancel, "mine", claimed.id),
                partial(sweep, other.jobs),
            )
            ends[site.same(claimed.id)] += 1
        assert sum(ends.values()) == 60 and len(ends) > 1, ends
        count = sa.select(sa.func.count()).select_from(responses_table)
        assert site.database.read(lambda c: c.scalar(count)) == 60

    def test_deleting_one_that_ends_leaves_nothing(self, site, other):
        for number in range(20):
            claimed, sink = site.begin(number)
            sink.add(DELTA % 1)
            together(
                partial(site.finish, claimed, whole(claimed), sink),
                partial(delete, other, claimed.id),
            )
            sink.end(claimed, None)
            assert site.jobs.get("mine", claimed.id) is None
            assert site.stored.get("mine", claimed.id) is None
        assert site.recorded() == 0


class Away:
    """A database that is away."""

    def write(self, fn):
        raise errors.DependencyUnavailable()


def write(sink, count):
    for number in range(count):
        sink.add(DELTA % number)
        sink.writer.flush_now()


def delete(site, id):
    site.jobs.discard("mine", id, [site.recordings.remove])
    site.stored.delete("mine", id)


def together(*calls):
    """Run functions at the same time; whatever one raises is raised here."""
    start, raised = threading.Barrier(len(calls)), []

    def run(call):
        start.wait()
        try:
            call()
        except Exception as exc:
            raised.append(exc)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []


class TestSQLite(BackgroundContract):
    dialect = "sqlite"


class TestPostgreSQL(BackgroundContract):
    dialect = "postgresql"
