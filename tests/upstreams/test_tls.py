"""TLS with upstreams: certificates and names are checked, and all else is as without it."""

import os
import shutil
import threading

import pytest
from requests import exceptions

from gateway.mock import FIN, RST, raw, whole
from gateway.mock.answers import DONE, framed
from gateway.upstreams.transport import Adapter, Reset
from tests.upstreams.asking import CHUNKED, LENGTH, WAYS, ask, opened, pausing
from tests.upstreams.calling import timed
from tests.upstreams.forwarding import Forwarder, certificates, endpoint, server_context


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def adapter(folder):
    made = Adapter(connect=1, ca_file=str(folder / "ca.pem"))
    yield made
    made.close()


@pytest.fixture
def serving(folder, upstream):
    """Return a function that puts TLS with a certificate before the scripted upstream."""
    made = []

    def serve(name="good"):
        made.append(endpoint(upstream, server_context(folder, name)).__enter__())
        return made[-1]

    yield serve
    for server in made:
        server.__exit__()


def url(server, host="localhost"):
    return f"https://{host}:{server.port}/v1"


@WAYS
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_upstream_whose_certificate_is_signed_and_names_it_is_trusted(
    adapter, upstream, serving, way, host
):
    upstream.always(whole(b"{}"))
    server = serving()
    for _ in range(3):
        assert way(adapter, url(server, host), body=bytes(1 << 20)) == (200, b"{}")
    assert upstream.requests[0].headers["host"] == f"{host}:{server.port}"
    assert server.connections == 1


@WAYS
@pytest.mark.parametrize("name", ["lonely", "other"])
def test_certificate_that_proves_nothing_is_refused(adapter, upstream, serving, way, name):
    with pytest.raises(exceptions.SSLError):
        way(adapter, url(serving(name)))
    assert upstream.received == 0


def test_only_the_file_that_was_given_is_trusted(folder, upstream, serving):
    for given in (folder / "lonely.pem", None):
        adapter = Adapter(connect=1, ca_file=given)
        with pytest.raises(exceptions.SSLError):
            ask(adapter, url(serving()))
    assert upstream.received == 0


@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\nhalf of it"])
def test_file_that_can_be_read_no_more_is_an_error_of_the_connection(
    folder, tmp_path, upstream, serving, adapter, text
):
    upstream.always(whole(b"{}"))
    file = tmp_path / "ca.pem"
    adapter.ca_file, server = str(file), serving()
    if text is not None:
        file.write_text(text)
    with pytest.raises(exceptions.SSLError):
        ask(adapter, url(server))
    shutil.copy(folder / "ca.pem", file)
    assert ask(adapter, url(server)) == (200, b"{}")


@WAYS
def test_plain_http_on_a_tls_port_is_an_error_of_the_connection(adapter, upstream, way):
    upstream.greet(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", FIN)
    with pytest.raises(exceptions.SSLError):
        way(adapter, f"https://localhost:{upstream.port}/v1")


@pytest.mark.parametrize("first", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_server_that_closes_in_the_handshake_is_an_error_of_the_connection(adapter, first):
    def greet(sock):
        sock.sendall(first or b"")

    with Forwarder(greet) as server, pytest.raises(exceptions.ConnectionError) as found:
        ask(adapter, url(server))
    assert not isinstance(found.value, Reset)


def test_handshake_that_hangs_takes_no_longer_than_the_connect_timeout(adapter, upstream):
    event = threading.Event()
    adapter.connect = 0.2
    with Forwarder(lambda sock: event.wait(2) and None) as server:
        found, took = timed(ask, adapter, url(server, "127.0.0.1"))
        event.set()
    assert type(found) is exceptions.ConnectTimeout and took < 1


def test_events_come_through_tls_one_by_one(adapter, upstream, serving):
    event = threading.Event()

    def answer(request):
        yield CHUNKED + framed(b"data: 1\n\n")
        assert event.wait(5)
        yield framed(b"data: 2\n\n") + b"0\r\n\r\n"

    upstream.enqueue(answer)
    wire = opened(adapter, url(serving()))
    wire.head()
    assert wire.read1() == b"data: 1\n\n"
    event.set()
    assert list(iter(wire.read1, b"")) == [b"data: 2\n\n"]
    wire.release()


def test_wait_through_tls_may_be_paused(adapter, upstream, serving, guard):
    upstream.enqueue(raw([0.3, CHUNKED, 0.3, framed(b"{}") + b"0\r\n\r\n"], end=None))
    wire = opened(adapter, url(serving()))
    assert pausing(guard, wire.head)[1] >= 1
    body, pauses = pausing(guard, lambda: wire.read(100))
    assert body == b"{}" and pauses >= 1
    wire.release()


@WAYS
@pytest.mark.parametrize(
    "steps, error",
    [
        ([FIN], Reset),
        ([LENGTH, b"{", FIN], exceptions.ChunkedEncodingError),
        ([CHUNKED, framed(b"{}"), FIN], exceptions.ChunkedEncodingError),
        ([b"HTTP/1.1 200 OK\n\n", FIN], exceptions.InvalidHeader),
    ],
)
def test_fault_behind_tls_is_told_as_without_it(adapter, upstream, serving, way, steps, error):
    upstream.enqueue(raw(steps, end=None))
    with pytest.raises(error):
        way(adapter, url(serving()))


@WAYS
@pytest.mark.parametrize("end", [FIN, RST])
def test_stale_tls_connection_is_replaced_exactly_once(adapter, upstream, serving, way, end):
    server = serving()
    assert way(adapter, url(server))[0]
    upstream.enqueue(raw([end]), whole(b"{}"))
    assert way(adapter, url(server)) == (200, b"{}")
    assert (server.connections, upstream.received) == (2, 3)


def test_record_that_is_not_whole_does_not_hold_up_the_end_of_a_stream(folder, adapter):
    stop, context = threading.Event(), server_context(folder, "good")

    def greet(sock):
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(CHUNKED + framed(DONE))
            os.write(tls.fileno(), b"\x17\x03\x03\x00\xff")
            stop.wait(5)

    with Forwarder(greet) as server:
        wire = opened(adapter, url(server))
        wire.head()
        assert wire.read1() == DONE
        _, took = timed(wire.release)
        stop.set()
    assert took < 1
