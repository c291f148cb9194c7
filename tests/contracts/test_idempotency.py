"""What calls with an Idempotency-Key promise over every database."""

import contextlib
import threading
import time
from types import SimpleNamespace

import orjson
import pytest
import sqlalchemy as sa

from gateway import errors, idempotency, polling, sse
from gateway.database import Database
from gateway.endpoints.visit import Lean
from gateway.idempotency import Idempotency, rows
from gateway.recordings import Broken, Lost, Recordings, flusher
from gateway.recordings import reader as reading
from gateway.tables import idempotency as table
from tests.contracts.test_recordings import event

CALL = ("key_a", "chat", "name", "f" * 64)
STREAM = [("content-type", "text/event-stream; charset=utf-8"), ("x-gateway-upstream", "mock")]
JSON = [("content-type", "application/json"), ("content-length", "2")]
REFUSED = errors.UpstreamRefused(422, "no", "invalid_request_error", "messages", "bad")


class Answer:
    """What a call gives, block by block, each when the test says so."""

    def __init__(self, *blocks, headers=STREAM, status=200, error=None):
        self.blocks, self.headers, self.status, self.error = blocks, headers, status, error
        self.going, self.calls, self.watch = threading.Event(), 0, None

    def __repr__(self):
        return f"{self.status}-{self.error or self.blocks[-1][:20]!r}"

    def __call__(self, watch, promise):
        self.calls, self.watch = self.calls + 1, watch
        if self.error is not None:
            raise self.error
        response = Lean(self.given(), self.headers)
        response.status_code = self.status
        return response

    def given(self):
        for block in self.blocks:
            yield block
            if block != sse.KEEPALIVE:
                self.going.wait(10)
            if self.watch.gone:
                return


def plainly(function, *args):
    return function(*args)


def now(answer):
    answer.going.set()
    return answer


def joined(calls, row):
    """Return (status, headers, body) as somebody gets them who joins a call."""
    reader = calls.reader(row)
    head = orjson.loads(reader.head(10))
    body = b"".join(reader)
    return head["status"], head["headers"], body, reader.end


def made(calls, answer, call=CALL):
    """Make a call to its end, and return its row."""
    row, mine = calls.begin(*call)
    assert mine
    run = calls.start(row, answer, lambda: None)
    run.thread.join(10)
    calls.recordings.close()
    assert not run.open
    return row


def change(calls, **values):
    calls.database.write(lambda c: c.execute(table.update().values(**values)))


def held(calls):
    return calls.database.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table)))


class IdempotencyContract:
    """Tests of a subclass that names its `dialect`."""

    @pytest.fixture
    def mine(self, database):
        return Idempotency(database, Recordings(database))

    @pytest.fixture
    def other(self, database):
        """The calls of another process."""
        found = Database(database.url)
        yield Idempotency(found, Recordings(found))
        found.close()

    @pytest.fixture(autouse=True)
    def loops(self, mine, other, monkeypatch):
        monkeypatch.setattr(flusher, "LOOK", 0.1)
        monkeypatch.setattr(polling, "IDLE", 0.1)
        stop = threading.Event()
        found = [
            threading.Thread(target=loop.run, args=(stop,))
            for calls in (mine, other)
            for loop in calls.recordings.loops[:2]
        ]
        for thread in found:
            thread.start()
        yield
        stop.set()
        for thread in found:
            thread.join()

    def test_first_call_is_made_and_equal_ones_join_it(self, mine, other):
        row, first = mine.begin(*CALL)
        again, second = other.begin(*CALL)
        assert (first, second) == (True, False)
        assert again["recording"] == row["recording"]
        assert other.alive(again) and mine.alive(row)

    @pytest.mark.parametrize(
        "call",
        [("key_b", *CALL[1:]), ("key_a", "embeddings", *CALL[2:]), (*CALL[:2], "Name", CALL[3])],
        ids=["key", "endpoint", "name"],
    )
    def test_calls_of_another_key_endpoint_or_name_are_their_own(self, mine, call):
        mine.begin(*CALL)
        assert mine.begin(*call)[1]

    def test_name_is_refused_for_another_body(self, mine, other):
        mine.begin(*CALL)
        with pytest.raises(errors.IdempotencyKeyReused) as found:
            other.begin(*CALL[:3], "0" * 64)
        assert (found.value.status, found.value.param) == (409, "Idempotency-Key")
        assert found.value.headers()["x-should-retry"] == "false"

    def test_of_many_calls_at_once_one_is_made(self, mine, other):
        for number in range(5):
            found = []
            call = (*CALL[:2], str(number), CALL[3])
            threads = [
                threading.Thread(target=lambda c=c: found.append(c.begin(*call)))  # noqa: B023
                for c in (mine, other) * 5
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(first for _, first in found) == 1
            assert len({row["recording"] for row, _ in found}) == 1

    def test_of_many_calls_at_once_one_takes_a_dead_ones_place(self, mine, other):
        mine.begin(*CALL)
        change(mine, lease_until=1.0)
        found = []
        threads = [
            threading.Thread(target=lambda c=c: found.append(c.begin(*CALL)))
            for c in (mine, other) * 5
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(first for _, first in found) == 1

    def test_stream_is_joined_while_it_runs_and_replayed_after_it(self, mine, other):
        blocks = [event(0), event(1), sse.DONE]
        answer = Answer(sse.KEEPALIVE, *blocks)
        row, _ = mine.begin(*CALL)
        over = []
        run = mine.start(row, answer, lambda: over.append(1))
        head = run.live.begun(plainly)
        got = iter(run.live.taken(plainly))
        assert (head, next(got), next(got)) == ((200, STREAM), sse.KEEPALIVE, event(0))

        with later(joined, other, other.begin(*CALL)[0]) as result:
            answer.going.set()
        wanted = (200, [list(pair) for pair in STREAM], b"".join(blocks), "done")
        assert result.found == wanted
        assert list(got) == blocks[1:]

        run.thread.join()
        mine.recordings.close()
        again, first = other.begin(*CALL)
        assert not first and not other.alive(again)
        assert joined(other, again) == wanted
        assert (answer.calls, over) == (1, [1])

    def test_whole_answer_is_replayed_byte_by_byte(self, mine, other):
        body = bytes(range(256)) * 2000
        made(mine, now(Answer(body, headers=JSON)))
        row, first = other.begin(*CALL)
        assert not first
        assert joined(other, row)[:3] == (200, [list(pair) for pair in JSON], body)

    @pytest.mark.parametrize(
        "answer, kept",
        [
            (Answer(b"{}", headers=JSON), True),
            (Answer(b"{}", headers=JSON, status=202), True),
            (Answer(b"{}", headers=JSON, status=500), False),
            (Answer(event(0), sse.DONE), True),
            (Answer(event(0) + sse.DONE), True),
            (Answer(event(0)), False),
            (Answer(event(0), b'data: {"error":{}}\n\n'), False),
            (Answer(b"event: response.failed\ndata: {}\n\n" + sse.DONE), False),
            (Answer(error=REFUSED), True),
            (Answer(error=errors.InvalidValue("no")), False),
            (Answer(error=errors.RateLimited()), False),
            (Answer(error=errors.InsufficientQuota()), False),
            (Answer(error=errors.NoHealthyUpstream()), False),
            (Answer(error=errors.UpstreamReset()), False),
            (Answer(error=errors.UpstreamAuthFailed()), False),
            (Answer(error=errors.UpstreamTimeout("total")), False),
            (Answer(error=RuntimeError("no")), False),
        ],
        ids=str,
    )
    def test_what_an_upstream_said_for_good_is_kept_and_nothing_else(
        self, mine, other, answer, kept, caplog
    ):
        row = made(mine, now(answer))
        again, first = other.begin(*CALL)
        assert first is not kept
        assert (again["recording"] == row["recording"]) is kept

    def test_refusal_of_an_upstream_that_asks_for_a_retry_is_not_kept(self, mine):
        error = errors.RateLimited()
        error.source = "upstream"
        made(mine, Answer(error=error))
        assert held(mine) == 0

    @pytest.mark.parametrize("error", [errors.NoHealthyUpstream(), ValueError("secret")])
    def test_who_has_joined_gets_the_same_error_as_who_began(self, mine, other, error, caplog):
        row, _ = mine.begin(*CALL)
        with later(joined, other, row) as result:
            run = mine.start(row, Answer(error=error), lambda: None)
            with pytest.raises(errors.GatewayError) as found:
                run.live.begun(plainly)
        status, headers, body, _ = result.found
        assert status == found.value.status
        assert orjson.loads(body) == found.value.body()
        assert ["x-should-retry", "true"] in headers
        assert b"secret" not in body

    def test_owner_that_died_leaves_an_error_and_a_free_name(self, mine, other, monkeypatch):
        monkeypatch.setattr(reading, "PATIENCE", 0.05)
        row, _ = mine.begin(*CALL)
        with pytest.raises(errors.GatewayError) as found, later(joined, other, row):
            time.sleep(0.2)
            change(mine, lease_until=1.0)
        assert isinstance(found.value, Lost)
        assert (found.value.status, found.value.headers()["x-should-retry"]) == (503, "true")

        again, first = other.begin(*CALL[:3], "0" * 64)
        assert first and again["recording"] != row["recording"]

    @pytest.mark.parametrize("kept", [True, False])
    def test_owner_that_was_taken_for_dead_changes_nothing(self, mine, other, kept):
        old, _ = mine.begin(*CALL)
        change(mine, lease_until=1.0)
        new, _ = other.begin(*CALL)
        mine.database.write(lambda c: mine.end(c, old, kept))
        found, first = mine.begin(*CALL)
        assert (found["recording"], found["owner"], first) == (new["recording"], other.owner, False)

    def test_lease_lasts_while_the_call_runs(self, mine, other):
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        change(mine, lease_until=1.0)
        assert not other.alive(row)
        mine.beat()
        mine.beat()
        assert other.alive(row)
        answer.going.set()
        run.thread.join()
        mine.recordings.close()
        mine.beat()
        assert not mine.running and not other.alive(row)

    def test_lease_lasts_until_the_end_is_written(self, mine, monkeypatch):
        row, _ = mine.begin(*CALL)
        run = mine.start(row, Answer(error=REFUSED), lambda: None)
        run.writer.flusher.forget(run.writer)
        run.thread.join()
        if run.writer.pending:
            change(mine, lease_until=1.0)
            mine.beat()
            assert mine.running == {run}

    def test_row_that_nobody_knows_of_is_freed(self, mine, other):
        stray = (*CALL[:2], "stray", CALL[3])
        mine.begin(*stray)
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        mine.beat()
        assert not other.begin(*stray)[1]
        mine.beat()
        assert other.begin(*stray)[1]
        assert not other.begin(*CALL)[1]
        answer.going.set()
        run.thread.join()

    def test_kept_answer_runs_out(self, mine, other):
        made(mine, now(Answer(b"{}", headers=JSON)))
        row, _ = other.begin(*CALL)
        assert row["expires_at"] == pytest.approx(time.time() + 24 * 3600, abs=60)
        change(mine, expires_at=1.0)
        assert other.begin(*CALL[:3], "0" * 64)[1]

    def test_names_that_have_run_out_are_swept(self, mine, monkeypatch):
        monkeypatch.setattr(idempotency, "PAUSE", 0)
        monkeypatch.setattr(rows, "BATCH", 2)
        for number in range(5):
            mine.begin(*CALL[:2], str(number), CALL[3])
        change(mine, expires_at=1.0)
        mine.begin(*CALL)
        mine.loops[1].sweep(threading.Event())
        assert held(mine) == 1

    def test_replay_of_what_was_swept_is_an_error_and_no_wait(self, mine, other, monkeypatch):
        monkeypatch.setattr(reading, "PATIENCE", 0.05)
        row = made(mine, now(Answer(b"{}", headers=JSON)))
        mine.recordings.delete([row["recording"]])
        with pytest.raises(Lost):
            joined(other, other.begin(*CALL)[0])

    def test_recording_that_broke_is_not_kept(self, mine, other):
        mine.recordings.flusher.most = 500
        answer = Answer(event(0), event(1, b"x" * 1000), sse.DONE)
        row, _ = mine.begin(*CALL)
        run = mine.start(row, now(answer), lambda: None)
        run.live.begun(plainly)
        assert list(run.live.taken(plainly)) == list(answer.blocks)
        with pytest.raises(Broken):
            joined(other, row)
        run.thread.join()
        mine.recordings.close()
        assert other.begin(*CALL)[1]

    def test_drain_waits_for_what_runs(self, mine):
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), sse.DONE)
        mine.start(row, answer, lambda: None)
        threading.Timer(0.3, answer.going.set).start()
        mine.drain(30)
        mine.recordings.close()
        assert joined(mine, row)[2:] == (event(0) + sse.DONE, "done")

    def test_what_a_drain_ends_is_said_to_be_cut_and_its_name_is_free(self, mine, other):
        row, _ = mine.begin(*CALL)
        answer = Answer(event(0), event(1), sse.DONE)
        run = mine.start(row, answer, lambda: None)
        got = iter(run.live.taken(plainly))
        assert next(got) == event(0)
        run.watch.gone = True
        answer.going.set()
        with pytest.raises(errors.ServerDraining):
            next(got)
        run.thread.join()
        mine.recordings.close()
        assert joined(other, row)[2:] == (event(0), "cut")
        assert other.begin(*CALL)[1]


@contextlib.contextmanager
def later(function, *args):
    """Run a function beside the block, and wait for it after that; raises what it raised."""
    result = SimpleNamespace(found=None, error=None)

    def work():
        try:
            result.found = function(*args)
        except BaseException as exc:
            result.error = exc

    thread = threading.Thread(target=work)
    thread.start()
    yield result
    thread.join(20)
    assert not thread.is_alive()
    if result.error is not None:
        raise result.error


class TestSQLite(IdempotencyContract):
    dialect = "sqlite"


class TestPostgreSQL(IdempotencyContract):
    dialect = "postgresql"

    # SQLite has one writer at a time, and nothing ends between its looks.
    @pytest.mark.parametrize("ends", [True, False])
    def test_call_that_ends_or_wakes_as_it_is_taken_for_dead_is_not_made_again(
        self, mine, other, monkeypatch, ends
    ):
        row, _ = mine.begin(*CALL)
        change(mine, lease_until=1.0)
        free, looks = rows.free, []

        def late(connection, found, now):
            looks.append(free(connection, found, now))
            if looks == [True] and ends:
                mine.database.write(lambda c: mine.end(c, row, True))
            elif looks == [True]:
                change(mine, lease_until=found["expires_at"])
            return looks[-1]

        monkeypatch.setattr(rows, "free", late)
        again, first = other.begin(*CALL)
        assert (again["recording"], first) == (row["recording"], False)
        assert looks == [True, False]
