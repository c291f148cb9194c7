"""Bodies and keys as bytes against real gunicorn: framing, lengths, types, and who may send any."""

import base64
import json
import select
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import mock
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.raw import AUTH, JSON, Reply, ask, chat, connected, pieces, post, request
from tests.raw_client import read_until
from tests.serving import KEY

pytestmark = pytest.mark.live

LINE = "POST /v1/chat/completions HTTP/1.1"
CHUNKED = f"{JSON}Transfer-Encoding: chunked\r\n"
BODY = json.dumps(chat()).encode()
LIMIT = 1024 * 1024


def chunks(*found, last=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in found) + last


def padded(size):
    """Return a valid body of exactly so many bytes."""
    return BODY + b" " * (size - len(BODY))


def of_length(length, data):
    return request(LINE, f"{JSON}Content-Length: {length}\r\n", data)


# A request, whether the client then closes its side, and the status and code it gets.
FRAMING = {
    "two chunks": (request(LINE, CHUNKED, chunks(BODY[:9], BODY[9:])), False, 200, None),
    "a chunk a byte": (request(LINE, CHUNKED, chunks(*map(bytes, zip(BODY)))), False, 200, None),
    "extensions and trailers": (
        request(LINE, CHUNKED, b"%x;a=b\r\n%s\r\n0\r\nX-T: a\r\n\r\n" % (len(BODY), BODY)),
        False, 200, None,
    ),
    "chunks of nothing": (request(LINE, CHUNKED, chunks()), False, 400, "invalid_json"),
    "chunk size 0x2": (
        request(LINE, CHUNKED, b"0x2\r\n{}\r\n0\r\n\r\n"), False, 400, "bad_request",
    ),
    "chunk without its CRLF": (
        request(LINE, CHUNKED, b"2\r\n{}0\r\n\r\n"), False, 400, "bad_request",
    ),
    "short chunk": (request(LINE, CHUNKED, b"64\r\n{}"), True, 400, "bad_request"),
    "no last chunk": (
        request(LINE, CHUNKED, chunks(BODY, last=b"")), True, 400, "bad_request",
    ),
    "short body": (of_length(len(BODY) + 9, BODY), True, 400, "bad_request"),
    "longer than its length": (of_length(len(BODY), BODY + b"garbage"), False, 200, None),
    "cut by its length": (of_length(len(BODY) - 1, BODY), False, 400, "invalid_json"),
    "length 0": (of_length(0, b""), False, 400, "invalid_json"),
    "no length": (request(LINE, JSON), False, 400, "invalid_json"),
    "just the limit": (of_length(LIMIT, padded(LIMIT)), False, 200, None),
    "a byte above the limit": (
        of_length(LIMIT + 1, padded(LIMIT + 1)), False, 413, "request_too_large",
    ),
    "far above the limit, none sent": (of_length(10**10, b""), False, 413, "request_too_large"),
    "length of 21 digits": (of_length("9" * 21, b""), False, 413, "request_too_large"),
    "length of 5,000 digits": (of_length("9" * 5000, b""), False, 400, "bad_request"),
    "chunks just at the limit": (
        request(LINE, CHUNKED, chunks(*[padded(LIMIT)[at : at + 65536]
                                        for at in range(0, LIMIT, 65536)])),
        False, 200, None,
    ),
    "chunks above the limit": (
        request(LINE, CHUNKED, chunks(padded(LIMIT), b" ")), False, 413, "request_too_large",
    ),
    "coding gzip, chunked": (
        request(LINE, f"{JSON}Transfer-Encoding: gzip, chunked\r\n", chunks(BODY)),
        False, 415, "unsupported_content_encoding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMING)
def test_framing_is_read_whole_or_refused(gateway, name):
    data, half_close, status, code = FRAMING[name]
    reply = ask(gateway.port, data, half_close)

    assert reply.status == status
    assert status == 200 or reply.code == code
    assert gateway.wait_lines(request_id=reply.headers["x-request-id"], status=status)


@pytest.mark.parametrize(
    "data",
    [
        of_length(len(BODY) + 9, BODY),
        of_length(len(BODY), b""),
        request(LINE, CHUNKED, b"64\r\n{}"),
        request(LINE, CHUNKED, b"2\n{}\n0\n\n"),
    ],
    ids=["short", "nothing", "short chunk", "chunk with bare LF"],
)
def test_body_that_does_not_come_in_time_is_408(gateway, data):
    reply = ask(gateway.port, data)

    assert (reply.status, reply.code) == (408, "request_timeout")
    assert 0.9 < reply.took < 2.5


def test_body_that_trickles_is_408_when_its_time_is_over(gateway):
    with connected(gateway.port) as sock:
        sock.sendall(of_length(1000, b"{"))
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            sock.sendall(b" ")
            time.sleep(0.1)
        head = read_until(sock, b"\r\n\r\n")

    assert Reply(head).status == 408
    assert 0.9 < time.monotonic() - began < 2.5


def test_body_in_countless_chunks_is_408_in_time_and_holds_up_no_stream(gateway, upstream):
    role, word, *_, stop = mock.bodies.chunks("word")
    upstream.enqueue(mock.stream([role, *[word] * 150, stop], delay=0.02))
    with connected(gateway.port) as other, connected(gateway.port) as sock:
        other.sendall(post(chat(stream=True)))
        stream = pieces(other)
        last, _ = next(stream)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(list, stream)
            sock.sendall(request(LINE, CHUNKED))
            began = time.monotonic()
            while not select.select([sock], [], [], 0)[0]:
                sock.sendall(chunks(b" ", last=b"").replace(b"\r\n ", b";a=b;c;d;e;f\r\n ") * 3000)
            took = time.monotonic() - began
            times = [last, *[at for at, _ in reading.result()]]
        assert Reply(read_until(sock, b"\r\n\r\n")).status == 408
    assert 0.9 < took < 2.5
    assert times[-1] > began + took
    assert max(after - before for before, after in zip(times, times[1:], strict=False)) < 0.25


TYPES = {
    "": 415,
    "Content-Type: text/plain": 415,
    "Content-Type: application/x-www-form-urlencoded": 415,
    "Content-Type: multipart/form-data; boundary=x": 415,
    "Content-Type: application/vnd.api+json": 415,
    "Content-Type: application/json; charset=latin-1": 415,
    "Content-Type: application/json": 200,
    "Content-Type: APPLICATION/JSON": 200,
    "Content-Type: application/json; charset=utf-8": 200,
    'Content-Type: application/json; charset="UTF-8"': 200,
    "Content-Type: application/json;": 200,
}
ENCODINGS = {"gzip": 415, "br": 415, "zstd": 415, "deflate, gzip": 415, "identity": 200}


@pytest.mark.parametrize("line", TYPES)
def test_content_type_has_to_be_json_in_utf_8(gateway, line):
    reply = ask(gateway.port, post(BODY, headers=f"{line}\r\n" if line else ""))

    assert reply.status == TYPES[line]
    assert reply.status == 200 or reply.code == "unsupported_content_type"


@pytest.mark.parametrize("coding", ENCODINGS)
def test_body_has_to_be_uncompressed(gateway, coding):
    reply = ask(gateway.port, post(BODY, headers=f"{JSON}Content-Encoding: {coding}\r\n"))

    assert reply.status == ENCODINGS[coding]
    assert reply.status == 200 or reply.code == "unsupported_content_encoding"


def test_client_that_expects_100_is_told_to_go_on(gateway):
    with connected(gateway.port) as sock:
        head, _, body = post(BODY, headers=f"{JSON}Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert Reply(read_until(sock, b"\r\n\r\n")).status == 200


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: bearer {KEY}",
        f"authorization: BEARER {KEY}",
        f"Authorization: Bearer   {KEY}",
        f"Authorization: Bearer {KEY} ",
        f"Authorization:Bearer {KEY}\t",
        f"Authorization: Bearer {KEY}\r\nX-Api-Key: other",
    ],
)
def test_key_is_taken_however_it_may_be_written(gateway, line):
    assert ask(gateway.port, request("GET /v1/models HTTP/1.1", auth=f"{line}\r\n")).status == 200


@pytest.mark.parametrize(
    "line",
    [
        "Authorization:",
        "Authorization: Bearer",
        f"Authorization: {KEY}",
        f"Authorization: Token {KEY}",
        f"Authorization: Bearer\t{KEY}",
        f"Authorization: Bearer {KEY}\r\nAuthorization: Bearer {KEY}",
        f"Authorization: Bearer x\r\nAuthorization: Bearer {KEY}",
        f"Authorization: Bearer {KEY}, Bearer x",
        f"Authorization: Bearer {KEY},",
        f"Authorization: Bearer {KEY} x",
        "Authorization: Bearer sk-\xe9\xff",
        "Authorization: Bearer ' OR '1'='1",
        f"Authorization: Bearer {KEY[:-1]}",
        f"Authorization: Bearer {KEY}x",
        f"Authorization: Bearer {KEY.upper()}",
        f"Authorization: Bearer {'a' * 8000}",
        f"Authorization: Basic {base64.b64encode(f':{KEY}'.encode()).decode()}",
        f"X-Api-Key: {KEY}",
        f"api-key: {KEY}",
        f"Cookie: key={KEY}",
        f"Proxy-Authorization: Bearer {KEY}",
    ],
)
def test_whatever_is_no_bearer_key_is_401_in_the_guide_s_words(gateway, line):
    reply = ask(gateway.port, request("GET /v1/models HTTP/1.1", auth=f"{line}\r\n"))

    assert (reply.status, reply.code) == (401, "invalid_api_key")
    assert reply.json["error"]["message"] == "Invalid or missing API key"


def test_key_in_the_query_counts_for_nothing_and_is_not_logged(gateway):
    for name in ("api_key", "key", "access_token"):
        line = f"GET /v1/models?{name}={KEY} HTTP/1.1"
        reply = ask(gateway.port, request(line, auth=""))
        assert reply.status == 401
        (logged,) = gateway.wait_lines(request_id=reply.headers["x-request-id"])
        assert logged["path"] == "/v1/models"
    assert KEY not in gateway.log_path.read_text()


@pytest.mark.parametrize(
    "data",
    [
        post(b"{bad", auth=""),
        post(BODY, headers="Content-Type: text/plain\r\n", auth=""),
        request(LINE, CHUNKED, b"zz\r\n", auth=""),
        request(LINE, f"{JSON}Content-Length: {10**10}\r\n", auth=""),
        request(LINE, f"{JSON}Content-Length: 100\r\n", auth="Authorization: Bearer sk-x\r\n"),
    ],
    ids=["bad JSON", "wrong type", "bad chunk", "too large", "unsent"],
)
def test_wrong_key_is_told_before_anything_about_the_body(gateway, data):
    reply = ask(gateway.port, data)

    assert (reply.status, reply.code) == (401, "invalid_api_key")
    assert gateway.wait_lines(request_id=reply.headers["x-request-id"])[0]["total_ms"] < 500


def test_bad_bodies_do_not_disturb_the_connection_they_came_on(gateway):
    with connected(gateway.port) as sock:
        for data, status in [(b"{bad", 400), (BODY, 200), (b'{"model": "x"}', 404), (BODY, 200)]:
            sock.sendall(post(data, auth=AUTH).replace(b"Connection: close\r\n", b""))
            found = read_until(sock, b"\r\n\r\n")
            reply = Reply(found)
            while len(reply.body) < int(reply.headers["content-length"]):
                found += sock.recv(65536)
                reply = Reply(found)
            assert (reply.status, reply.headers["connection"]) == (status, "keep-alive")
