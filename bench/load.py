"""The load: keep-alive connections over raw sockets in one epoll loop, each answer looked at."""

import collections
import gc
import re
import select
import socket
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
TAIL = 64  # bytes that are kept of a stream, for what may have come in two parts
PATIENCE = 90  # seconds without any progress after which a load is given up


class Broken(Exception):
    """A system answered wrongly, closed a connection or stopped answering."""


class Connection:
    """One connection: what is still to be sent on it and what has come."""

    def __init__(self, port):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex(("127.0.0.1", port))
        self.number = self.sock.fileno()
        self.unsent, self.received = b"", b""
        self.began = 0.0

    def receive(self):
        """Return what has come, None if nothing has. Raises Broken at the end."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise Broken(f"a connection broke: {exc}") from exc
        if not data:
            raise Broken(f"a connection was closed after {self.received[-200:]!r}")
        return data

    def send(self):
        """Send what can be sent; say whether that was all."""
        try:
            sent = self.sock.send(self.unsent)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise Broken(f"a connection broke: {exc}") from exc
        self.unsent = self.unsent[sent:] if sent < len(self.unsent) else b""
        return not self.unsent


class Loop:
    """Runs connections until `done()`; what an answer is, a subclass knows."""

    def __init__(self, port, connections):
        self.poller = select.epoll()
        self.connections = [Connection(port) for _ in range(connections)]
        self.by_number = {one.number: one for one in self.connections}

    def __enter__(self):
        # A pause for garbage would count as a slow answer.
        gc.collect()
        gc.disable()
        return self

    def __exit__(self, *exc):
        gc.enable()
        for one in self.connections:
            one.sock.close()
        self.poller.close()

    def begin(self, one, request):
        """Send a request on a connection that waits for none, a new one too."""
        one.unsent, one.received = request, b""
        one.began = time.perf_counter()

    def run(self, until=None):
        """Go on until all is answered, or until a moment of time.perf_counter()."""
        while not self.done():
            wait = PATIENCE if until is None else until - time.perf_counter()
            if wait <= 0:
                return
            ready = self.poller.poll(wait)
            if not ready and until is None:
                raise Broken(f"nothing has come for {PATIENCE} seconds")
            for number, events in ready:
                self.turn(self.by_number[number], events)

    def turn(self, one, events):
        if one.unsent:
            if one.send():
                self.poller.modify(one.number, select.EPOLLIN)
        elif (data := one.receive()) is not None:
            self.take(one, data)


class Whole(Loop):
    """Sends `count` requests, one after the other on each connection; `latencies` in seconds.

    `requests` are used in turn; each answer has to be a 200 that holds `expected`.
    """

    def __init__(self, port, connections, requests, count, expected):
        super().__init__(port, min(connections, count))
        self.requests, self.expected = requests, expected
        self.left, self.count, self.latencies = count, count, []
        for one in self.connections:
            self.poller.register(one.number, select.EPOLLOUT)
            self.next(one)

    def done(self):
        return len(self.latencies) == self.count

    def next(self, one):
        if self.left:
            self.left -= 1
            self.begin(one, self.requests[self.left % len(self.requests)])

    def again(self, one):
        """Send the next request, at once as a rule."""
        self.next(one)
        if one.unsent and not one.send():
            self.poller.modify(one.number, select.EPOLLIN | select.EPOLLOUT)

    def take(self, one, data):
        data = one.received = one.received + data if one.received else data
        if complete(data):
            self.latencies.append(time.perf_counter() - one.began)
            check(data, self.expected)
            self.again(one)


class Paced(Whole):
    """Like Whole, but each connection rests for `pause` seconds after each answer.

    At full speed nginx takes 60,000 requests a second in batches, a fraction of what one costs it
    alone. This way every system is offered about the same, and what one costs can be compared.
    """

    pause = 0.02

    def __init__(self, *arguments):
        self.resting = collections.deque()
        super().__init__(*arguments)

    def again(self, one):
        self.resting.append((time.perf_counter() + self.pause, one))

    def run(self):
        while not self.done():
            due = self.resting[0][0] - time.perf_counter() if self.resting else PATIENCE
            ready = self.poller.poll(max(due, 0))
            if not ready and not self.resting:
                raise Broken(f"nothing has come for {PATIENCE} seconds")
            for number, events in ready:
                self.turn(self.by_number[number], events)
            while self.resting and self.resting[0][0] <= time.perf_counter():
                super().again(self.resting.popleft()[1])


class Streams(Loop):
    """Opens one stream on each connection, all at once; `first` has the delays of first tokens.

    `seen` counts the tokens that have come. With `expected` tokens a stream must end after as many.
    """

    def __init__(self, port, count, request, token, expected=None):
        super().__init__(port, count)
        self.token, self.expected = token, expected
        self.first, self.seen, self.ended, self.held = [], 0, 0, False
        for one in self.connections:
            one.tokens = 0
            self.begin(one, request)
            self.poller.register(one.number, select.EPOLLOUT)

    def done(self):
        if self.held:
            return False
        if self.expected is None:
            return len(self.first) == len(self.connections)
        return self.ended == len(self.connections)

    def open(self, seconds):
        """Read on until every stream has begun. Raises Broken if that takes longer."""
        self.run(until=time.perf_counter() + seconds)
        if not self.done():
            of = f"{len(self.first)} of {len(self.connections)}"
            raise Broken(f"only {of} streams had begun after {seconds:g} seconds")

    def hold(self, seconds):
        """Go on reading for so long, with all streams open."""
        self.held = True
        self.run(until=time.perf_counter() + seconds)

    def take(self, one, data):
        # A token may come in two parts: the end of what came before is looked at again with it.
        data = one.received + data
        found = data.count(self.token)
        if found:
            if not one.tokens:
                self.first.append(time.perf_counter() - one.began)
                check(data, self.token)
            one.tokens += found
            self.seen += found
        if data.endswith(LAST_CHUNK):
            return self.end(one, data)
        rest = data[data.rfind(self.token) + len(self.token) :] if found else data
        one.received = rest[-TAIL:] if one.tokens else rest

    def end(self, one, data):
        if one.tokens != self.expected or b"[DONE]" not in data:
            raise Broken(f"a stream ended after {one.tokens} tokens: {data[-300:]!r}")
        self.ended += 1
        self.poller.unregister(one.number)


def complete(data):
    """Say whether an answer is whole."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    if length := LENGTH.search(head):
        return len(body) >= int(length[1])
    return body.endswith(LAST_CHUNK)


def check(data, expected):
    """Raise Broken unless an answer is a 200 that holds what is expected."""
    if not data.startswith(b"HTTP/1.1 200") or expected not in data:
        raise Broken(f"a wrong answer: {data[:600]!r}")
