import socket
from types import SimpleNamespace

import gevent
import pytest
from gunicorn.http import errors as http
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader

from gateway import errors
from gateway.gunicorn_worker import GatewayWorker, explained, raw, unread
from tests.live.raw import Reply

SECRET = "CANARY"


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (http.InvalidRequestLine(SECRET), 400, "bad_request"),
        (http.InvalidRequestMethod(SECRET), 400, "bad_request"),
        (http.InvalidHTTPVersion(SECRET), 505, "bad_request"),
        (http.InvalidHeader(SECRET), 400, "bad_request"),
        (http.InvalidHeaderName(SECRET), 400, "bad_request"),
        (http.ObsoleteFolding(SECRET), 400, "bad_request"),
        (http.InvalidChunkSize(SECRET.encode()), 400, "bad_request"),
        (http.ChunkMissingTerminator(SECRET.encode()), 400, "bad_request"),
        (http.UnsupportedTransferCoding(SECRET), 501, "bad_request"),
        (http.ExpectationFailed(SECRET), 417, "bad_request"),
        (http.LimitRequestLine(9, 5), 414, "uri_too_long"),
        (http.LimitRequestHeaders(SECRET), 431, "headers_too_large"),
        (ValueError(SECRET), 500, "internal_error"),
    ],
)
def test_gunicorn_s_error_is_told_in_our_words(exc, status, code):
    error = explained(exc)

    assert (error.status, error.code) == (status, code)
    assert SECRET not in error.message


def test_raw_error_is_a_whole_http_answer():
    reply = Reply(raw(errors.URITooLong(), "req_1"))

    assert (reply.status, reply.code) == (414, "uri_too_long")
    assert reply.headers["x-request-id"] == "req_1"
    assert reply.headers["connection"] == "close"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-gateway-error-source"] == "gateway"


@pytest.fixture
def worker():
    found = GatewayWorker.__new__(GatewayWorker)
    found.lines = []
    services = SimpleNamespace(
        refused=lambda line: found.lines.append(("info", line.fields(line.started)))
    )
    found.wsgi = SimpleNamespace(extensions={"gateway": services})
    return found


@pytest.fixture
def ends():
    ours, theirs = gevent.socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_error_is_answered_and_has_its_line(worker, ends):
    ours, theirs = ends
    theirs.shutdown(socket.SHUT_WR)
    req = SimpleNamespace(method="GET", path="/v1/x")
    worker.handle_error(req, ours, ("127.0.0.1", 1), http.LimitRequestLine(9, 5))

    reply = Reply(theirs.recv(65536))
    ((level, line),) = worker.lines
    assert (reply.status, level) == (414, "info")
    assert line["request_id"] == reply.headers["x-request-id"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/x", 414)
    assert (line["code"], line["end"]) == ("uri_too_long", "error")


def test_error_before_there_was_a_request_has_a_line_too(worker, ends):
    ours, theirs = ends
    theirs.shutdown(socket.SHUT_WR)
    worker.handle_error(None, ours, None, http.InvalidRequestLine("x"))

    ((_, line),) = worker.lines
    assert (line["method"], line["path"], line["status"]) == (None, None, 400)


@pytest.mark.parametrize("exc", [gevent.GreenletExit(), SystemExit(), TimeoutError()])
def test_end_of_a_worker_or_of_patience_is_no_error(worker, ends, exc):
    worker.handle_error(None, ends[0], None, exc)
    assert worker.lines == []


def test_client_that_has_left_makes_no_trouble(worker, ends):
    ours, theirs = ends
    theirs.close()
    worker.handle_error(None, ours, None, http.InvalidRequestLine("x"))
    assert len(worker.lines) == 1


def body_of(data, length=None):
    source = IterUnreader(iter([data]))
    return Body(LengthReader(source, length) if length is not None else ChunkedReader(None, source))


@pytest.mark.parametrize(
    ("body", "size", "expected"),
    [
        (body_of(b"", 0), 0, False),
        (body_of(b"{}", 2), 0, True),
        (body_of(b"{}", 2), 1, False),  # gunicorn reads ahead
        (body_of(b"{}", 2), 2, False),
        (body_of(b"2\r\n{}\r\n0\r\n\r\n"), 0, True),
        (body_of(b"2\r\n{}\r\n0\r\n\r\n"), 99, False),
    ],
)
def test_body_that_was_not_taken_is_known(body, size, expected):
    body.read(size)
    assert unread(body) is expected


def test_body_that_could_not_be_read_counts_as_unread():
    body = body_of(b"zz\r\n")
    with pytest.raises(http.InvalidChunkSize):
        body.read(9)
    assert unread(body)
