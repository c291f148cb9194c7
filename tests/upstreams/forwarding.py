"""Servers that pass bytes on to another server: a TLS endpoint, and an HTTP proxy."""

import base64
import select
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from urllib.parse import urlsplit

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Forwarder:
    """Takes connections, each in a thread of its own, until the block ends.

    `greet(sock)` gives the socket to go on with and the address to pass its bytes on to, or None
    to close. `context` is for TLS with the client.
    """

    def __init__(self, greet, context=None):
        self.greet, self.context = greet, context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.stopped, self.stop = socket.socketpair()
        self.connections = 0
        self.threads = [threading.Thread(target=self.accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *exc):
        self.stop.close()
        for thread in self.threads:
            thread.join()
        self.listener.close()
        self.stopped.close()

    def accept(self):
        while self.stopped not in select.select([self.listener, self.stopped], [], [])[0]:
            sock, _ = self.listener.accept()
            self.connections += 1
            self.threads.append(threading.Thread(target=self.serve, args=(sock,)))
            self.threads[-1].start()

    def serve(self, sock):
        # A client that refuses our certificate, or leaves, is no fault of the server's.
        with suppress(OSError):
            try:
                sock.settimeout(5)
                if self.context:
                    sock = self.context.wrap_socket(sock, server_side=True)
                greeted = self.greet(sock)
                if greeted:
                    first, address = greeted
                    with socket.create_connection(address) as other:
                        other.sendall(first)
                        self.pump(sock, other)
            finally:
                sock.close()

    def pump(self, one, other):
        """Pass bytes on until either side ends."""
        ends = {one: other, other: one}
        while True:
            ready = [end for end in ends if isinstance(end, ssl.SSLSocket) and end.pending()]
            ready = ready or select.select([*ends, self.stopped], [], [])[0]
            for end in ready:
                data = b"" if end is self.stopped else end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)


def endpoint(upstream, context):
    """A TLS endpoint in front of a scripted upstream."""
    return Forwarder(lambda sock: (b"", ("127.0.0.1", upstream.port)), context)


class Proxy(Forwarder):
    """An HTTP proxy; `heads` are the requests that came, `refuse` is sent instead of passing on.

    A host that ends in `.test` is found on loopback.
    """

    def __init__(self, context=None, refuse=None):
        super().__init__(self.forward, context)
        self.heads, self.refuse = [], refuse

    def forward(self, sock):
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        self.heads.append(head.decode())
        if self.refuse is not None:
            sock.sendall(self.refuse)
            return None
        method, target, _ = head.decode().split(" ", 2)
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            sock.sendall(OK)
            return b"", (found(host), int(port))
        parts = urlsplit(target)
        lines = head.replace(target.encode(), parts.path.encode(), 1)
        return lines + b"\r\n\r\n" + body, (found(parts.hostname), parts.port)

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"


def found(host):
    return "127.0.0.1" if host.endswith(".test") else host


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def certificates(folder):
    """Make an authority and what it has signed; return the folder.

    It holds ca.pem, and good.pem (localhost, 127.0.0.1, upstream.test), other.pem (other.test) and
    lonely.pem (signed by itself), each with its key.
    """
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    signed = "-CA ca.pem -CAkey ca.key"
    good = "subjectAltName=DNS:localhost,DNS:upstream.test,IP:127.0.0.1"
    for name, signer, more in [
        ("ca", "", "basicConstraints=critical,CA:TRUE"),
        ("good", signed, good),
        ("other", signed, "subjectAltName=DNS:other.test"),
        ("lonely", "", good),
    ]:
        leaf = "" if name == "ca" else "-addext basicConstraints=critical,CA:FALSE"
        command = f"{new} {signer} -subj /CN={name} -keyout {name}.key -out {name}.pem {leaf}"
        subprocess.run(
            [*command.split(), "-addext", more], cwd=folder, check=True, capture_output=True
        )
    return folder


def server_context(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context
