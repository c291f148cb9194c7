"""The scripted upstream: listens, gives each connection a thread, records, hands out answers."""

import selectors
import socket
import threading
import time

from gateway.mock import checks, faults, request
from gateway.mock.answers import dumps, head
from gateway.mock.openai import reply
from gateway.mock.wire import FIN, Connection, Gone

CATALOGUE = ("echo", "echo-embed")
BAD_REQUEST = {"type": "invalid_request_error", "param": None, "code": "bad_request"}


class ScriptedUpstream:
    """An OpenAI-compatible server on a real socket, whose answers are queued or chosen by default.

    `requests` holds what came, `peers` every connection; of both the last `keep`, if that is given.
    `seen(request)` is called for each. Closing it ends every thread and socket at once.
    """

    def __init__(self, host="127.0.0.1", port=0, models=CATALOGUE, keep=None, seen=None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=1024)
        self._listener.setblocking(False)
        self._waker, self._wake = socket.socketpair()
        self.host = f"[{host}]" if ":" in host else host
        self.port = self._listener.getsockname()[1]
        self.models = models
        self.requests, self.peers = [], []
        self.received = self.connections = 0
        self._keep, self._seen = keep, seen
        self._queue, self._standing, self._greetings = [], {}, []
        self._threads = {}
        self._changed = threading.Condition()
        self._acceptor = threading.Thread(target=self._accept, name="upstream", daemon=True)
        self._acceptor.start()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}/v1"

    @property
    def open_connections(self):
        return len(self._threads)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def enqueue(self, *answers, path=None):
        """Queue an answer for each of the next requests, or of the next ones whose path ends so."""
        with self._changed:
            self._queue += [(path, answer) for answer in answers]

    def always(self, answer, path=None):
        """Give this answer whenever none is queued; None goes back to the default."""
        with self._changed:
            self._standing[path] = answer

    def greet(self, *steps):
        """Play these steps on the next connection before anything is read from it."""
        with self._changed:
            self._greetings.append(steps)

    def wait_for(self, count, timeout=5):
        """Wait until so many requests have come and return them; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.received >= count, timeout):
                raise TimeoutError(f"{self.received} of {count} requests came in {timeout} s")
            return list(self.requests)

    def wait_idle(self, timeout=5):
        """Wait until no connection is open; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._threads, timeout):
                raise TimeoutError(f"{len(self._threads)} connections open after {timeout} s")

    def hang_up(self):
        """Send a FIN on every open connection, as a server does with idle ones."""
        for connection in list(self._threads):
            connection.hang_up()

    def close(self):
        """End every thread and socket; returns when they have ended."""
        self._wake.close()
        self._acceptor.join()
        threads = dict(self._threads)
        for connection in threads:
            connection.end()
        for thread in threads.values():
            thread.join()

    def _accept(self):
        with self._listener, self._waker, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while self._waker not in [key.fileobj for key, _ in selector.select()]:
                try:
                    self._start(self._listener.accept()[0])
                except OSError:
                    # Out of descriptors, or the peer has gone: the next one may be luckier.
                    time.sleep(0.01)

    def _start(self, sock):
        with self._changed:
            self.connections += 1
            connection = Connection(sock, self.connections)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._record(self.peers, connection)
            self._threads[connection] = thread
        thread.start()

    def _serve(self, connection):
        try:
            self._converse(connection)
        except Gone:
            pass
        finally:
            connection.close()
            with self._changed:
                del self._threads[connection]
                self._changed.notify_all()
            if connection.closed_at is not None:
                connection.closed.set()

    def _converse(self, connection):
        with self._changed:
            greeting = self._greetings.pop(0) if self._greetings else ()
        connection.play(greeting)
        try:
            while True:
                asked = request.read(connection)
                connection.play(self._take(asked)(asked))
                if not asked.keep_alive:
                    connection.finish()
        except request.BadRequest as exc:
            body = dumps({"error": {**BAD_REQUEST, "message": f"Bad request: {exc}."}})
            length = {"content-type": "application/json", "content-length": len(body)}
            connection.play([head(400, length) + body, FIN])

    def _take(self, asked):
        """Record a request and return its answer."""
        with self._changed:
            self.received += 1
            asked.number = self.received
            self._record(self.requests, asked)
            answer = self._scripted(asked.path)
            self._changed.notify_all()
        if self._seen:
            self._seen(asked)
        return answer or self._default(asked)

    def _scripted(self, path):
        for place, (wanted, answer) in enumerate(self._queue):
            if wanted is None or path.endswith(wanted):
                del self._queue[place]
                return answer
        fitting = [wanted for wanted in self._standing if wanted and path.endswith(wanted)]
        return self._standing.get(fitting[0] if fitting else None)

    def _default(self, asked):
        return (
            checks.listing(asked, self.models)
            or checks.misdirected(asked)
            or faults.of_model(asked)
            or checks.wrong_field(asked)
            or reply()
        )

    def _record(self, records, record):
        records.append(record)
        if self._keep is not None:
            del records[: -self._keep]
