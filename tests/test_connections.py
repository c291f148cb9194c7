"""What a worker does with one connection, from its first request to its end."""

from contextlib import contextmanager

import gevent
import pytest
from gevent import socket
from gunicorn.config import Config

from gateway.gunicorn_worker import GatewayWorker
from gateway.listener import Named
from gateway.pacing import Pace, Share
from tests.live.raw import Reply
from tests.raw_client import read_all

SMALL = 16 << 10  # bytes that a socket is to hold
BIG = b"x" * (1 << 20)
TEN = "GET / HTTP/1.0\r\n\r\n"
ELEVEN = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD = "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def worker():
    found = GatewayWorker.__new__(GatewayWorker)
    found.cfg = Config()
    found.cfg.set("http_parser", "python")
    found.special, found.hurried, found.alive = False, False, True
    found.nr, found.max_requests, found.patience = 0, 100, 5
    found.idle, found.places, found.shared = set(), {}, {}
    found.pace, found.share = Pace(), Share()
    yield found
    found.pace.close()
    found.share.close()


@contextmanager
def connection(worker):
    """Give a client's socket, and the greenlet that serves its other end; both hold little."""
    with socket.socket() as listener, socket.socket() as client:
        for sock, option in [(listener, socket.SO_SNDBUF), (client, socket.SO_RCVBUF)]:
            sock.setsockopt(socket.SOL_SOCKET, option, SMALL)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        served, address = listener.accept()
        job = gevent.spawn(worker.handle, Named(listener), served, address)
        with gevent.Timeout(10):
            yield client, job
            client.close()
            job.get()


def answering(blocks, first=lambda: None):
    """Return an application that does something first and then answers with some blocks."""

    def application(environ, start_response):
        first()
        start_response("200 OK", [("content-type", "text/plain")])
        return blocks

    return application


@pytest.mark.parametrize("more", ["\r\n", LAST, "{}" * 9000], ids=["line", "request", "garbage"])
@pytest.mark.parametrize("request_", [TEN, LAST], ids=["1.0", "1.1"])
def test_last_answer_arrives_whole_although_more_was_sent_than_is_read(worker, request_, more):
    with connection(worker) as (client, _):
        worker.wsgi = answering([BIG], lambda: client.sendall(more.encode()))
        client.sendall(request_.encode())
        found, end = read_all(client)
    assert (Reply(found).body, end) == (BIG, "FIN")
    assert found.count(b"HTTP/1.1 200") == 1


def test_worker_that_ends_answers_whole_although_the_next_request_has_come(worker):
    def ending():
        client.sendall(ELEVEN.encode())
        worker.alive = False

    with connection(worker) as (client, _):
        worker.wsgi = answering([BIG], ending)
        client.sendall(ELEVEN.encode())
        found, end = read_all(client)
    assert end == "FIN" and found.endswith(b"0\r\n\r\n")
    assert b"Connection: close" in found


def test_connection_that_ends_is_not_waited_for_when_nothing_more_was_sent(worker):
    with connection(worker) as (client, job):
        worker.wsgi = answering([b"x"])
        client.sendall(LAST.encode())
        assert read_all(client)[1] == "FIN"
        job.get(timeout=1)  # although the client has not closed its end


class Endless:
    """Blocks that never come; `closed` tells whether that was understood."""

    closed = False

    def __iter__(self):
        return self

    def __next__(self):
        gevent.sleep(3600)

    def close(self):
        self.closed = True


def test_head_of_a_stream_is_answered_before_its_first_event(worker):
    blocks = Endless()
    with connection(worker) as (client, _):
        worker.wsgi = answering(blocks)
        client.sendall(HEAD.encode())
        found, end = read_all(client)
    assert Reply(found).status == 200 and Reply(found).sent == b""
    assert end == "FIN" and blocks.closed
