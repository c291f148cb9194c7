"""Upstreams behind an HTTP proxy: reached through it, and read as those without one."""

import shutil
import time

import pytest
from requests import exceptions

from gateway import errors
from gateway.mock import FIN, RST, hang, raw, stream, whole
from gateway.upstreams.base import PING
from gateway.upstreams.transport import Adapter
from tests.upstream import black_hole, refused_url
from tests.upstreams.asking import WAYS, ask, opened, pausing
from tests.upstreams.calling import events, timed
from tests.upstreams.forwarding import Proxy, basic, certificates, endpoint, server_context

REFUSED = b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def proxy():
    with Proxy() as made:
        yield made


@pytest.fixture
def adapters(folder):
    """Return a function that makes an adapter which asks a proxy."""
    made = []

    def make(url):
        made.append(Adapter(connect=1, ca_file=str(folder / "ca.pem"), proxy=url))
        return made[-1]

    yield make
    for adapter in made:
        adapter.close()


def named(upstream):
    """Return an address that only the proxy can look up."""
    return f"http://upstream.test:{upstream.port}/v1"


@WAYS
def test_proxy_is_asked_for_the_whole_address_of_an_http_upstream(adapters, proxy, upstream, way):
    adapter = adapters(proxy.url)
    upstream.always(whole(b"{}"))
    assert way(adapter, f"{named(upstream)}/models?a=b") == (200, b"{}")
    assert way(adapter, f"{named(upstream)}/models?a=b") == (200, b"{}")
    host = f"upstream.test:{upstream.port}"
    assert proxy.heads[0].split("\r\n")[:2] == [
        f"POST http://{host}/v1/models?a=b HTTP/1.1",
        f"Host: {host}",
    ]
    assert proxy.connections == 1


@WAYS
@pytest.mark.parametrize("secured", [False, True])
def test_proxy_is_asked_for_a_tunnel_to_an_https_upstream(adapters, folder, upstream, way, secured):
    upstream.always(whole(b"{}" * 500_000))
    context = server_context(folder, "good")
    with Proxy(context if secured else None) as proxy, endpoint(upstream, context) as server:
        adapter = adapters(proxy.url)
        for _ in range(3):
            url = f"https://upstream.test:{server.port}/v1"
            assert way(adapter, url, body=bytes(1 << 20)) == (200, b"{}" * 500_000)
        assert proxy.heads == [
            f"CONNECT upstream.test:{server.port} HTTP/1.1\r\nHost: upstream.test:{server.port}"
        ]
        adapter.close()
    assert len(upstream.requests) == 3


def test_http_upstream_is_reached_through_an_https_proxy(adapters, folder, upstream):
    with Proxy(server_context(folder, "good")) as proxy:
        adapter = adapters(proxy.url)
        assert ask(adapter, named(upstream))[0]
        adapter.close()
    assert proxy.heads[0].startswith("POST http://upstream.test:")


@pytest.mark.parametrize("secured", [False, True])
def test_certificate_of_the_upstream_is_checked_through_a_tunnel(
    adapters, folder, upstream, secured
):
    context = server_context(folder, "good") if secured else None
    with Proxy(context) as proxy, endpoint(upstream, server_context(folder, "lonely")) as server:
        adapter = adapters(proxy.url)
        with pytest.raises(exceptions.SSLError):
            ask(adapter, f"https://upstream.test:{server.port}/v1")
    assert upstream.received == 0


def test_certificate_of_the_proxy_is_checked(adapters, folder, upstream):
    with Proxy(server_context(folder, "lonely")) as proxy:
        with pytest.raises(exceptions.SSLError):
            ask(adapters(proxy.url), named(upstream))
    assert proxy.heads == []


def test_login_goes_to_the_proxy_with_every_request_and_not_through_a_tunnel(
    adapters, folder, proxy, upstream
):
    adapter = adapters(proxy.url.replace("//", "//us%40er:p%3Aw@"))
    line = f"Proxy-Authorization: {basic('us@er', 'p:w')}"
    ask(adapter, named(upstream))
    with endpoint(upstream, server_context(folder, "good")) as server:
        ask(adapter, f"https://upstream.test:{server.port}/v1")
        adapter.close()
    assert [line in head.split("\r\n") for head in proxy.heads] == [True, True]
    assert "proxy-authorization" not in upstream.requests[1].headers


@pytest.mark.parametrize(
    "refuse", [REFUSED % 407, REFUSED % 403, REFUSED % 502, b"", b"220 hi\r\n\r\n", b"HTTP/1.1 2"]
)
def test_tunnel_that_is_not_given_is_an_error_of_the_connection(adapters, refuse):
    with Proxy(refuse=refuse) as proxy, pytest.raises(exceptions.ProxyError):
        ask(adapters(proxy.url), "https://upstream.test:1/v1")


def test_tunnel_that_does_not_come_takes_no_longer_than_the_connect_timeout(adapters, upstream):
    upstream.always(hang())
    adapter = adapters(f"http://127.0.0.1:{upstream.port}")
    adapter.connect = 0.2
    found, took = timed(ask, adapter, "https://upstream.test:1/v1")
    assert type(found) is exceptions.ConnectTimeout and took < 1


def test_proxy_that_is_not_there_is_an_error_of_the_connection(adapters):
    with refused_url() as url, pytest.raises(exceptions.ConnectionError):
        ask(adapters(url), "http://upstream.test:1/v1")
    with black_hole() as url:
        adapter = adapters(url)
        adapter.connect = 0.2
        with pytest.raises(exceptions.ConnectTimeout):
            ask(adapter, "http://upstream.test:1/v1")


@WAYS
def test_stale_connection_to_a_proxy_is_replaced(adapters, proxy, upstream, way):
    adapter = adapters(proxy.url)
    assert way(adapter, named(upstream))[0]
    for end in (FIN, RST):
        upstream.enqueue(raw([end]), whole(b"{}"))
        assert way(adapter, named(upstream)) == (200, b"{}")
    assert upstream.received == 5


@pytest.mark.parametrize("secured", [False, True])
def test_wait_through_a_tunnel_may_be_paused(adapters, folder, upstream, guard, secured):
    upstream.greet(0.2)
    upstream.enqueue(hang(0.2, stream(["one", 0.2, "two"])))
    context = server_context(folder, "good")
    with Proxy(context if secured else None) as proxy, endpoint(upstream, context) as server:
        adapter = adapters(proxy.url)
        wire = opened(adapter, f"https://upstream.test:{server.port}/v1", body=bytes(20 << 20))
        assert pausing(guard, wire.head)[1] >= 1
        body, pauses = pausing(guard, lambda: wire.read(1000))
        assert body == b"data: one\n\ndata: two\n\ndata: [DONE]\n\n" and pauses >= 1
        assert upstream.requests[0].body == bytes(20 << 20)
        wire.release()
        adapter.close()


def test_stream_behind_a_proxy_outlives_keepalives(calls, proxy, upstream):
    """requests' own adapter closes the connection when its wait is ended from outside."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    upstream.enqueue(hang(0.4, stream([chunk, 0.4, chunk])))
    mock = calls.upstream(named(upstream), {"keepalive": 0.1}, proxy=proxy.url)
    blocks = list(mock.stream(calls.call(stream=True), "model"))
    first = next(place for place, block in enumerate(blocks) if block is not PING)
    assert first >= 1 and PING in blocks[first:]
    assert [event for event in events(blocks) if event is not PING][-1] == ("", "[DONE]")
    mock.close()


def test_proxy_that_wants_another_login_is_no_refusal_of_the_request(calls, upstream):
    with Proxy(refuse=REFUSED % 407) as proxy:
        mock = calls.upstream(named(upstream), proxy=proxy.url)
        began = time.monotonic()
        with pytest.raises(errors.UpstreamAuthFailed):
            mock.whole(calls.call(), "model")
        assert time.monotonic() - began < 1
