"""What calls with an Idempotency-Key promise over every database."""

import contextlib
import threading
import time

import orjson
import pytest
import sqlalchemy as sa

from gateway import errors, sse, sweeping
from gateway.idempotency import rows
from gateway.recordings import Broken
from gateway.recordings import reader as reading
from gateway.tables import idempotency as table
from tests.contracts.calling import (
    CALL,
    REFUSED,
    STREAM,
    Answer,
    Processes,
    begun_at_once,
    change,
    joined,
    later,
    plainly,
)
from tests.contracts.test_recordings import event

JSON = [("content-type", "application/json"), ("content-length", "2")]
FAILED = b"event: response.failed\ndata: {}\n\n"
WRONG = sse.encode(orjson.dumps(errors.UpstreamReset().body()))


def now(answer):
    answer.going.set()
    return answer


def made(calls, answer, call=CALL):
    """Make a call to its end, and return its row."""
    row, mine = calls.begin(*call)
    assert mine
    run = calls.start(row, answer, lambda: None)
    run.thread.join(10)
    calls.recordings.close()
    assert not run.open
    return row


def held(calls):
    return calls.database.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table)))


class IdempotencyContract(Processes):
    """Tests of a subclass that names its `dialect`."""

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
            found = begun_at_once(mine, other, call=(*CALL[:2], str(number), CALL[3]))
            assert sum(first for _, first in found) == 1
            assert len({row["recording"] for row, _ in found}) == 1

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
            (Answer(FAILED + sse.DONE), False),
            (Answer(FAILED, sse.DONE), False),
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

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(error=errors.NoHealthyUpstream()),
            Answer(error=ValueError()),
            Answer(event(0)),
            Answer(event(0), WRONG),
            Answer(event(0), FAILED + sse.DONE),
            Answer(event(0), FAILED, sse.DONE),
        ],
        ids=str,
    )
    def test_name_is_free_before_anybody_hears_that_the_call_has_failed(
        self, mine, other, answer, caplog
    ):
        row, _ = mine.begin(*CALL)
        run = mine.start(row, now(answer), lambda: None)
        blocks = run.live.taken(plainly)
        with contextlib.suppress(errors.GatewayError):
            while next(blocks, None) == event(0):
                pass
        assert other.begin(*CALL[:3], "0" * 64)[1]

    @pytest.mark.parametrize("known", [True, False])
    def test_news_of_a_failure_waits_for_no_database_that_is_away(self, mine, monkeypatch, known):
        def away(work):
            asked.append(time.monotonic())
            raise errors.DependencyUnavailable()

        asked = []
        row, _ = mine.begin(*CALL)
        monkeypatch.setattr(mine.recordings.flusher, "note", lambda *_, **how: None)
        with monkeypatch.context() as patch:
            patch.setattr(mine.database, "write", away)
            patch.setattr(type(mine.database), "takes_writes", not known)
            run = mine.start(row, Answer(error=errors.NoHealthyUpstream()), lambda: None)
            with pytest.raises(errors.NoHealthyUpstream):
                run.live.begun(plainly)
            run.thread.join()
        assert len(asked) == (not known) and run.writer.pending

    def test_kept_answer_runs_out(self, mine, other):
        made(mine, now(Answer(b"{}", headers=JSON)))
        row, _ = other.begin(*CALL)
        assert row["expires_at"] == pytest.approx(time.time() + 24 * 3600, abs=60)
        change(mine, expires_at=1.0)
        assert other.begin(*CALL[:3], "0" * 64)[1]

    def test_names_that_have_run_out_are_swept(self, mine, monkeypatch):
        monkeypatch.setattr(sweeping, "PAUSE", 0)
        monkeypatch.setattr(rows, "SPENT", rows.SPENT.limit(2))
        for number in range(5):
            mine.begin(*CALL[:2], str(number), CALL[3])
        change(mine, expires_at=1.0, owner=None, lease_until=None)
        mine.begin(*CALL)
        mine.loops[1].sweep(threading.Event())
        assert held(mine) == 1

    def test_replay_of_what_was_swept_is_an_error_and_no_wait(self, mine, other, monkeypatch):
        monkeypatch.setattr(reading, "PATIENCE", 0.05)
        row = made(mine, now(Answer(b"{}", headers=JSON)))
        mine.recordings.delete([row["recording"]])
        with pytest.raises(errors.CallLost):
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


class TestSQLite(IdempotencyContract):
    dialect = "sqlite"


class TestPostgreSQL(IdempotencyContract):
    dialect = "postgresql"
