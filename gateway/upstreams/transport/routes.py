"""How a connection reaches its upstream: straight, or through an HTTP proxy."""

import base64
import ssl
from urllib.parse import unquote

from requests import exceptions

from gateway.upstreams.transport.answer import Answer


class Direct:
    """Straight to the upstream. `context` is for TLS with it, None for plain HTTP."""

    def __init__(self, host, port, context):
        self.host, self.port, self.context = host, port, context
        self.plain = context is None  # nothing is to be said before the requests

    def opening(self, host, target):
        """Return what follows the method: the rest of the first line, and the lines of the hop."""
        return f"{target} HTTP/1.1\r\nHost: {host}\r\n"

    def secure(self, sock):
        """Return the socket that requests go through, TLS begun."""
        if self.context is None:
            return sock
        return self.context.wrap_socket(sock, server_hostname=self.host)


class Proxied:
    """Through a proxy, which gets whole addresses for http and is asked for a tunnel for https.

    `proxy` and `target` are the Direct routes to it and behind it, `login` a header line or "".
    """

    def __init__(self, proxy, target, login):
        self.host, self.port = proxy.host, proxy.port
        self.proxy, self.target, self.login = proxy, target, login
        self.plain = proxy.plain and target.plain

    def opening(self, host, target):
        if self.target.context is None:
            return f"http://{host}{self.target.opening(host, target)}{self.login}"
        return self.target.opening(host, target)

    def secure(self, sock):
        """Return the socket that requests go through, tunnel and TLS begun."""
        sock = self.proxy.secure(sock)
        if self.target.context is None:
            return sock
        try:
            self.tunnel(sock)
            if self.proxy.context is None:
                return self.target.secure(sock)
            return Nested(sock, self.target)
        except BaseException:
            sock.close()
            raise

    def tunnel(self, sock):
        """Ask for a tunnel. Raises ProxyError."""
        name = authority(self.target)
        sock.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n{self.login}\r\n".encode())
        answer = Answer()
        try:
            while not answer.head:
                data = sock.recv(65536)
                if not data:
                    raise exceptions.ProxyError("the proxy closed the connection")
                answer.feed(data)
        except exceptions.InvalidHeader as exc:
            raise exceptions.ProxyError("the proxy does not speak HTTP") from exc
        if not 200 <= answer.status < 300:
            raise exceptions.ProxyError(f"the proxy answered {answer.status}")


class Nested:
    """TLS inside a TLS connection, which the standard library does over memory only."""

    def __init__(self, outer, target):
        self.outer, self.incoming, self.outgoing = outer, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = target.context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=target.host
        )
        self.pending = b""
        self.fileno, self.settimeout, self.close = outer.fileno, outer.settimeout, outer.close
        self.until(self.tls.do_handshake)

    def send(self, data):
        """Encrypt; it is `recv` that sends, so that a wait which is ended loses nothing."""
        return self.tls.write(data)

    def recv(self, size):
        try:
            return self.until(self.tls.read, size)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def until(self, step, *args):
        """Repeat a step of TLS until it can be done, sending and receiving what it needs."""
        while True:
            try:
                return step(*args)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.outer.recv(65536)
                self.incoming.write(data) if data else self.incoming.write_eof()

    def flush(self):
        while self.pending or self.outgoing.pending:
            self.pending = self.pending or memoryview(self.outgoing.read())
            self.pending = self.pending[self.outer.send(self.pending) :]


def authority(route):
    """Return host and port as a request line names them."""
    host = f"[{route.host}]" if ":" in route.host else route.host
    return f"{host}:{route.port}"


def login(parts):
    """Return the header line for the user and password in a proxy's address, if it has any."""
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
