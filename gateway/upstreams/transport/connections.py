"""Connections to one host: looked up, opened, kept, checked before they are used again."""

import collections
import ipaddress
import ssl
import time
from select import POLLIN

import gevent
from gevent import monkey, socket
from requests import exceptions

poll = monkey.get_original("select", "poll")
READ = 1  # as libev numbers its events
at_once = monkey.get_original("socket", "getaddrinfo")


class Connection:
    """One socket to an upstream, busy or waiting in its pool."""

    __slots__ = ("sock", "reused", "since", "poller", "readable")

    def __init__(self, sock):
        self.sock, self.reused, self.since, self.poller = sock, False, 0.0, None
        self.readable = None  # its end of the event loop; TLS may hold bytes that no loop sees
        if type(sock) is socket.socket:
            self.readable = gevent.get_hub().loop.io(sock.fileno(), READ)

    def recv(self, size):
        """Wait for bytes, then take what is there.

        Waiting first, because an answer is hardly ever there already, and a receive that finds
        nothing costs a system call and an exception.
        """
        if self.readable is not None:
            gevent.get_hub().wait(self.readable)
            try:
                return self.sock._sock.recv(size)  # gevent's own would only ask this one
            except BlockingIOError:
                pass
        else:
            gevent.sleep(0)  # an upstream that is never silent must not keep others from theirs
        return self.sock.recv(size)

    def send(self, data):
        """Send some of the data, waiting where none of it can be sent; return how much."""
        if self.readable is not None:
            try:
                return self.sock._sock.send(data)
            except BlockingIOError:
                pass
        return self.sock.send(data)

    def close(self):
        if self.readable is not None:
            self.readable.close()
            self.readable = None
        self.sock.close()

    def usable(self):
        """Nothing has come since it was put back: no end of stream, no stray bytes."""
        if self.poller is None:
            self.poller = poll()
            self.poller.register(self.sock.fileno(), POLLIN)
        return not self.poller.poll(0)


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
        late = exceptions.ConnectTimeout("connect")
        with gevent.Timeout(self.connect, late):
            last = None
            for family, kind, proto, _, address in self.lookup():
                try:
                    return Connection(self.open(family, kind, proto, address))
                except ssl.SSLError as exc:
                    raise exceptions.SSLError(str(exc)) from exc
                except exceptions.RequestException:  # our own timeout; requests' are OSErrors too
                    raise
                except OSError as exc:
                    last = exc
        self.addresses = None
        raise exceptions.ConnectionError(str(last)) from last

    def open(self, family, kind, proto, address):
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Who is near has answered by the second call, which needs no turn of the loop then.
            if sock._sock.connect_ex(address) and sock._sock.connect_ex(address):
                sock.connect(address)
            return self.route.secure(sock)
        except BaseException:
            sock.close()
            raise

    def lookup(self):
        """Return getaddrinfo's list, kept for 30 s, and longer while the resolver fails."""
        now = time.monotonic()
        if self.addresses is None or now - self.resolved > 30:
            host, port = self.route.host, self.route.port
            # gevent looks up in a few threads, which names that hang may all hold.
            look = at_once if is_address(host) else socket.getaddrinfo
            try:
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


def is_address(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
