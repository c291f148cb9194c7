"""The scripted upstream sees its peers leave, and leaves nothing behind."""

import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from gateway.mock import ScriptedUpstream
from tests.raw_client import CHAT, asking, connected, read_all, read_until


def threads():
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


@pytest.mark.parametrize("linger", [None, 0], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    ("model", "mark"),
    [
        ("mock-hang", None),
        ("mock-stall-in-head", b"x-half"),
        ("mock-stall-after-2", b"Say"),
        ("mock-slow-5000", b"data: "),
        ("mock-endless-10", b"data: "),
        ("mock-trickle", b"\r\n\r\n"),
    ],
)
def test_a_close_is_seen_within_100_ms_whatever_it_waits_for(upstream, model, mark, linger):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": model, "stream": True}))
        found = upstream.wait_for(1)[0]
        if mark:
            read_until(sock, mark)
        assert not found.closed.is_set() and upstream.open_connections == 1
        if linger is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger))
        left_at = time.monotonic()

    assert found.closed.wait(1)
    assert found.closed_at - left_at < 0.1
    assert upstream.open_connections == 0


def test_a_close_is_seen_while_the_peer_does_not_read(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": "mock-endless-0", "stream": True}))
        found = upstream.wait_for(1)[0]
        sock.recv(1)
        deadline, sent = time.monotonic() + 5, -1
        while sent != found.sent and time.monotonic() < deadline:
            sent = found.sent
            time.sleep(0.1)
        assert sent < 50_000_000

    assert found.closed.wait(1)


def test_an_idle_connection_stays_open_until_the_peer_closes(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking())
        read_until(sock, b"}]")
        found = upstream.requests[0]
        assert not found.closed.wait(0.1)

    assert found.closed.wait(1)


def test_pipelined_bytes_are_no_close(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": "mock-hang"}) + b"GET /v1/models HT")
        found = upstream.wait_for(1)[0]

        assert not found.closed.wait(0.2)


def test_after_its_own_fin_it_still_sees_the_peers(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": "mock-close"}))
        assert sock.recv(1) == b""
        found = upstream.requests[0]
        assert not found.closed.is_set() and upstream.open_connections == 1

    assert found.closed.wait(1)


def test_a_request_after_its_fin_is_reset(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking({**CHAT, "model": "mock-close"}))
        assert sock.recv(1) == b""
        sock.sendall(asking())

        assert upstream.requests[0].closed.wait(1)
        assert upstream.received == 1


def test_hang_up_ends_idle_connections_as_a_server_does(upstream):
    with connected(upstream) as sock:
        sock.sendall(asking())
        read_until(sock, b"}]")

        upstream.hang_up()

        assert sock.recv(1) == b""
    upstream.wait_idle(1)


def test_wait_idle_tells_what_is_open(upstream):
    with connected(upstream):
        upstream.greet()
        deadline = time.monotonic() + 5
        while not upstream.open_connections and time.monotonic() < deadline:
            time.sleep(0.01)

        with pytest.raises(TimeoutError, match="1 connections open"):
            upstream.wait_idle(0.05)


@pytest.mark.parametrize("model", ["echo", "mock-hang", "mock-endless-0", "mock-stall-in-head"])
def test_close_ends_every_thread_and_socket_at_once(model):
    before = threads()
    with ScriptedUpstream() as upstream:
        socks = [socket.create_connection(("127.0.0.1", upstream.port)) for _ in range(5)]
        for sock in socks:
            sock.sendall(asking({**CHAT, "model": model, "stream": True}))
        found = upstream.wait_for(5)
        began = time.monotonic()
    took = time.monotonic() - began

    assert took < 0.5
    assert threads() == before
    assert not any(request.closed.is_set() for request in found)
    for sock in socks:
        assert read_all(sock)[1] in {"FIN", "RST"}
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", upstream.port))


def test_close_may_be_called_twice():
    upstream = ScriptedUpstream()
    upstream.close()
    upstream.close()


def test_two_hundred_connections_at_once(upstream):
    socks = [socket.create_connection(("127.0.0.1", upstream.port)) for _ in range(200)]
    for sock in socks:
        sock.sendall(asking({**CHAT, "model": "mock-hang"}))
    upstream.wait_for(200)
    assert upstream.open_connections == 200

    for sock in socks:
        sock.close()

    upstream.wait_idle(2)


def test_it_shares_no_code_with_the_rest_of_the_gateway():
    code = "import sys, gateway.mock; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    loaded = {name for name in names.split() if name.startswith("gateway.")}
    assert loaded and all(name.startswith("gateway.mock") for name in loaded)
    assert not {"gevent", "requests", "flask"} & set(names.split())
