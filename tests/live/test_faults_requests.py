"""Rows F44 to F48 of the fault table: requests that come slowly, never, too early or in vain."""

import json
import re
import resource
import socket
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest

from tests.live.faults import PROMPT, assert_envelope, assert_no_traceback
from tests.raw_client import read_all, read_until

pytestmark = pytest.mark.live

KEEPALIVE = 2
QUICKLY_BORED = [sys.executable, "-m", "gunicorn", "--keep-alive", str(KEEPALIVE)]
TIMEOUTS = "first_token = 25\nidle = 25\ntotal = 25\nstream_total = 25\nbody = 1"
BAD_KEY = {"Authorization": "Bearer sk-wrong"}
PLENTY = 8 << 20  # bytes, above what is taken and what kernels hold


@pytest.fixture(scope="module")
def site(open_site):
    return open_site(
        timeouts=TIMEOUTS,
        server="max_body_mb = 1\nmax_in_flight = 50",
        upstream="max_in_flight = 1",
        more="[retry]\nattempts = 0",
        command=QUICKLY_BORED,
    )


@contextmanager
def unharmed(site):
    """Assert that what happens in the block costs the gateway nothing lasting."""
    log = site.gateway.log_path.stat().st_size
    yield
    site.next_request_is_fine()
    site.nothing_in_flight()
    assert_no_traceback(site.gateway.log_path.read_bytes()[log:])


def drip(sock, data, delay=0.1):
    """Send bytes one by one until the other side has closed; return the seconds it took."""
    began = time.monotonic()
    for byte in data:
        try:
            sock.sendall(bytes([byte]))
        except OSError:
            break
        time.sleep(delay)
    return time.monotonic() - began


def answers(data):
    """Return the status, the headers and the JSON body of each whole answer in some bytes."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        body, data = data[:length], data[length:]
        found.append((int(first.split()[1]), headers, json.loads(body) if body else None))
    return found


def refused(data, status, code):
    """Assert a single answer that is an error and says that the connection ends."""
    ((got, headers, body),) = answers(data)
    assert got == status
    assert_envelope(body, code)
    assert headers["connection"] == "close"


@pytest.mark.parametrize("slowly", [False, True], ids=["silence", "drip"])
def test_head_that_does_not_come_is_given_up(site, slowly):
    with unharmed(site), site.connected(site.raw()[:30]) as sock:
        began = time.monotonic()
        if slowly:
            drip(sock, site.raw()[30:200])
        assert read_all(sock) == (b"", "FIN") or slowly
        assert KEEPALIVE - 0.2 < time.monotonic() - began < KEEPALIVE + 1


@pytest.mark.parametrize("slowly", [False, True], ids=["silence", "drip"])
def test_body_that_does_not_come_is_408(site, slowly):
    data = site.raw(padding="x" * 200)
    with unharmed(site), site.connected(data[:-150]) as sock:
        began = time.monotonic()
        if slowly:
            drip(sock, data[-150:-130])
        found, end = read_all(sock)
        assert end == "FIN"
        assert time.monotonic() - began < 5
    refused(found, 408, "request_timeout")
    (line,) = site.gateway.wait_lines(1, client_request_id=site.ids[-2])
    assert (line["status"], line["code"], line["end"]) == (408, "request_timeout", "error")
    assert 900 < line["total_ms"] < 1500


def test_probe_answers_at_once_beside_1000_idle_connections(site):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 5000), hard))
    with unharmed(site), ExitStack() as stack:
        before = site.memory("VmRSS")
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.gateway.port)))
        for _ in range(5):
            began = time.monotonic()
            urllib.request.urlopen(f"{site.gateway.ops_url}/healthz", timeout=5).close()
            assert time.monotonic() - began < 0.25
        assert site.memory("VmRSS") - before < 40
        stack.close()


def test_pipelined_requests_are_answered_in_order(site):
    with unharmed(site), site.connected(site.raw(text="one") + site.raw(text="two")) as sock:
        found, end = read_all(sock)
    assert end == "FIN"
    said = [body["choices"][0]["message"]["content"] for _, _, body in answers(found)]
    assert said == ["one", "two"]


def test_request_behind_a_stream_waits_for_its_end(site):
    with site.settles(end="ok", status=200):
        with site.connected(site.raw("mock-slow-100", stream=True)) as sock:
            streamed = read_until(sock, b"data: ")
            sock.sendall(site.raw(text="two"))
            rest, end = read_all(sock)
    streamed, _, second = (streamed + rest).partition(b"0\r\n\r\n")
    assert re.findall(rb"^data: (.)", streamed, re.M) == [b"{"] * 8 + [b"["]
    ((status, _, body),) = answers(second)
    assert (status, body["choices"][0]["message"]["content"]) == (200, "two")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_client_that_leaves_behind_a_pipelined_request_is_noticed(site, stream):
    seen = site.upstream.received
    model = "mock-stall-after-3"
    with site.settles(end="cancelled", status=200 if stream else 499):
        with site.connected(site.raw(model, stream=stream)) as sock:
            site.upstream.wait_for(seen + 1)
            if stream:
                read_until(sock, b"data: ")
            sock.sendall(site.raw())
            site.ids.pop()  # nobody is there to answer
            time.sleep(0.3)
    assert site.upstream.requests[seen].fields["model"] == model


def test_wrong_key_gets_no_invitation_to_send_its_body(site):
    head = site.raw_head(length=100, Expect="100-continue", **BAD_KEY)
    with unharmed(site), site.connected(head) as sock:
        found, end = read_all(sock)
    refused(found, 401, "invalid_api_key")


def test_right_key_is_invited_to_send_its_body(site):
    body = site.body()
    with unharmed(site):
        with site.connected(site.raw_head(length=len(body), Expect="100-continue")) as sock:
            invited = read_until(sock, b"\r\n\r\n")
            sock.sendall(body)
            found = read_until(sock, b"}", sock.recv(65536))
    assert invited == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answers(found)[0][2]["choices"][0]["message"]["content"] == PROMPT


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize(
    "headers, status, code",
    [(BAD_KEY, 401, "invalid_api_key"), ({}, 413, "request_too_large")],
)
def test_early_refusal_reaches_a_client_that_is_still_sending(site, headers, status, code, chunked):
    if chunked:
        head = site.raw_head(**headers, **{"Transfer-Encoding": "chunked"})
        body = b"%x\r\n%b\r\n" % (PLENTY, b" " * PLENTY)
    else:
        head, body = site.raw_head(length=10 * PLENTY, **headers), b" " * PLENTY
    began = time.monotonic()
    with unharmed(site), site.connected(head) as sock:
        sock.sendall(body)
        found, end = read_all(sock)
        assert end == "FIN"
        assert time.monotonic() - began < 4
    refused(found, status, code)
