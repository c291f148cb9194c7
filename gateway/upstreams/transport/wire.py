"""One request and its answer over one connection."""

import ssl

import gevent
from requests import exceptions

from gateway.upstreams.transport.answer import Answer, Inflate, Reset

RECV = 65536
TURN = 1e-6  # seconds after which all others have had a turn; after 0 no socket is looked at


class Stale(Exception):
    """A pooled connection was closed by the upstream before one byte of an answer."""


class Wire:
    """One request and its answer over one connection; requests' `raw`.

    `through(data)`, if it is set, is shown whatever begins with a chunk of the body and takes it or
    leaves it; it is called in the hub.

    A wait that was ended from outside by a Pause may be taken up again by the same call.
    """

    __slots__ = ("pool", "request", "connection", "answer", "inflate", "unsent", "body", "size")
    __slots__ += ("through",)

    def __init__(self, pool, request):
        self.pool, self.request = pool, request
        self.connection, self.answer, self.inflate = None, None, None
        self.unsent = b""
        self.body, self.size = None, 0
        self.through = None

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
        coding = self.answer.headers.get("content-encoding")
        if coding is not None and self.inflate is None:
            coding = coding.strip().lower()
            self.inflate = Inflate(coding) if coding != "identity" else None

    def flush(self):
        """Write what is left of the request."""
        while self.unsent:
            try:
                self.unsent = self.unsent[self.connection.send(self.unsent) :]
            except OSError:
                # An upstream may refuse a body before it has read it: its answer, or the reason
                # why there is none, is found by reading.
                self.unsent = b""

    def fill(self, recv=None):
        """Wait for one recv, or take what another `recv` gives."""
        if self.answer.fault is not None:
            raise self.answer.fault
        try:
            if recv is not None:
                data = recv(RECV)
            else:
                bare = self.answer.between and self.inflate is None
                through = self.through if bare else None
                data = self.connection.recv(RECV, through)
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
        if self.inflate is not None:
            return self.inflated(answer, self.inflate)
        pieces = answer.pieces
        while not pieces:
            if answer.done:
                return b""
            self.fill()
        return pieces.pop() if len(pieces) == 1 else answer.take()

    def inflated(self, answer, inflate):
        """Wait for the next bytes of a body that came compressed."""
        data = b""
        while not data:
            if inflate.more:
                gevent.sleep(TURN)
                data = inflate()
            elif answer.pieces:
                data = inflate(answer.take())
            elif answer.done:
                inflate.end()
                break
            else:
                self.fill()
        return data

    def read(self, limit):
        """Return the rest of the body. Raises ContentDecodingError above `limit` bytes."""
        if self.body is None:
            self.body = []
        while data := self.read1():
            self.body.append(data)
            self.size += len(data)
            if self.size > limit:
                raise exceptions.ContentDecodingError("answer too large")
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)

    def release(self):
        """Give the connection back if the answer has been read to its end, else close it."""
        connection, answer = self.connection, self.answer
        self.through = None
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
                self.fill(self.connection.ready)
            except (exceptions.RequestException, Stale):
                self.answer.keep = False

    def close(self):
        connection, self.connection, self.through = self.connection, None, None
        if connection is not None:
            connection.close()
