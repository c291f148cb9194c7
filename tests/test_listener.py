"""Connections are taken, counted and let go, whatever becomes of the listener meanwhile."""

import gevent
import pytest
from gevent import event, socket

from gateway.listener import Listener


class World:
    """A listener that serves `most` connections at a time until each is told to end."""

    def __init__(self, most):
        sock = socket.socket()  # gevent's, as gunicorn's worker makes it: no call may block
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        self.address = sock.getsockname()
        self.served, self.ends, self.clients = [], event.Event(), []
        self.listener = Listener(sock, 1, most, handle=self.handle)
        self.listener.start()

    def handle(self, sock, address):
        self.served.append(address)
        self.ends.wait()
        sock.sendall(b"bye")

    def connect(self):
        self.clients.append(socket.create_connection(self.address, timeout=5))
        return self.clients[-1]

    def close(self):
        self.listener.kill(1)
        self.listener.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def world():
    worlds = []

    def make(most=10):
        worlds.append(World(most))
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


def until(found):
    with gevent.Timeout(5):
        while not found():
            gevent.sleep(0.001)


def test_who_has_connected_before_a_listener_closes_is_served(world):
    made = world()
    client = made.connect()
    made.listener.close()
    assert made.listener.busy and made.served == []
    made.ends.set()
    assert client.recv(10) == b"bye" and made.served == [client.getsockname()]
    until(lambda: not made.listener.busy)


def test_no_more_are_served_than_there_is_room_for(world):
    made = world(most=2)
    clients = [made.connect() for _ in range(3)]
    until(lambda: len(made.served) == 2)
    gevent.sleep(0.05)
    assert len(made.served) == 2
    made.ends.set()
    assert [client.recv(10) for client in clients] == [b"bye"] * 3


def test_what_is_still_served_can_be_ended(world):
    made = world()
    client = made.connect()
    until(lambda: made.served)
    made.listener.kill(1)
    assert not made.listener.busy
    assert client.recv(10) == b""


def test_one_that_fails_takes_no_room_for_ever(world, capfd):
    made = world(most=1)
    made.ends = None  # which the handler trips over
    assert [made.connect().recv(10) for _ in range(3)] == [b""] * 3
    assert not made.listener.busy
    assert capfd.readouterr().err.count("AttributeError: ") == 3
