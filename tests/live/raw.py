"""A client of the gateway that writes its own bytes and reads what comes, as HTTP or as it is."""

import json
import socket
import time
from contextlib import contextmanager

from tests.raw_client import dechunked, read_all, read_until
from tests.serving import KEY

AUTH = f"Authorization: Bearer {KEY}\r\n"
JSON = "Content-Type: application/json\r\n"
MESSAGES = [{"role": "user", "content": "Say hi"}]


class Reply:
    """One answer: status, headers in lower case, body, the seconds it took, how it ended."""

    def __init__(self, data, took=0.0, end="FIN"):
        head, _, self.sent = data.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        self.data, self.took, self.end = data, took, end
        self.status = int(line.split()[1])
        pairs = [line.split(": ", 1) for line in lines]
        self.headers = {name.lower(): value for name, value in pairs}

    @property
    def body(self):
        chunked = self.headers.get("transfer-encoding") == "chunked"
        return dechunked(self.data)[1] if chunked else self.sent

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """Return the error's code, after a look at the shape that every error has."""
        assert self.headers["content-type"] == "application/json"
        assert int(self.headers["content-length"]) == len(self.body)
        error = self.json["error"]
        assert list(self.json) == ["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert error["message"] and isinstance(error["code"], str)
        return error["code"]


def request(line, headers="", body=b"", auth=AUTH, host="Host: gateway\r\n"):
    """Return the bytes of a request that asks to close; headers are lines with their CRLF."""
    return f"{line}\r\n{host}{auth}Connection: close\r\n{headers}\r\n".encode("latin-1") + body


def post(body, path="/v1/chat/completions", headers=JSON, auth=AUTH):
    """Return the bytes of a POST with a Content-Length; a body that is no bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    line = f"POST {path} HTTP/1.1"
    return request(line, f"{headers}Content-Length: {len(data)}\r\n", data, auth)


def chat(model="gpt-test", **more):
    return {"model": model, "messages": MESSAGES, **more}


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        yield sock


def ask(port, data, half_close=False):
    """Send some bytes and return the Reply that comes before the connection ends."""
    began = time.monotonic()
    with connected(port) as sock:
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        found, end = read_all(sock, 10)
    return Reply(found, time.monotonic() - began, end)


def pieces(sock, head=b""):
    """Yield (seconds, bytes) for each chunk of a chunked answer, when it comes; the head first."""
    data = read_until(sock, b"\r\n\r\n", head)
    head, _, data = data.partition(b"\r\n\r\n")
    yield time.monotonic(), head
    while True:
        data = read_until(sock, b"\r\n", data)
        size, _, data = data.partition(b"\r\n")
        size = int(size, 16)
        while len(data) < size + 2:
            data += sock.recv(65536)
        yield time.monotonic(), data[:size]
        data = data[size + 2 :]
        if not size:
            return
