"""Logs: JSON, a line a request, and no key, prompt or answer in any of them."""

import datetime
import logging
import time
import traceback

import orjson

# Messages of these name types and places; those of others (ValueError, KeyError) quote values,
# which may be a prompt.
PLAIN = (OSError, AttributeError, TypeError, NameError, ImportError)


class Line:
    """The facts of one request, gathered on its way and written once at its end."""

    __slots__ = (
        "request_id",
        "client_request_id",
        "key",
        "method",
        "path",
        "endpoint",
        "model",
        "label",
        "upstream",
        "attempts",
        "status",
        "code",
        "stream",
        "ttft",
        "upstream_seconds",
        "usage",
        "end",
        "started",
    )

    def __init__(self, request_id, method, path, client_request_id=None, clock=time.monotonic):
        for name in self.__slots__:
            setattr(self, name, None)
        self.request_id, self.client_request_id = request_id, client_request_id
        self.method, self.path, self.started = method, path, clock()
        self.stream, self.end = False, "ok"

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


def timestamp(seconds):
    """Return the time of a log line: UTC with milliseconds."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JSONFormatter(logging.Formatter):
    """Formats every record as one JSON object on one line."""

    def format(self, record):
        found = {"ts": timestamp(record.created), "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        if fields is None:
            found.update(logger=record.name, message=record.getMessage())
        else:
            found.update(fields)
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
