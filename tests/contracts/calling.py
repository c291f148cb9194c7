"""Calls with an Idempotency-Key, the processes that make them, and what they come to."""

import contextlib
import threading
from types import SimpleNamespace

import orjson
import pytest

from gateway import errors, idling, sse
from gateway.database import Database
from gateway.endpoints.visit import Lean
from gateway.idempotency import Idempotency
from gateway.recordings import Recordings, flusher
from gateway.tables import idempotency as table

CALL = ("key_a", "chat", "name", "f" * 64)
STREAM = [("content-type", "text/event-stream; charset=utf-8"), ("x-gateway-upstream", "mock")]
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


def plainly(function):
    return function()


def joined(calls, row):
    """Return (status, headers, body) as somebody gets them who joins a call."""
    reader = calls.reader(row)
    head = orjson.loads(reader.head(10))
    body = b"".join(reader)
    return head["status"], head["headers"], body, reader.end


def change(calls, **values):
    calls.database.write(lambda c: c.execute(table.update().values(**values)))


def begun_at_once(*processes, call=CALL):
    """Begin a call five times in each of some processes, and return what they were told."""
    found = []
    threads = [
        threading.Thread(target=lambda calls=calls: found.append(calls.begin(*call)))
        for calls in processes * 5
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


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


class Processes:
    """The fixtures of a contract: two processes over the same database."""

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
        monkeypatch.setattr(idling, "IDLE", 0.1)
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
