"""The soak's client: requests over sockets, and how their answers ended."""

import collections
import contextlib
import http.client
import json
import random
import select
import socket
import threading
import time

IDLE = 1.0  # seconds that a kept connection may rest; the gateway keeps them far longer
JSON = {"Content-Type": "application/json"}
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}


class Broken(Exception):
    """A connection broke before its answer had ended."""


class Call:
    """What the soak knows of one call: its kind, its times, its ids, what became of it.

    `broken` has (began, ended) of each request whose connection broke, `jobs` what was last heard
    of each job, `left` is when the client hung up, `words` how many tokens its text is.
    """

    def __init__(self, number, kind):
        self.number, self.kind = number, kind
        self.began, self.ended, self.outcome = time.monotonic(), None, None
        self.left, self.words, self.took = None, None, None
        self.ids, self.broken, self.jobs = set(), [], {}
        self.notes = []  # what is wrong whatever the outcome

    def text(self, words, size=0):
        """Return a text of so many words that names the call; each of about `size` letters."""
        self.words = words
        more = [f"word{n}".ljust(size, "x") for n in range(words - 2)]
        return " ".join(["soak", str(self.number), *more])


class Answer:
    """A whole answer; `said` is its status and, of an error, its code."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def said(self):
        if self.status < 400:
            return str(self.status)
        try:
            return f"{self.status} {self.json['error']['code']}"
        except (ValueError, KeyError, TypeError):
            return f"{self.status} in a shape of its own"


class Stream:
    """An answer as it comes: `next()` gives the data of one event, None at its end."""

    def __init__(self, response, connection):
        self.response, self.connection = response, connection
        self.held, self.ending, self.raw = b"", None, []

    def next(self):
        while b"\n\n" not in self.held:
            data = self.response.read1(65536)
            if not data:
                return None
            self.held += data
        block, _, self.held = self.held.partition(b"\n\n")
        lines = [line for line in block.split(b"\n") if line.startswith(b"data:")]
        if not lines:  # a comment
            return self.next()
        data = lines[0][5:].strip()
        self.raw.append(data)
        self.look(data)
        return data

    def look(self, data):
        """Note what the last event says of the end."""
        if data == b"[DONE]":
            self.ending = self.ending or "done"
        elif b'"error"' in data or b"response." in data:
            self.ending = ending(json.loads(data))

    def rest(self):
        """Read to the end and say how it ended."""
        while self.next() is not None:
            pass
        return self.ending or "cut"


def ending(event):
    """Return how a stream ends of which this is the last event before [DONE], None if not so."""
    kind = event.get("type", "")
    if kind in TERMINAL:
        error = event["response"].get("error") or {}
        status = event["response"]["status"]
        return {"completed": "done"}.get(status) or f"{status} {error.get('code', '')}".strip()
    if kind == "error":
        return f"error {event.get('code')}"
    if event.get("error") and not kind:
        return f"error {event['error']['code']}"
    return None


def readable(sock):
    """Tell whether something has come, which between two requests can only be an end."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


class Client:
    """Asks the gateway; about half of the requests go over connections that were used before."""

    def __init__(self, port, secret):
        self.port, self.secret = port, secret
        self.kept, self.requests = collections.deque(), 0  # kept: (since, connection)
        self.lock = threading.Lock()

    def connect(self, buffer=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        if buffer:
            connection.sock = socket.socket()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            connection.sock.settimeout(120)
            connection.sock.connect(("127.0.0.1", self.port))
        return connection

    def connection(self):
        """Return one that rests and still stands, or a new one."""
        with self.lock:
            since, found = self.kept.popleft() if self.kept else (0, None)
        if found is None:
            return self.connect()
        if time.monotonic() - since < IDLE and found.sock is not None and not readable(found.sock):
            return found
        found.close()
        return self.connection()

    def keep(self, connection):
        """Keep a connection for another request, half of the time."""
        if random.random() < 0.5:
            with self.lock:
                self.kept.append((time.monotonic(), connection))
        else:
            connection.close()

    def request(self, call, body, secret=None, headers=()):
        """Return the body and the headers to send; the call's number goes to the gateway's log."""
        self.requests += 1
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return body, {
            "Authorization": f"Bearer {secret or self.secret}",
            "X-Client-Request-Id": f"soak-{call.number}",
            **(JSON if body is not None else {}),
            **dict(headers),
        }

    @contextlib.contextmanager
    def sent(self, call, method, path, body=None, headers=(), secret=None, buffer=None):
        """Send a request and give (connection, response head). Raises Broken, and notes when."""
        began = time.monotonic()
        connection = self.connect(buffer) if buffer else self.connection()
        kept = False
        try:
            connection.request(method, path, *self.request(call, body, secret, headers))
            response = connection.getresponse()
            if request_id := response.getheader("x-request-id"):
                call.ids.add(request_id)
            yield connection, response
            kept = not response.will_close and response.isclosed() and not buffer
        except (OSError, http.client.HTTPException) as exc:
            call.broken.append((began, time.monotonic(), f"{method} {path}: {exc!r}"))
            raise Broken(f"{type(exc).__name__}: {exc}") from exc
        finally:
            if kept:
                self.keep(connection)
            else:
                connection.close()

    def ask(self, call, method, path, body=None, **how):
        """Return an Answer."""
        with self.sent(call, method, path, body, **how) as (_, response):
            data = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, data)

    def post(self, call, path, body, **how):
        return self.ask(call, "POST", path, body, **how)

    @contextlib.contextmanager
    def stream(self, call, path, body=None, method="POST", **how):
        """Give a Stream, or an Answer where it is none."""
        with self.sent(call, method, path, body, **how) as (connection, response):
            if response.getheader("content-type", "").startswith("text/event-stream"):
                yield Stream(response, connection)
            else:
                headers = {name.lower(): value for name, value in response.getheaders()}
                yield Answer(response.status, headers, response.read())
