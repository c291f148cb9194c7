"""Connections to one host: looked up, opened, kept, checked before they are used again."""

import collections
import errno
import ipaddress
import os
import ssl
import time
from _socket import socket as Raw
from select import POLLIN

import gevent
from gevent import get_hub, getcurrent, monkey, socket
from requests import exceptions

poll = monkey.get_original("select", "poll")
READ, WRITE = 1, 2  # as libev numbers its events
at_once = monkey.get_original("socket", "getaddrinfo")


class Connection:
    """One socket to an upstream, busy or waiting in its pool; here one of gevent's."""

    __slots__ = ("sock", "reused", "since", "poller")

    def __init__(self, sock):
        self.sock, self.reused, self.since, self.poller = sock, False, 0.0, None

    def recv(self, size, through=None):
        """Wait for bytes and return those that `through`, which may be None, has not taken."""
        gevent.sleep(0)  # an upstream that is never silent must not keep others from theirs
        return self.sock.recv(size)

    def send(self, data):
        """Send some of the data, waiting where none of it can be sent; return how much."""
        return self.sock.send(data)

    def ready(self, size):
        """Return bytes that have come already. Raises OSError where none have."""
        self.sock.settimeout(0)
        try:
            return self.sock.recv(size)
        finally:
            self.sock.settimeout(None)

    def close(self):
        self.sock.close()

    def usable(self):
        """Nothing has come since it was put back: no end of stream, no stray bytes."""
        if self.poller is None:
            self.poller = poll()
            self.poller.register(self.sock.fileno(), POLLIN)
        return not self.poller.poll(0)


class Plain(Connection):
    """One without TLS: a raw, non-blocking socket, since one of gevent's is dear to make.

    TLS may hold bytes that no loop sees; here the loop sees them all.
    """

    __slots__ = ("readable",)

    def __init__(self, sock):
        super().__init__(sock)
        self.readable = get_hub().loop.io(sock.fileno(), READ)

    def recv(self, size, through=None):
        """Wait for bytes and take what is there; what `through(data)` takes ends no wait.

        Waiting first, because an answer is hardly ever there already, and a receive that finds
        nothing costs a system call and an exception.
        """
        hub, readable = get_hub(), self.readable
        while True:
            readable.start(self.look, size, through, getcurrent())
            try:
                data = hub.switch()
            finally:
                readable.stop()
            if type(data) is bytes:  # else it was woken for nothing
                return data

    def look(self, size, through, greenlet):
        """Take what has come, and wake who waits for it if it is left; runs in the hub."""
        try:
            data = self.sock.recv(size)
            if through is not None and data and through(data):
                return
        except BlockingIOError:
            return
        except Exception as exc:  # is for the one who waits, not for the hub
            greenlet.throw(exc)
        else:
            greenlet.switch(data)

    def send(self, data):
        while True:
            try:
                return self.sock.send(data)
            except BlockingIOError:
                wait(self.sock, WRITE)

    def ready(self, size):
        return self.sock.recv(size)

    def close(self):
        self.readable.close()
        self.sock.close()


class Pool:
    """The connections of one route; `connect` and `idle` are seconds."""

    def __init__(self, route, connect, idle):
        self.route, self.connect, self.idle = route, connect, idle
        self.free = collections.deque()
        self.addresses, self.resolved = None, 0.0

    def take(self):
        """Return a connection that is still good, or a new one."""
        while self.free:
            connection = self.free.pop()
            if time.monotonic() - connection.since < self.idle and connection.usable():
                connection.reused = True
                return connection
            connection.close()
        return self.dial()

    def put(self, connection):
        connection.since = time.monotonic()
        self.free.append(connection)
        while connection.since - self.free[0].since > self.idle:
            self.free.popleft().close()

    def dial(self):
        """Open a connection within `connect` seconds, looking up, connecting and TLS together."""
        deadline, last = time.monotonic() + self.connect, None
        for family, kind, proto, _, address in self.lookup(deadline):
            try:
                return self.open(family, kind, proto, address, deadline)
            except ssl.SSLError as exc:
                raise exceptions.SSLError(str(exc)) from exc
            except exceptions.RequestException:  # our own timeout; requests' are OSErrors too
                raise
            except OSError as exc:
                last = exc
        self.addresses = None
        raise exceptions.ConnectionError(str(last)) from last

    def open(self, family, kind, proto, address, deadline):
        """Return a connection to one address."""
        sock = Raw(family, kind, proto)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Who is near has answered by the second call, which needs no turn of the loop then,
            # and no time limit.
            if sock.connect_ex(address) and (error := sock.connect_ex(address)):
                with within(deadline):
                    connect(sock, address, error)
            return Plain(sock) if self.route.plain else self.secured(sock, deadline)
        except BaseException:
            sock.close()
            raise

    def secured(self, sock, deadline):
        """Return a connection with TLS or a tunnel begun, which takes gevent's own socket."""
        sock = socket.socket(fileno=sock.detach())
        try:
            with within(deadline):
                return Connection(self.route.secure(sock))
        except BaseException:
            sock.close()
            raise

    def lookup(self, deadline):
        """Return getaddrinfo's list, kept for 30 s, and longer while the resolver fails."""
        now = time.monotonic()
        if self.addresses is None or now - self.resolved > 30:
            host, port = self.route.host, self.route.port
            # gevent looks up in a few threads, which names that hang may all hold.
            look = at_once if is_address(host) else socket.getaddrinfo
            try:
                with within(deadline):
                    self.addresses = look(host, port, type=socket.SOCK_STREAM)
            except exceptions.RequestException:
                raise
            except (OSError, UnicodeError) as exc:
                if self.addresses is None:
                    raise exceptions.ConnectionError(f"name not resolved: {exc}") from exc
            self.resolved = now
        return self.addresses

    def close(self):
        while self.free:
            self.free.pop().close()


def within(deadline):
    """Return a time limit for connecting, which ends at a time of the monotonic clock."""
    left = max(deadline - time.monotonic(), 0)
    return gevent.Timeout(left, exceptions.ConnectTimeout("connect"))


def connect(sock, address, error):
    """Wait for a connection; `error` is what the last `connect_ex` gave. Raises OSError."""
    while error in (errno.EINPROGRESS, errno.EALREADY):
        wait(sock, WRITE)
        error = sock.connect_ex(address)
    if error:
        raise OSError(error, os.strerror(error))


def wait(sock, events):
    """Wait for a raw socket."""
    hub = get_hub()
    watcher = hub.loop.io(sock.fileno(), events)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()


def is_address(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
