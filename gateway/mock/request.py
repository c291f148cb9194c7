"""Requests as the scripted upstream reads and records them: HTTP/1.x, taken strictly."""

import json
import re
import time
from functools import cached_property

MAX_HEAD = 1 << 20
MAX_BODY = 1 << 28
REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) (HTTP/1\.[01])")


class BadRequest(Exception):
    """What came is no HTTP request that this server reads."""


class Headers(dict):
    """A dict of lower-case names found in any case; repeated headers are joined by a comma."""

    def __init__(self, pairs):
        super().__init__()
        for name, value in pairs:
            key = name.lower()
            self[key] = f"{super().__getitem__(key)}, {value}" if key in self else value

    def __getitem__(self, name):
        return super().__getitem__(name.lower())

    def __contains__(self, name):
        return super().__contains__(name.lower())

    def get(self, name, default=None):
        return super().get(name.lower(), default)


class Request:
    """One recorded request. `closed` and `closed_at` are its connection's."""

    def __init__(self, connection, line, raw_headers, body):
        self.number = 0
        self.connection = connection
        self.method, self.target, self.version = line
        self.path, _, self.query = self.target.partition("?")
        self.raw_headers = raw_headers
        self.headers = Headers(raw_headers)
        self.body = body
        self.received_at = time.monotonic()
        self._sent_before = connection.sent

    def __repr__(self):
        return f"<Request {self.number}: {self.method} {self.target}>"

    @cached_property
    def json(self):
        """Return the body parsed; raises ValueError if it is no JSON."""
        return json.loads(self.body)

    @property
    def fields(self):
        """Return the body if it is a JSON object, else an empty dict."""
        try:
            return self.json if isinstance(self.json, dict) else {}
        except (ValueError, RecursionError):
            return {}

    @property
    def keep_alive(self):
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish and (self.version == "HTTP/1.1" or "keep-alive" in wish)

    @property
    def closed(self):
        return self.connection.closed

    @property
    def closed_at(self):
        return self.connection.closed_at

    @property
    def sent(self):
        """Return how many bytes were sent on the connection since this request came."""
        return self.connection.sent - self._sent_before


def read(connection):
    """Return the next request of a connection; raises Gone at its end and BadRequest."""
    head = _until(connection, b"\r\n\r\n", MAX_HEAD).decode("latin-1").lstrip("\r\n")
    first, *lines = head.split("\r\n")
    line = REQUEST_LINE.fullmatch(first)
    if not line:
        raise BadRequest("the request line is malformed")
    pairs = [_pair(text) for text in lines]
    return Request(connection, line.groups(), pairs, _body(connection, Headers(pairs)))


def _pair(line):
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise BadRequest("a header line is malformed")
    return name, value.strip()


def _body(connection, headers):
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    length = _size(headers.get("content-length", "0"), 10)
    if headers.get("expect", "").lower() == "100-continue" and not connection.buffer:
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return _chunks(connection) if chunked else _take(connection, length)


def _chunks(connection):
    body = bytearray()
    while size := _size(_until(connection, b"\r\n", 4096).partition(b";")[0].decode("latin-1"), 16):
        body += _take(connection, size)
        if len(body) > MAX_BODY or _take(connection, 2) != b"\r\n":
            raise BadRequest("a chunk is too long or not ended")
    while _until(connection, b"\r\n", MAX_HEAD):
        pass
    return bytes(body)


def _size(text, base):
    digits = re.fullmatch(r"[0-9a-fA-F]{1,16}", text.strip())
    try:
        size = int(text, base) if digits else MAX_BODY + 1
    except ValueError:
        size = MAX_BODY + 1
    if size > MAX_BODY:
        raise BadRequest("a length is malformed or too large")
    return size


def _until(connection, mark, limit):
    start = 0
    while (at := connection.buffer.find(mark, start)) < 0:
        if len(connection.buffer) > limit:
            raise BadRequest("a head or a chunk size is too long")
        start = max(0, len(connection.buffer) - len(mark) + 1)
        connection.more()
    found = bytes(connection.buffer[:at])
    del connection.buffer[: at + len(mark)]
    return found


def _take(connection, count):
    while len(connection.buffer) < count:
        connection.more()
    found = bytes(connection.buffer[:count])
    del connection.buffer[:count]
    return found
