"""Clients that read nothing: they hold a place no longer than the write timeout, key or not."""

import socket
import time

import pytest

from tests.live.raw import ask, post
from tests.serving import Gateway, write_config

pytestmark = pytest.mark.live

MANY = 60  # answers of which the kernel holds only some
DOCS = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
WRONG = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


def connected(port):
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.connect(("127.0.0.1", port))
    found.settimeout(10)
    return found


def taken(sock):
    """Return all that comes until the other side ends, in whatever way."""
    found = b""
    try:
        while data := sock.recv(1 << 20):
            found += data
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    ("requests", "head"), [(DOCS * MANY, b"HTTP/1.1 200 OK"), (WRONG * 9000, b"HTTP/1.1 401 ")]
)
def test_client_that_reads_nothing_is_let_go_after_the_write_timeout(
    tmp_path, upstream, requests, head
):
    with Gateway(write_config(tmp_path, upstream.url, timeouts="write = 1")) as own:
        with connected(own.port) as sock:
            sock.setblocking(False)
            left = requests
            until = time.monotonic() + 4
            while time.monotonic() < until:
                try:
                    left = left[sock.send(left) :] if left else left
                except BlockingIOError:
                    pass
                except OSError:
                    break
                time.sleep(0.01)
            sock.setblocking(True)
            sock.settimeout(10)
            assert 0 < taken(sock).count(head) < requests.count(b"Host")
        assert ask(own.port, post({}, path="/v1/chat/completions")).status == 400


def test_client_that_reads_nothing_holds_up_no_drain(tmp_path, upstream):
    more = {"server": "drain = 30\n", "timeouts": "write = 1"}
    with Gateway(write_config(tmp_path, upstream.url, **more)) as own, connected(own.port) as sock:
        sock.sendall(DOCS * MANY)
        time.sleep(0.3)
        began = time.monotonic()
        own.process.terminate()
        assert own.process.wait(20) == 0
        assert time.monotonic() - began < 15
