"""What SIGTERM does to connections: streams end, idle ones are let go."""

import signal
import time

import pytest

from tests.live.raw import connected, post
from tests.raw_client import read_until
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live


def test_idle_connection_does_not_hold_up_the_end(upstream, tmp_path):
    with Gateway(write_config(tmp_path, upstream.url)) as own, connected(own.port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(sock, b'{"status":"ok"}')

        began = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        own.process.wait(4)

        assert time.monotonic() - began < 4
        assert sock.recv(1) == b""


def test_stream_that_runs_ends_with_done_after_sigterm(upstream, tmp_path):
    body = {
        "model": "mock-slow-200",
        "stream": True,
        "messages": [{"role": "user", "content": "a b"}],
    }
    with Gateway(write_config(tmp_path, upstream.url)) as own, connected(own.port) as sock:
        sock.sendall(post(body))
        read_until(sock, b"data: ")

        own.process.send_signal(signal.SIGTERM)

        assert b"data: [DONE]" in read_until(sock, b"[DONE]")
        assert own.process.wait(5) == 0
