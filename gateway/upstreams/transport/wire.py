"""One request and its answer over one connection."""

import ssl

from requests import exceptions

from gateway.upstreams.transport.answer import Answer, Inflate, Reset

RECV = 65536


class Stale(Exception):
    """A pooled connection was closed by the upstream before one byte of an answer."""


class Wire:
    """One request and its answer over one connection; requests' `raw`.

    A wait that was ended from outside by a Pause may be taken up again by the same call.
    """

    def __init__(self, pool, request):
        self.pool, self.request = pool, request
        self.connection, self.answer, self.inflate = None, None, None
        self.unsent = b""
        self.body, self.size = [], 0

    @property
    def status(self):
        return self.answer.status

    @property
    def headers(self):
        return self.answer.headers

    def open(self):
        """Find a connection; the request is written by `head()`."""
        self.use(self.pool.take())

    def use(self, connection):
        self.connection, self.answer = connection, Answer()
        self.unsent = memoryview(self.request)

    def head(self):
        """Write the request and wait for status and headers.

        A pooled connection that turns out to be closed, without one byte of an answer, is replaced
        once: the upstream cannot have begun to work on this request.
        """
        while not self.answer.head:
            try:
                if self.connection is None:
                    self.use(self.pool.dial())
                self.flush()
                self.fill()
            except Stale:
                self.close()
        self.request, self.unsent = b"", b""  # a stream may last for hours
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity" and self.inflate is None:
            self.inflate = Inflate(coding)

    def flush(self):
        """Write what is left of the request."""
        while self.unsent:
            try:
                self.unsent = self.unsent[self.connection.send(self.unsent) :]
            except OSError:
                # An upstream may refuse a body before it has read it: its answer, or the reason
                # why there is none, is found by reading.
                self.unsent = b""

    def fill(self):
        """Wait for one recv."""
        if self.answer.fault is not None:
            raise self.answer.fault
        try:
            data = self.connection.recv(RECV)
        except ssl.SSLError as exc:
            raise Reset(str(exc), self.answer.got) from exc
        except OSError as exc:
            self.lost(exc)
        if data:
            self.answer.feed(data)
        elif self.connection.reused and not self.answer.got:
            raise Stale
        else:
            self.answer.keep = False
            self.answer.end()

    def lost(self, exc):
        if self.connection.reused and not self.answer.got:
            raise Stale from exc
        if self.answer.head:
            raise exceptions.ChunkedEncodingError(f"reset: {exc}") from exc
        raise Reset(f"reset: {exc}", self.answer.got) from exc

    def read1(self):
        """Wait for the next bytes of the body, whatever the framing; b"" is its end."""
        answer = self.answer
        while True:
            while not answer.pieces:
                if answer.done:
                    if self.inflate is not None:
                        self.inflate.end()
                    return b""
                self.fill()
            data = answer.take()
            if self.inflate is not None:
                data = self.inflate(data)
            if data:
                return data

    def read(self, limit):
        """Return the rest of the body. Raises ContentDecodingError above `limit` bytes."""
        while data := self.read1():
            self.body.append(data)
            self.size += len(data)
            if self.size > limit:
                raise exceptions.ContentDecodingError("answer too large")
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)

    def release(self):
        """Give the connection back if the answer has been read to its end, else close it."""
        connection, answer = self.connection, self.answer
        if connection is None:
            return
        if answer.head and not answer.done and not answer.pieces:
            self.drain()
        if answer.done and answer.keep and not answer.dirty:
            self.connection = None
            self.pool.put(connection)
        else:
            self.close()

    def drain(self):
        """Take the last chunk that may already lie in the socket behind the last event."""
        if not self.connection.usable():
            self.connection.sock.settimeout(0)
            try:
                self.fill()
            except (exceptions.RequestException, Stale):
                self.answer.keep = False
            self.connection.sock.settimeout(None)

    def close(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
