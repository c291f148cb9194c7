"""Rows F39 to F43 of the fault table: clients that leave, and clients that read slowly."""

import socket
import struct
import time
from itertools import repeat

import pytest

from gateway import mock
from gateway.mock import bodies
from tests.live.faults import assert_no_traceback
from tests.raw_client import read_all, read_until

pytestmark = pytest.mark.live

# No timer of an upstream's may be what ends a call here.
TIMEOUTS = "first_token = 25\nidle = 25\ntotal = 25\nstream_total = 25\nwrite = 1.5"
MORE = """
[retry]
attempts = 0

[[upstream]]
name = "pair"
base_url = "$URL"
max_in_flight = 2

[[model]]
id = "pair-*"
upstreams = [{ name = "pair", model = "mock-*" }]
"""
SILENT = "mock-stall-after-3"
BIG = mock.sse(bodies.chunks("x" * 8000)[1])  # an event of some 8 KB


@pytest.fixture(scope="module")
def site(open_site):
    return open_site(timeouts=TIMEOUTS, upstream="max_in_flight = 1", more=MORE)


def close(sock):
    sock.close()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock):
    sock.shutdown(socket.SHUT_WR)


leaving = pytest.mark.parametrize("leave", [close, reset, half_close])


@leaving
@pytest.mark.parametrize(
    "endpoint, stream",
    [("chat", False), ("chat", True), ("responses", True), ("embeddings", False)],
)
def test_client_that_leaves_before_the_first_event_ends_the_call(site, endpoint, stream, leave):
    seen = site.upstream.received
    with site.connected() as sock:
        with site.settles(end="cancelled", status=499, output_tokens=None):
            sock.sendall(site.raw("mock-hang", endpoint=endpoint, stream=stream))
            site.upstream.wait_for(seen + 1)
            time.sleep(0.1)
            leave(sock)


@leaving
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_client_that_leaves_while_the_upstream_is_silent_ends_the_call(site, endpoint, leave):
    with site.connected() as sock:
        with site.settles(end="cancelled", status=200, output_tokens=3, usage_source="estimated"):
            sock.sendall(site.raw(SILENT, endpoint=endpoint, stream=True))
            read_until(sock, b"}\n\n\r\n")
            time.sleep(0.1)
            leave(sock)


def test_client_that_leaves_while_the_upstream_talks_ends_the_call(site):
    with site.connected() as sock:
        with site.settles(end="cancelled", status=200, usage_source="estimated"):
            sock.sendall(site.raw("mock-endless-20", stream=True))
            read_until(sock, b"}\n\n\r\n")
            sock.close()


def test_client_that_leaves_during_its_body_costs_nothing(site):
    log = site.gateway.log_path.stat().st_size
    with site.connected(site.raw()[:-10]) as sock:
        reset(sock)
    (line,) = site.gateway.wait_lines(1, client_request_id=site.ids[-1])
    assert (line["status"], line["end"]) == (499, "cancelled")
    site.next_request_is_fine()
    assert_no_traceback(site.gateway.log_path.read_bytes()[log:])


def test_many_clients_that_leave_do_not_use_up_their_upstream(site):
    with site.settles(end="cancelled"):
        for number in range(20):
            seen = site.upstream.received
            model = ("pair-hang", "pair-stall-after-3")[number % 2]
            with site.connected(site.raw(model, stream=number % 4 > 1)):
                site.upstream.wait_for(seen + 1)
    assert [site.ask("pair-late-1").status for _ in range(3)] == [200] * 3


def test_slow_reader_holds_the_upstream_back_and_is_cut_at_the_write_timeout(site):
    site.upstream.enqueue(mock.stream(repeat(BIG), done=False))
    seen = site.upstream.received
    with site.connected(window=4096) as sock:
        with site.memory_grows_less_than(20):
            with site.settles(end="cancelled", status=200):
                sock.sendall(site.raw(stream=True))
                request = site.upstream.wait_for(seen + 1)[seen]
                time.sleep(0.8)
                sent = request.sent
                time.sleep(0.4)
                assert request.sent == sent < 20 << 20
                assert not request.closed.is_set()
                assert request.closed.wait(3)


def test_slow_but_steady_reader_of_a_stream_is_not_cut(site):
    site.upstream.enqueue(mock.stream(repeat(BIG), done=False))
    seen = site.upstream.received
    with site.connected(window=65536) as sock:
        with site.settles(end="cancelled", status=200):
            sock.sendall(site.raw(stream=True))
            end, taken = time.monotonic() + 3, 0
            while time.monotonic() < end:
                taken += len(sock.recv(30_000))
                time.sleep(0.01)
            request = site.upstream.requests[seen]
            assert not request.closed.is_set()
            assert 1 << 20 < taken < request.sent < taken + (20 << 20)
            sock.close()


def test_slow_but_steady_reader_of_a_whole_answer_is_not_cut(site):
    size = 16 << 20
    with site.connected(window=65536) as sock:
        site.upstream.enqueue(mock.chat("x" * size))
        with site.settles(end="ok", status=200):
            began = time.monotonic()
            sock.sendall(site.raw())
            taken = len(read_until(sock, b"\r\n\r\n"))
            while taken < size:
                data = sock.recv(100_000)
                assert data, "cut"
                taken += len(data)
                time.sleep(0.02)
            assert time.monotonic() - began > 3  # twice the write timeout


def test_whole_answer_that_is_not_read_is_cut_at_the_write_timeout(site):
    text = "x" * (8 << 20)
    with site.connected(window=4096) as sock:
        site.upstream.enqueue(mock.chat(text))
        with site.settles(end="ok", status=200):
            sock.sendall(site.raw())
            began = time.monotonic()
            time.sleep(2.5)
        found, end = read_all(sock)
        assert len(found) < len(text) and end in ("FIN", "RST")
        assert time.monotonic() - began < 5
