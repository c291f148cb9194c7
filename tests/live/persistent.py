"""Many requests in a row over one connection, as bytes, for tables of hundreds of rows."""

import socket

from tests.live.raw import JSON, Reply
from tests.raw_client import read_until
from tests.serving import KEY

AUTH = f"Authorization: Bearer {KEY}\r\n".encode()


class Persistent:
    """`send` makes a request and returns its Reply; the connection is kept while it is kept."""

    def __init__(self, port):
        self.port, self.sock = port, None

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def post(self, body, path=b"/v1/chat/completions", headers=b""):
        length = b"Content-Length: %d\r\n" % len(body)
        return self.send(b"POST " + path, AUTH + JSON.encode() + length + headers, body)

    def get(self, path, headers=AUTH):
        return self.send(b"GET " + path, headers)

    def send(self, line, headers, body=b""):
        """Send a request; its line is given without the version."""
        if self.sock is None:
            self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.sock.sendall(line + b" HTTP/1.1\r\nHost: gateway\r\n" + headers + b"\r\n" + body)
        found = read_until(self.sock, b"\r\n\r\n")
        reply = Reply(found)
        size = found.index(b"\r\n\r\n") + 4 + int(reply.headers["content-length"])
        while len(found) < size:
            found += self.sock.recv(65536)
        if reply.headers["connection"] == "close":
            self.close()
        return Reply(found)
