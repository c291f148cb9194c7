"""WSGI's two sides of a request over gunicorn's parser: the environment, and the answer.

Both do what `gunicorn.http.wsgi` does, less what this gateway never uses, and the answer sends its
head together with the first block of its body.
"""

import socket
import time
from email.utils import formatdate


def place(listener):
    """Return what of an environment depends on the accepting socket's own address alone."""
    server = listener if isinstance(listener, tuple) else ("localhost", "")
    return {
        "gateway.listener": listener,
        "SCRIPT_NAME": "",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
    }


def environment(req, sock, addr, shared):
    """Return a request's WSGI environment; `shared` is what those of its listener have in common.

    `req` is a `heads.Request` or a `heads.Known`.
    """
    version = req.version
    return {
        **shared,
        "wsgi.input": Continue(req.body, sock) if req._expected_100_continue else req.body,
        "wsgi.url_scheme": req.scheme,
        "gunicorn.socket": sock,
        "REQUEST_METHOD": req.method,
        "PATH_INFO": req.path_info,
        "QUERY_STRING": req.query,
        "RAW_URI": req.uri,
        "SERVER_PROTOCOL": "HTTP/1.1" if version == (1, 1) else f"HTTP/{version[0]}.{version[1]}",
        "REMOTE_ADDR": addr[0] if isinstance(addr, tuple) else str(addr or ""),
        **req.fields,
    }


class Continue:
    """A body whose sender waits for 100 Continue; a call that is refused first never gets one."""

    def __init__(self, body, sock):
        self.body, self.sock = body, sock

    def read(self, size=None):
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.body.read(size)

    def __getattr__(self, name):
        return getattr(self.body, name)


class Date:
    """The time as HTTP writes it, formatted once a second."""

    def __init__(self):
        self.second, self.text = 0, ""

    def now(self):
        second = int(time.time())
        if second != self.second:
            self.second, self.text = second, formatdate(second, usegmt=True)
        return self.text


date = Date()


class Answer:
    """Writes one response: head and first block in one send, then each block in one.

    A client that takes nothing for `patience` seconds is a TimeoutError.
    """

    def __init__(self, req, sock, patience=None):
        self.sock, self.body, self.version, self.method = sock, req.body, req.version, req.method
        # gevent's own send would only ask this one first; of TLS it must not be asked.
        self.plain = getattr(sock, "_sock", sock) if type(sock) is socket.socket else sock
        self.patience, self.closing = patience, req.should_close()
        self.status, self.headers = None, ()
        self.started = self.chunked = self.bare = False
        self.ahead = 0  # bytes of the next block that have been sent already

    def start_response(self, status, headers, exc_info=None):
        if self.status is not None and exc_info is None:
            raise AssertionError("the response has been started already")
        if self.started:
            raise exc_info[1].with_traceback(exc_info[2])
        self.status, self.headers = status, headers
        code = int(status[:3])
        self.bare = self.method == "HEAD" or code in (204, 304)
        if not self.bare and not sized(headers):
            self.chunked = self.version >= (1, 1)
            self.closing = self.closing or not self.chunked
        return self.write

    def write(self, block):
        """Send one block of the body, whole in one chunk."""
        if self.bare or not block:
            return
        if self.chunked:
            block = b"%X\r\n%b\r\n" % (len(block), block)
        if not self.started:
            self.started = True
            block = self.head() + block
        self.send(block)

    def push(self, block):
        """Send a block at once and tell whether all of it went; write() sends the rest of it.

        Unlike write() this never waits, so that it may be called in the hub.
        """
        if not (self.started and self.chunked) or self.plain is self.sock:
            return False
        data = b"%X\r\n%b\r\n" % (len(block), block)
        try:
            sent = self.plain.send(data)
        except OSError:  # write() will meet it too
            return False
        self.ahead = sent if sent < len(data) else 0
        return not self.ahead

    def close(self):
        """Send what is still to be sent, and the end."""
        if not self.started:
            self.started = True
            self.send(self.head() + b"0\r\n\r\n" * self.chunked)
        elif self.chunked:
            self.send(b"0\r\n\r\n")

    def send(self, data):
        sent, self.ahead = self.ahead, 0
        if not sent:
            try:
                sent = self.plain.send(data)
            except BlockingIOError:
                pass
        if sent < len(data):
            self.wait(data, sent)

    def wait(self, data, sent):
        """Send the rest of some data as the client takes it."""
        self.sock.settimeout(self.patience)
        while sent < len(data):
            # Not sendall, whose timeout counts from its beginning: who reads slowly is still there.
            sent += self.sock.send(memoryview(data)[sent:])
        self.sock.settimeout(None)

    def head(self):
        connection = "close" if self.closing or unread(self.body) else "keep-alive"
        lines = [
            f"HTTP/1.1 {self.status}\r\nDate: {date.now()}\r\nConnection: {connection}\r\n",
            "Transfer-Encoding: chunked\r\n" if self.chunked else "",
            *[f"{name}: {value}\r\n" for name, value in self.headers],
        ]
        head = "".join(lines)
        expected = 3 + self.chunked + len(self.headers)
        if head.count("\n") != expected or head.count("\r") != expected or "\0" in head:
            raise ValueError("a line break in a response header")
        return f"{head}\r\n".encode("latin-1")


def sized(headers):
    """Tell whether a response says how long it is."""
    size = len("content-length")
    return any([len(name) == size and name.lower() == "content-length" for name, _ in headers])


def unread(body):
    """Tell whether some of a request's body has not been taken from the socket."""
    reader = body.reader
    return body.failed or getattr(reader, "length", 0) > 0 or bool(getattr(reader, "parser", None))
