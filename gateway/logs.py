"""Logs: JSON, a line a request, and no key, prompt or answer in any of them."""

import collections
import datetime
import logging
import os
import threading
import time
import traceback

import orjson

from gateway.aside import aside
from gateway.idling import whenever

NEWLINE = ord("\n")
# Messages of these name types and places; those of others (ValueError, KeyError) quote values,
# which may be a prompt.
PLAIN = (OSError, AttributeError, TypeError, NameError, ImportError)


class Line:
    """The facts of one request, gathered on its way and written once at its end."""

    key = endpoint = model = label = upstream = attempts = status = code = None
    ttft = upstream_seconds = usage = None
    stream, end = False, "ok"

    def __init__(self, request_id, method, path, client_request_id=None, clock=time.monotonic):
        self.request_id, self.client_request_id = request_id, client_request_id
        self.method, self.path, self.started = method, path, clock()

    def fields(self, now):
        """Return the line under the names that last; times in milliseconds."""
        return {
            "request_id": self.request_id,
            "client_request_id": self.client_request_id,
            "key": self.key,
            "method": self.method,
            "path": self.path,
            "endpoint": self.endpoint,
            "model": self.model,
            "upstream": self.upstream,
            "attempts": self.attempts,
            "status": self.status,
            "code": self.code,
            "stream": self.stream,
            "ttft_ms": milliseconds(self.ttft),
            "total_ms": milliseconds(now - self.started),
            "upstream_ms": milliseconds(self.upstream_seconds),
            "input_tokens": self.usage.input if self.usage else None,
            "output_tokens": self.usage.output if self.usage else None,
            "end": self.end,
        }


def milliseconds(seconds):
    return None if seconds is None else round(seconds * 1000, 2)


class Stamp:
    """Writes times as UTC with milliseconds; the part above the second is kept while it lasts."""

    def __init__(self):
        self.second, self.text = None, ""

    def __call__(self, seconds):
        second = int(seconds)
        if second != self.second:
            moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
            self.second, self.text = second, moment.strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self.text}.{int((seconds - second) * 1000):03}Z"


timestamp = Stamp()


class Lines:
    """The request lines on their way out: gathered, and written up to ten times a second.

    A reader that stalls must not stall the gateway: lines beyond MOST are dropped, and counted.
    """

    INTERVAL = 0.1  # seconds in which lines are gathered
    MOST = 100_000

    def __init__(self, descriptor=2):
        self.descriptor = descriptor
        self.waiting, self.some = collections.deque(), threading.Event()
        self.dropped = 0
        self.lost = 0  # the same since the metrics were told
        self.running = False
        self.torn = False  # of the last line only a part could be written

    def add(self, level, fields):
        """Take a line; it is written at once unless `run()` does that."""
        if len(self.waiting) >= self.MOST:
            self.drop(1)
            return
        found = {"ts": timestamp(time.time()), "level": level, **fields}
        self.waiting.append(orjson.dumps(found, default=str, option=orjson.OPT_APPEND_NEWLINE))
        if not self.running:
            self.flush()
        elif len(self.waiting) == 1:
            self.some.set()

    def flush(self):
        """Write what is waiting; this may block."""
        self.write(self.taken())

    def flush_aside(self):
        aside(self.write, self.taken())  # taken here: a line may be added while that writes

    def taken(self):
        waiting, self.waiting = self.waiting, collections.deque()
        return waiting

    def write(self, waiting):
        """Write lines; those that cannot be written are dropped, and counted."""
        data = memoryview(b"\n" * self.torn + b"".join(waiting))
        try:
            while data:
                written = os.write(self.descriptor, data)
                self.torn, data = data[written - 1] != NEWLINE, data[written:]
        except OSError:  # the disk is full, or its reader has gone
            self.drop(bytes(data).lstrip().count(b"\n"))
            return
        if self.dropped:
            logging.getLogger("gateway").warning("log lines dropped: %d", self.dropped)
            self.dropped = 0

    def drop(self, count):
        self.dropped += count
        self.lost += count

    def run(self, stop):
        """Write until `stop` is set, off the hub."""
        self.running = True
        whenever(lambda: self.waiting, self.flush_aside, self.INTERVAL, self.some, stop)
        self.running = False
        self.flush()


class JSONFormatter(logging.Formatter):
    """Formats every record as one JSON object on one line."""

    def format(self, record):
        found = {
            "ts": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            found["exception"] = described(record.exc_info[1])
        return orjson.dumps(found, default=str).decode()


def described(exc):
    """Return an exception's type, its frames, and its message where that cannot quote a prompt."""
    frames = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(exc.__traceback__)
    ]
    found = {"type": type(exc).__qualname__, "frames": frames}
    if isinstance(exc, PLAIN):
        found["message"] = str(exc)
    if exc.__cause__ is not None:
        found["cause"] = described(exc.__cause__)
    return found


def configuration(level="INFO"):
    """Return what logging.config.dictConfig takes; gunicorn's own loggers included."""
    console = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    named = {"level": level, "handlers": ["console"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "gateway.logs.JSONFormatter"}},
        "handlers": {"console": console},
        "root": {"level": "WARNING", "handlers": ["console"]},
        "loggers": {name: dict(named) for name in ("gateway", "gunicorn.error")},
    }
