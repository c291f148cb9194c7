"""Blocks that a client is sent at once, from wherever: whole ones, or what write() completes."""

from contextlib import contextmanager, suppress
from types import SimpleNamespace

import gevent
import pytest
from gevent import socket
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import IterUnreader

from gateway import answer as answering
from gateway.answer import Answer
from gateway.gunicorn_worker import GatewayWorker
from tests.live.raw import Reply
from tests.raw_client import dechunked

EVENT = b"data: 1\n\n"
BIG = bytes(range(256)) * 4096  # more than any buffer here holds


SMALL = 16 << 10  # bytes that a socket is to hold


def tight(sock, option):
    sock.setsockopt(socket.SOL_SOCKET, option, SMALL)
    return sock


@contextmanager
def tcp():
    with socket.socket() as listener, tight(socket.socket(), socket.SO_RCVBUF) as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        served, _ = listener.accept()
        with tight(served, socket.SO_SNDBUF):
            yield served, client


@contextmanager
def unix():
    served, client = socket.socketpair()
    with tight(served, socket.SO_SNDBUF), client:
        yield served, client


@pytest.fixture(params=[tcp, unix])
def ends(request, monkeypatch):
    """Give the gateway's socket and its client's, as they are in a worker, which gevent patches."""
    monkeypatch.setattr(answering, "socket", socket)
    with request.param() as (served, client):
        client.settimeout(5)
        yield served, client


def asked(version=(1, 1), method="POST"):
    body = Body(LengthReader(IterUnreader([]), 0))
    return SimpleNamespace(body=body, version=version, method=method, should_close=lambda: False)


def begun(sock, headers=(), blocks=(EVENT,), patience=None, **how):
    """Return an answer of which the first blocks have been written."""
    found = Answer(asked(**how), sock, patience)
    found.start_response("200 OK", list(headers))
    for block in blocks:
        found.write(block)
    return found


def received(client):
    """Return all that the client gets until the end, once its other end is closed."""
    found = b""
    while data := client.recv(1 << 20):
        found += data
    return found


def told(found, served, client):
    """End an answer and return the body that its client has got."""
    job = gevent.spawn(received, client)
    found.close()
    served.close()
    return dechunked(job.get(timeout=5))[1]


def full(found, block=BIG):
    """Push until the client's buffer is full, and return what has gone in whole blocks."""
    gone = b""
    while found.push(block):
        gone += block
        assert len(gone) <= len(BIG)
    return gone


def test_pushed_block_is_a_chunk_like_a_written_one(ends):
    served, client = ends
    found = begun(served)
    found.write(b"data: 2\n\n")
    assert found.push(b"data: 3\n\n") is True
    client.recv(1 << 16, socket.MSG_PEEK)
    found.write(b"data: 4\n\n")
    assert told(found, served, client) == b"".join(b"data: %d\n\n" % n for n in (1, 2, 3, 4))


def test_pushed_block_is_there_without_a_turn_of_the_loop(ends):
    served, client = ends
    found = begun(served)
    client.recv(1 << 16)
    assert found.push(EVENT)
    assert client._sock.recv(1 << 16) == b"9\r\ndata: 1\n\n\r\n"


def test_nothing_is_pushed_before_the_first_block_is_written(ends):
    served, client = ends
    for found in (Answer(asked(), served), begun(served, blocks=[])):
        assert found.push(EVENT) is False
    found.write(b"data: 0\n\n")
    assert told(found, served, client) == b"data: 0\n\n"


@pytest.mark.parametrize(
    "how",
    [
        {"version": (1, 0)},
        {"method": "HEAD"},
        {"headers": [("Content-Length", "18")]},
    ],
)
def test_nothing_is_pushed_in_an_answer_without_chunks(ends, how):
    served, client = ends
    found = begun(served, **how)
    assert found.push(b"data: 2\n\n") is False
    found.write(b"data: 2\n\n")
    found.close()
    served.close()
    body = Reply(received(client)).sent
    assert body == (b"" if "method" in how else b"data: 1\n\ndata: 2\n\n")


def test_nothing_is_pushed_beside_what_encrypts(ends):
    served, client = ends

    class Encrypting:
        send, _sock = served.send, served._sock

    found = begun(Encrypting())
    assert found.push(EVENT) is False
    found.write(EVENT)
    assert told(found, served, client) == EVENT * 2


@pytest.mark.parametrize("size", [1, 4096, len(BIG)])
def test_full_buffer_takes_part_of_a_block_and_write_sends_the_rest(ends, size):
    served, client = ends
    found, block = begun(served), BIG[:size]
    gone = full(found, block)
    assert size < len(BIG) or found.ahead
    reader = gevent.spawn(received, client)
    found.write(block)
    found.write(EVENT)
    assert found.push(EVENT) and found.ahead == 0
    found.close()
    served.close()
    body = dechunked(reader.get(timeout=5))[1]
    assert body == EVENT + gone + block + EVENT * 2


def filled(sock):
    """Send until nothing more is taken, and return how many bytes were."""
    count, last = 0, -1
    while count > last:
        last = count
        with suppress(BlockingIOError):
            while True:
                count += sock._sock.send(b"x" * 100)
        gevent.sleep(0.1)
    return count


def test_full_buffer_that_takes_nothing_leaves_the_whole_block_to_write(ends):
    served, client = ends
    found = begun(served)
    count = filled(served)
    assert found.push(EVENT) is False and found.ahead == 0
    reader = gevent.spawn(received, client)
    found.write(EVENT)
    served.close()
    assert reader.get(timeout=5).endswith(b"\n" + b"x" * count + b"9\r\n" + EVENT + b"\r\n")


def test_many_blocks_to_a_slow_client_come_whole_and_in_order(ends):
    served, client = ends
    found, sent, refused = begun(served, blocks=[b"first"]), b"first", 0
    reader = gevent.spawn(slowly, client)
    for number in range(400):
        block = b"%d-" % number * (number * 37 % 5000 + 1)
        sent += block
        if not found.push(block):
            refused += 1
            found.write(block)
    found.close()
    served.close()
    assert dechunked(reader.get(timeout=20))[1] == sent and refused > 10


def slowly(client):
    found = b""
    while data := client.recv(30_000):
        found += data
        gevent.sleep(0.0005)
    return found


def test_client_that_never_reads_is_waited_for_no_longer_than_the_write_timeout(ends):
    served, _ = ends
    found = begun(served, patience=0.1)
    full(found)
    with pytest.raises(TimeoutError):
        found.write(BIG)


def test_next_request_s_body_is_waited_for_by_another_timer(ends):
    served, client = ends
    found = begun(served, patience=5)
    full(found)
    reader = gevent.spawn(slowly, client)
    found.write(BIG)
    assert served.gettimeout() is None
    served.close()
    reader.get(timeout=20)


@pytest.mark.parametrize("linger", [b"\1\0\0\0\0\0\0\0", None], ids=["reset", "closed"])
@pytest.mark.parametrize("partly", [False, True])
def test_client_that_has_gone_is_pushed_nothing_and_written_an_error(ends, linger, partly):
    served, client = ends
    found = begun(served)
    if partly:
        full(found)
    if linger is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.close()
    gevent.sleep(0.05)
    if not partly:
        assert gone(found)
    with pytest.raises(OSError):
        found.write(BIG if partly else EVENT)


def gone(found):
    """Push until it is refused, as TCP learns only by a block that its client has closed."""
    for _ in range(10):
        if not found.push(EVENT):
            return found.ahead == 0
        gevent.sleep(0.01)
    return False


def test_push_to_a_socket_of_ours_that_is_closed_is_refused(ends):
    served, _ = ends
    found = begun(served)
    served.close()
    assert found.push(EVENT) is False and found.ahead == 0


def test_request_knows_the_way_past_its_response(ends):
    served, client = ends
    worker, took = GatewayWorker.__new__(GatewayWorker), []
    worker.nr, worker.max_requests, worker.alive = 0, 10, True
    worker.place = lambda name: {}

    def app(environ, start_response):
        start_response("200 OK", [])
        took.append(environ["gateway.push"](b"early"))
        yield b"first,"
        took.append(environ["gateway.push"](b"pushed,"))
        yield b"last"

    worker.wsgi = app
    req = asked()
    for name in ("scheme", "path", "path_info", "query", "uri"):
        setattr(req, name, "")
    req._expected_100_continue, req.fields = False, {}
    assert worker.handle_request(("127.0.0.1", 1), req, served, ("127.0.0.1", 2)) is True
    served.close()
    assert took == [False, True]
    assert dechunked(received(client))[1] == b"first,pushed,last"
