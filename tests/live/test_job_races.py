"""Cancel against completion, hundreds of times: row, answers and upstream tell the same story."""

import collections
import random
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from gateway import mock
from tests.live.test_jobs import accepted, caller
from tests.serving import Gateway, write_config
from tests.upstream import ScriptedUpstream

pytestmark = pytest.mark.live

RACES = 500
TEXT = "one two three four"
PAUSE = 0.03  # seconds before each chunk: an answer takes some 0.2 s


class Book:
    """What the upstream has seen: calls by number, and those that it could answer to the end."""

    def __init__(self):
        self.calls, self.finished = collections.Counter(), set()

    def __call__(self, request):
        number = int(re.search(rb"race (\d+)", request.body)[1])
        self.calls[number] += 1
        steps = [
            step
            for chunk in mock.bodies.chunks(TEXT, include_usage=True)
            for step in (PAUSE, chunk)
        ]
        yield from mock.stream(steps)(request)
        self.finished.add(number)


def race(call, number):
    """Cancel a job about when it ends; return all that was said of it: [answer, poll, poll]."""
    turns = [{"role": "user", "content": f"race {number}"}]
    job = accepted(call, messages=turns)
    time.sleep(random.uniform(0, 0.35))
    _, _, answer = call(f"jobs/{job['id']}/cancel", method="POST")
    _, _, poll = call(f"jobs/{job['id']}?wait=10")
    time.sleep(random.uniform(0, 0.3))
    return [answer, poll, call(f"jobs/{job['id']}")[2]]


def test_no_terminal_status_changes_and_all_agree(tmp_path):
    book = Book()
    with ScriptedUpstream(keep=10) as upstream:
        upstream.always(book)
        with Gateway(write_config(tmp_path, upstream.url), workers=2) as gateway:
            with ThreadPoolExecutor(16) as pool:
                found = list(pool.map(lambda n: race(caller(gateway), n), range(RACES)))
            time.sleep(1)
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as database:
        rows = dict(database.execute("select id, status from jobs"))
        used = dict(database.execute("select request_id, end from usage"))
    ends = collections.Counter()
    for number, (answer, poll, later) in enumerate(found):
        status = poll["status"]
        ends[status] += 1
        assert status in ("completed", "cancelled")
        assert later == poll and rows[poll["id"]] == status
        assert answer["status"] in (status, "in_progress")
        assert book.calls[number] <= 1
        if status == "completed":
            assert number in book.finished
            assert poll["result"]["body"]["choices"][0]["message"]["content"] == TEXT
            assert used[poll["request_id"]] == "ok"
        else:
            assert poll["result"] is None and poll["error"]["code"] == "cancelled"
            # Of one that was cancelled in the queue there is nothing to be written.
            assert used.get(poll["request_id"], "cancelled") == "cancelled"
            assert (poll["request_id"] in used) == (poll["attempts"] > 0)
    print(dict(ends))
    assert ends["completed"] > 20 and ends["cancelled"] > 20
