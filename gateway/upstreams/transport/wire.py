"""One request and its answer over one connection."""

import ssl

import gevent
from requests import exceptions

from gateway.upstreams.transport.answer import Answer, Inflate, Reset

RECV = 65536
TURN = 16  # receives in a row without a wait, after which other calls get their turn


class Stale(Exception):
    """A pooled connection was closed by the upstream before one byte of an answer."""


class Wire:
    """One request and its answer over one connection; requests' `raw`."""

    def __init__(self, pool, request):
        self.pool, self.request = pool, request
        self.connection, self.answer, self.inflate = None, None, None
        self.turn = 0

    @property
    def status(self):
        return self.answer.status

    @property
    def headers(self):
        return self.answer.headers

    def send(self):
        """Write the request."""
        self.write(self.pool.take())

    def write(self, connection):
        self.connection, self.answer = connection, Answer()
        try:
            connection.sock.sendall(self.request)
        except exceptions.RequestException:
            raise
        except OSError:
            # An upstream may refuse a body before it has read it: its answer, or the reason why
            # there is none, is found by reading.
            pass

    def head(self):
        """Wait for status and headers.

        A pooled connection that turns out to be closed, without one byte of an answer, is replaced
        once: the upstream cannot have begun to work on this request.
        """
        while not self.answer.head:
            try:
                self.fill()
            except Stale:
                self.close()
                self.write(self.pool.dial())
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity" and self.inflate is None:
            self.inflate = Inflate(coding)

    def fill(self):
        """Wait for one recv."""
        self.turn += 1
        if self.turn % TURN == 0:
            gevent.sleep(0)
        try:
            data = self.connection.sock.recv(RECV)
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

    def read(self, limit=None):
        """Return the rest of the body. Raises ContentDecodingError above `limit` bytes."""
        pieces, size = [], 0
        while data := self.read1():
            pieces.append(data)
            size += len(data)
            if limit is not None and size > limit:
                raise exceptions.ContentDecodingError("answer too large")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

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
            try:
                self.fill()
            except (exceptions.RequestException, Stale):
                self.answer.keep = False

    def close(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.sock.close()
