"""A client of bytes: sends what a test writes and returns what came, framing and all."""

import json
import re
import socket
from contextlib import contextmanager

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Say hi"}]}


def asking(body=None, path="/v1/chat/completions", method="POST", headers=""):
    """Return the bytes of a request; `body` is written as JSON."""
    data = json.dumps(CHAT if body is None else body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: mock\r\ncontent-length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


@contextmanager
def connected(upstream):
    with socket.create_connection(("127.0.0.1", upstream.port), timeout=5) as sock:
        yield sock


def read_until(sock, mark, found=b""):
    while mark not in found:
        data = sock.recv(65536)
        assert data, found
        found += data
    return found


def read_all(sock, silence=5):
    """Return all that comes and how it ended: "FIN", "RST" or, after some silence, "open"."""
    found = bytearray()
    sock.settimeout(silence)
    try:
        while data := sock.recv(1 << 20):
            found += data
    except ConnectionResetError:
        return bytes(found), "RST"
    except TimeoutError:
        return bytes(found), "open"
    return bytes(found), "FIN"


def exchange(upstream, body, silence=5, **how):
    """Send one request that asks to close, and return what came and how it ended."""
    with connected(upstream) as sock:
        sock.sendall(asking(body, headers="connection: close\r\n", **how))
        return read_all(sock, silence)


def dechunked(data):
    """Return the head and the joined chunks of an answer; a last chunk has to end it."""
    head, _, rest = data.partition(b"\r\n\r\n")
    chunks, at, count = [], 0, -1
    while count:
        start = rest.index(b"\r\n", at) + 2
        count = int(rest[at : start - 2], 16)
        chunks.append(rest[start : start + count])
        at = start + count + 2
        assert rest[at - 2 : at] == b"\r\n"
    assert at == len(rest)
    return head, b"".join(chunks)


def events(body):
    """Return the data of a stream's events, JSON parsed."""
    found = re.findall(rb"^data: (.*)$", body, re.M)
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in found]
