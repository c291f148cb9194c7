"""Many of the largest bodies at once: a worker takes what it has room for and refuses the rest."""

import concurrent.futures
import json
import threading

import pytest

from tests.live.raw import JSON, Reply, connected, request
from tests.raw_client import read_all

pytestmark = pytest.mark.live

LARGEST = 20 * 1024 * 1024
ROOM, CAP = 6, 768  # such bodies that a worker takes at once, and MiB that they may cost it


@pytest.fixture(scope="module")
def site(open_site):
    return open_site(
        server="max_body_mb = 20",
        timeouts="body = 60\ntotal = 60\nwrite = 60",
        more="[retry]\nattempts = 0",
    )


def largest(model="mock-late-1000"):
    """Return a chat of the largest size; its upstream answers a second later."""
    whole = {"model": model, "messages": [{"role": "user", "content": ""}]}
    head, tail = json.dumps(whole).split('""')
    return f'{head}"'.encode().ljust(LARGEST - len(tail) - 1, b"x") + f'"{tail}'.encode()


def send(port, head, body):
    with connected(port) as sock:
        sock.settimeout(120)
        sock.sendall(head)
        sock.sendall(body)
        return Reply(read_all(sock, 120)[0])


def framed(body, chunked=False, headers=""):
    """Return the head and the bytes of a body that says how long it is, or comes in chunks."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = request("POST /v1/chat/completions HTTP/1.1", f"{JSON}{headers}{length}\r\n")
    return head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body


@pytest.mark.parametrize("count, chunked", [(50, False), (20, True)], ids=["length", "chunks"])
def test_the_largest_bodies_at_once_stay_within_the_memory_told(site, count, chunked):
    head, body = framed(largest(), chunked)
    over, small, pids = threading.Event(), [], site.gateway.worker_pids()

    def others():
        while not over.is_set():
            small.append(site.ask().status)

    with site.memory_grows_less_than(CAP), concurrent.futures.ThreadPoolExecutor(60) as pool:
        pool.submit(others)
        calls = [pool.submit(send, site.gateway.port, head, body) for _ in range(count)]
        try:
            found = [call.result() for call in calls]
        finally:
            over.set()
    assert {reply.status for reply in found} == {200, 503}
    for reply in found:
        assert reply.status == 200 or reply.code == "server_overloaded"
        assert reply.status == 200 or int(reply.headers["retry-after"]) >= 1
    assert sum(reply.status == 200 for reply in found) >= ROOM
    assert len(small) >= 5 and set(small) == {200}
    assert site.gateway.worker_pids() == pids
    site.nothing_in_flight()
    assert send(site.gateway.port, head, body).status == 200  # there is room again


FAULTS = {
    "type": (b'{"model": "gpt-test", "messages": "%s"}', 400, "invalid_type"),
    "json": (b'{"model": "gpt-test", "messages": "%s', 400, "invalid_json"),
    "model": (b'{"model": "none", "messages": "%s"}', 404, "model_not_found"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_body_that_is_refused_is_not_kept(site, name):
    body, status, code = FAULTS[name]
    head, body = framed(body % (b"x" * (LARGEST - len(body))))
    with site.memory_grows_less_than(300):
        for _ in range(12):
            reply = send(site.gateway.port, head, body)
            assert (reply.status, reply.code) == (status, code)


def test_room_comes_back_from_calls_that_are_not_their_client_s(site):
    for number in range(ROOM + 1):
        head, body = framed(largest("gpt-test"), headers=f"Idempotency-Key: {number}\r\n")
        assert send(site.gateway.port, head, body).status == 200
    site.nothing_in_flight()
