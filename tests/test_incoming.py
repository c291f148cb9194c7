"""A connection's requests as its socket gives them, however they are cut."""

from contextlib import nullcontext

import pytest
from gevent import socket
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders

from gateway import heads
from gateway.incoming import PIECE, Incoming

LINE = "POST /v1 HTTP/1.1\r\nHost: a\r\n"
CHUNKED = f"{LINE}Transfer-Encoding: chunked\r\n\r\n".encode()
FIELD = "X-A{}: " + "a" * 8000 + "\r\n"


class World:
    """A connection; `steps` counts how often others could go on while a request was read."""

    def __init__(self):
        settings = Config()
        settings.set("http_parser", "python")
        self.served, self.client = socket.socketpair()
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.steps = 0
        self.incoming = Incoming(settings, self.served, None, nullcontext, self.step)

    def step(self):
        self.steps += 1


@pytest.fixture
def world():
    made = World()
    with made.served, made.client:
        yield made


def chunks(count):
    return b"1\r\na\r\n" * count + b"0\r\n\r\n"


@pytest.mark.parametrize("count", [1, 10_000, 15_000])
def test_others_go_on_between_the_pieces_of_a_body_in_small_chunks(world, count):
    world.client.sendall(CHUNKED + chunks(count))
    assert world.incoming.next().body.read() == b"a" * count
    assert world.steps >= len(chunks(count)) // PIECE + 1


def test_body_in_large_chunks_is_read_in_large_pieces(world):
    world.client.sendall(CHUNKED + (b"8000\r\n" + b"a" * 0x8000 + b"\r\n") * 3 + b"0\r\n\r\n")
    assert world.incoming.next().body.read() == b"a" * 3 * 0x8000
    assert world.steps <= 12


def test_requests_behind_a_body_in_chunks_are_whole(world):
    world.client.sendall(
        (CHUNKED + chunks(3000)) * 2 + f"{LINE}Content-Length: 2\r\n\r\n{{}}".encode()
    )
    found = [world.incoming.next().body.read() for _ in range(3)]
    assert found == [b"a" * 3000, b"a" * 3000, b"{}"]


def test_usual_request_waits_for_nobody(world):
    data = f"{LINE}Content-Length: 100000\r\n\r\n".encode() + b"a" * 100_000
    for _ in range(2):  # the first line is parsed when it is new
        world.steps = 0
        world.client.sendall(data)
        assert len(world.incoming.next().body.read()) == 100_000
    assert world.steps == 0


def test_head_may_have_many_large_fields(world):
    fields = "".join(FIELD.format(number) for number in range(8))
    world.client.sendall(f"{LINE}{fields}\r\n".encode())
    assert len(world.incoming.next().headers) == 9


@pytest.mark.parametrize("end", ["\r\n", ""])
def test_head_is_refused_that_is_too_large_in_all(world, end):
    fields = "".join(FIELD.format(number) for number in range(12))
    world.client.sendall(f"{LINE}{fields}{end}".encode())
    assert len(fields) > heads.ALL + PIECE
    with pytest.raises(LimitRequestHeaders):
        world.incoming.next()


def test_trailer_section_is_refused_that_is_too_large_in_all(world):
    fields = "".join(FIELD.format(number) for number in range(12))
    world.client.sendall(CHUNKED + f"2\r\n{{}}\r\n0\r\n{fields}\r\n".encode())
    with pytest.raises(LimitRequestHeaders):
        world.incoming.next().body.read()
