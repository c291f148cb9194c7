"""The requests of one connection, one after the other."""

from gevent import get_hub
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader

from gateway import heads

AT_ONCE = 65536  # bytes that are taken from a socket in one call
PIECE = 8192  # bytes that gunicorn's parser gets at once: it copies them all with every small chunk
RequestParser.mesg_class = heads.Request


class Sharing(SocketUnreader):
    """gunicorn's reader; `step()` before each piece lets others go on.

    A socket that is full never waits, and what comes by it may be a million chunks of a byte each.
    """

    def __init__(self, sock, step):
        super().__init__(sock)
        self.step = step

    def read(self, size=None, read_ahead=None):
        self.step()
        data = super().read(size, read_ahead)
        most = max(read_ahead or 0, PIECE)
        if size is None and len(data) > most:
            self.unread(data[most:])
            data = data[:most]
        return data


class Incoming:
    """Gives the requests of a plain connection: the usual ones at once, others as gunicorn parses.

    Before each, the whole of the one before it must have been read. `waiting()` makes what bounds
    the wait for one; `step()` waits its turn before more is parsed.
    """

    __slots__ = ("cfg", "client", "address", "waiting", "step", "reader", "count")

    def __init__(self, cfg, client, address, waiting, step):
        self.cfg, self.client, self.address = cfg, client, address
        self.waiting, self.step = waiting, step
        self.reader = None  # gunicorn's, which may hold bytes of the next request
        self.count = 0

    def next(self):
        """Return the next request, or None if it has not come in time.

        Raises StopIteration at the connection's end, OSError, and what gunicorn's parser raises.
        """
        found, data = None, self.there()
        if data:
            found, data = self.known(data)
        if found is None:
            with self.waiting():
                if not data:
                    found, data = self.known(self.come())
                if found is None:
                    found = self.parsed(data)
        self.count += 1
        return found

    def there(self):
        """Return what has come already; of a new connection that nearly always is a request."""
        reader, self.reader = self.reader, None
        if reader is not None:
            return reader.take_buffered()
        if self.count:
            return b""  # Who has just been answered has not sent the next one yet.
        try:
            return self.client._sock.recv(AT_ONCE) or self.end()
        except BlockingIOError:
            return b""

    def come(self):
        """Wait for bytes and return them. Raises StopIteration."""
        client = self.client
        while True:
            get_hub().wait(client._read_event)
            try:
                return client._sock.recv(AT_ONCE) or self.end()
            except BlockingIOError:
                pass

    def end(self):
        raise StopIteration

    def known(self, data):
        found, rest = heads.known(data, self.unreader)
        if found is not None and rest:
            self.unreader().unread(rest)
            return found, b""
        return found, rest

    def parsed(self, data):
        """Return the request that gunicorn's parser makes of bytes and what comes after them."""
        parser = RequestParser(self.cfg, self.client, self.address)
        parser.req_count = self.count
        self.reader = parser.unreader = Sharing(self.client, self.step)
        self.reader.unread(data)
        return next(parser)

    def unreader(self):
        self.reader = SocketUnreader(self.client)
        return self.reader
