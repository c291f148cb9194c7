"""A gateway under watch: calls to it, and what each of them has to leave behind.

`Site.settles()` asserts the six promises of the fault table for the calls made inside it:

    R1  the upstream's socket is closed within a second, or was given back clean
    R2  the gauge of calls in flight is back to 0
    R3  the permit is free: sites allow one call at a time at their upstream
    R4  one log line and one usage row a call, saying what became of it; `audit()` sees the rows
    R5  no traceback in the log
    R6  the next request on the same worker is fine
"""

import http.client
import itertools
import json
import re
import socket
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

from tests.live.faults import PROMPT, assert_no_traceback

SECOND = 1.5  # "within a second" on a machine that others use too
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}


class Answer:
    """What a client got: status, headers in lower case, body, and the seconds it took."""

    def __init__(self, status, headers, body, took, client_id=None):
        self.status, self.headers, self.body, self.took = status, headers, body, took
        self.client_id = client_id

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def events(self):
        """Return the data of the stream's events, JSON parsed."""
        assert self.headers["content-type"].startswith("text/event-stream"), self.body
        assert self.body.endswith(b"\n\n"), self.body[-200:]
        found = re.findall(rb"^data: (.*)$", self.body, re.M)
        return ["[DONE]" if data == b"[DONE]" else json.loads(data) for data in found]

    @property
    def text(self):
        """Return what a whole or streamed chat has said."""
        if self.headers["content-type"] == "application/json":
            return self.json["choices"][0]["message"]["content"]
        chunks = [e for e in self.events if e != "[DONE]" and e.get("choices")]
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


class Site:
    """A gateway of one worker, its scripted upstream, and calls by ids of their own."""

    def __init__(self, gateway, upstream):
        self.gateway, self.upstream = gateway, upstream
        self.numbers = itertools.count(1)
        self.ids = []  # client ids of all calls
        self.ledger = []  # (log line, columns of the usage row) of calls to be audited

    def head(self, **more):
        """Return the headers of a request with a client id of its own."""
        client_id = f"call-{next(self.numbers)}"
        self.ids.append(client_id)
        return {
            "Authorization": f"Bearer {self.gateway.key}",
            "Content-Type": "application/json",
            "X-Client-Request-Id": client_id,
            **more,
        }

    def body(self, model="gpt-test", endpoint="chat", stream=False, text=PROMPT, **fields):
        """Return a request's body."""
        key = {"chat": "messages"}.get(endpoint, "input")
        said = [{"role": "user", "content": text}] if endpoint == "chat" else text
        streamed = {"stream": True} if stream else {}
        return json.dumps({"model": model, key: said, **streamed, **fields}).encode()

    @contextmanager
    def asking(self, model="gpt-test", endpoint="chat", stream=False, headers=None, **fields):
        """Send a request; give the http.client response to read and the call's client id."""
        address = ("127.0.0.1", self.gateway.port)
        with closing(http.client.HTTPConnection(*address, timeout=30)) as connection:
            head = self.head(**(headers or {}))
            body = self.body(model, endpoint, stream, **fields)
            connection.request("POST", PATHS[endpoint], body, head)
            yield connection.getresponse(), head["X-Client-Request-Id"]

    def raw(self, model="gpt-test", endpoint="chat", headers=None, **fields):
        """Return a whole request as bytes."""
        body = self.body(model, endpoint, **fields)
        return self.raw_head(PATHS[endpoint], len(body), **(headers or {})) + body

    def raw_head(self, path=PATHS["chat"], length=None, method="POST", **headers):
        """Return the head of a request as bytes; a header given as None is left out."""
        found = {"Host": "gateway", **self.head(**headers)}
        if length is not None:
            found["Content-Length"] = length
        lines = [f"{name}: {value}" for name, value in found.items() if value is not None]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()

    @contextmanager
    def connected(self, data=b"", window=None):
        """Give a socket to the API that has sent some bytes; `window` is its receive buffer."""
        with socket.socket() as sock:
            if window:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            sock.settimeout(15)
            sock.connect(("127.0.0.1", self.gateway.port))
            sock.sendall(data)
            yield sock

    def ask(self, model="gpt-test", **how):
        """Send a request and return its Answer."""
        began = time.monotonic()
        with self.asking(model, **how) as (response, client_id):
            body = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body, time.monotonic() - began, client_id)

    def at_once(self, *calls):
        """Run functions in threads of their own and return what they return."""
        found = [None] * len(calls)

        def run(place):
            found[place] = calls[place]()

        threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def rows(self, request_id):
        """Return the usage rows of a request as dicts."""
        place = f"file:{self.gateway.folder / 'gateway.db'}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("select * from usage where request_id = ?", [request_id])
            return [dict(row) for row in found]

    def line(self, client_id):
        """Return the one log line of a call, waiting for it."""
        (line,) = self.gateway.wait_lines(1, 3, client_request_id=client_id)
        return line

    def audit(self):
        """Assert that every call in the ledger has one usage row that says what it should."""
        ledger, self.ledger = self.ledger, []
        deadline = time.monotonic() + 5
        for line, wanted in ledger:
            while not (rows := self.rows(line["request_id"])):
                assert time.monotonic() < deadline, f"no usage row for {line}"
                time.sleep(0.1)
            assert len(rows) == 1, rows
            assert {name: rows[0][name] for name in wanted} == wanted, line

    @contextmanager
    def settles(self, end="error", released=None, **wanted):
        """Assert R1 to R6 for the calls in the block.

        R1 is asserted where a call failed, or `released` says so. `wanted` are columns of their
        usage rows, of which log lines have most. Rows are written a second later: `audit` looks
        at them all.
        """
        calls, requests = len(self.ids), len(self.upstream.requests)
        log = self.gateway.log_path.stat().st_size
        yield
        ended, calls = time.monotonic(), self.ids[calls:]
        left = self.upstream.requests[requests:]
        normal = self.next_request_is_fine()
        for request in left if (end != "ok" if released is None else released) else ():
            returned = request.connection is normal.connection
            assert returned or request.closed.wait(SECOND), f"{request} is still open"
            assert returned or request.closed_at - ended < SECOND
        self.nothing_in_flight()
        for client_id in calls:
            line = self.line(client_id)
            told = {"end": end, **{name: wanted[name] for name in wanted if name in line}}
            assert {name: line[name] for name in told} == told, line
            self.ledger.append((line, {"end": end, **wanted}))
        assert_no_traceback(self.gateway.log_path.read_bytes()[log:])

    def next_request_is_fine(self):
        """Make a normal call and return it as the upstream saw it."""
        seen = self.upstream.received
        answer = self.ask()
        assert (answer.status, answer.text) == (200, PROMPT), answer.body
        return self.upstream.wait_for(seen + 1)[-1]

    def nothing_in_flight(self, seconds=SECOND):
        deadline = time.monotonic() + seconds
        while (count := self.gateway.metrics()["gateway_in_flight"]) != 0:
            assert time.monotonic() < deadline, f"{count} calls in flight"
            time.sleep(0.02)

    def memory(self, name):
        """Return a memory figure of the worker, VmRSS or VmHWM (its peak), in MiB."""
        (pid,) = self.gateway.worker_pids()
        with open(f"/proc/{pid}/status") as status:
            return int(re.search(rf"{name}:\s+(\d+) kB", status.read())[1]) / 1024

    @contextmanager
    def memory_grows_less_than(self, mebibytes):
        """Assert that the worker's peak in the block is near what it had before."""
        (pid,) = self.gateway.worker_pids()
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        before = self.memory("VmRSS")
        yield
        grown = self.memory("VmHWM") - before
        assert grown < mebibytes, f"{grown:.0f} MiB"
