"""A worker that lets a long stream end holds up nobody: another stands in for it at once."""

import contextlib
import os
import signal
import threading
import time

import psutil
import pytest

from tests.live.load import Load
from tests.live.raw import ask, chat, post
from tests.live.test_operations import wait_until
from tests.live.test_process_reload import DRAIN, PATIENT, listens
from tests.live.test_process_reload import streaming as streaming_from
from tests.live.twice import chunks, held
from tests.raw_client import read_until
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live


@contextlib.contextmanager
def streaming(gateway, upstream):
    """Give a function that lets a stream end which has begun, and tells whether it ends well."""
    go = threading.Event()
    upstream.enqueue(held(go, chunks()))
    with streaming_from(gateway, "gpt-test") as sock:
        try:
            yield lambda: go.set() or b"data: [DONE]" in read_until(sock, b"0\r\n\r\n")
        finally:
            go.set()


def one_worker(tmp_path, upstream, **environ):
    config = write_config(tmp_path, upstream.url, server=DRAIN, **PATIENT)
    return Gateway(config, workers=1, environ=environ)


def replaced(gateway, *before):
    """Wait until there is a worker besides these; return its process id."""
    (found,) = wait_until(lambda: set(gateway.worker_pids()) - set(before))
    return found


def answers(gateway):
    return {ask(gateway.port, post(chat())).status for _ in range(5)} == {200}


def test_stream_of_a_recycled_worker_does_not_keep_its_successor_away(tmp_path, upstream):
    more = {"GUNICORN_CMD_ARGS": "--max-requests 5"}
    with one_worker(tmp_path, upstream, **more) as own, streaming(own, upstream) as ends:
        (first,) = own.worker_pids()
        with Load(own.port, callers=1) as load:
            replaced(own, first)
            load.more(20)
        assert set(load.outcomes) == {200}, load.outcomes
        assert first in own.worker_pids()  # its stream runs meanwhile
        assert ends()
        wait_until(lambda: first not in own.worker_pids())


def test_worker_that_was_told_to_end_by_hand_is_replaced_at_once(tmp_path, upstream):
    with one_worker(tmp_path, upstream) as own, streaming(own, upstream) as ends:
        (first,) = own.worker_pids()
        os.kill(first, signal.SIGTERM)
        replaced(own, first)
        assert answers(own) and first in own.worker_pids()
        assert ends()


def test_dead_worker_is_replaced_while_one_of_before_a_reload_still_streams(tmp_path, upstream):
    with one_worker(tmp_path, upstream) as own, streaming(own, upstream) as ends:
        (first,) = own.worker_pids()
        own.process.send_signal(signal.SIGHUP)
        second = replaced(own, first)
        assert answers(own)
        os.kill(second, signal.SIGKILL)
        replaced(own, first, second)
        assert answers(own) and first in own.worker_pids()
        assert ends()


def test_recycled_worker_takes_no_healthy_one_with_it(tmp_path, upstream):
    """The oldest are ended where there are too many; the one that leaves is not the oldest."""
    config = write_config(tmp_path, upstream.url, server=DRAIN, **PATIENT)
    with Gateway(config, workers=2) as own:
        oldest, second = map(psutil.Process, own.worker_pids())
        wait_until(lambda: listens(oldest) and listens(second))
        oldest.suspend()  # so that the other one has the stream
        with streaming(own, upstream):
            second.terminate()
            replaced(own, oldest.pid, second.pid)
            assert answers(own)
            oldest.resume()
            time.sleep(0.6)  # it would close its listeners within 0.2 s
            assert listens(oldest) and not listens(second)


def test_end_waits_for_the_last_stream_of_a_worker_that_was_replaced(tmp_path, upstream):
    with one_worker(tmp_path, upstream) as own, streaming(own, upstream) as ends:
        (first,) = own.worker_pids()
        os.kill(first, signal.SIGTERM)
        second = replaced(own, first)
        assert answers(own)
        own.process.send_signal(signal.SIGTERM)
        wait_until(lambda: second not in own.worker_pids())
        assert ends()
        assert own.process.wait(10) == 0
