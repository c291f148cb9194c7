"""The gateway behind the nginx site of deploy/: TLS, streams, errors, framing."""

import itertools
import os
import re
import socket
import ssl
import time

import httpx2 as httpx
import openai
import pytest

from tests.live import nginx as site
from tests.live.nginx import Nginx
from tests.serving import KEY, Gateway, free_port, write_config
from tests.upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not site.installed() and not os.environ.get("CI"), reason="nginx is not installed"
    ),
]

MESSAGES = [{"role": "user", "content": "a b c d e"}]
GET = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
OWN_PATHS = re.findall(r"location = /.errors/(\w+)", site.SITE.read_text())


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(write_config(folder, upstream.url, server="max_body_mb = 20")) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, gateway):
    with Nginx(tmp_path_factory.mktemp("nginx"), gateway.port) as running:
        yield running


@pytest.fixture
def http(nginx):
    context = ssl.create_default_context(cafile=nginx.authority.path)
    with httpx.Client(verify=context, timeout=20) as client:
        yield client


@pytest.fixture
def client(nginx, http):
    return openai.OpenAI(api_key=KEY, base_url=nginx.url, http_client=http, max_retries=0)


def raw(nginx, data, silence=3):
    """Return all that comes back for these bytes over one TLS connection."""
    context = ssl.create_default_context(cafile=nginx.authority.path)
    plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=silence)
    with context.wrap_socket(plain, server_hostname="localhost") as sock:
        return told(sock, data)


def told(sock, data):
    """Send bytes and return all that comes back."""
    found = b""
    try:
        sock.sendall(data)
        while piece := sock.recv(65536):
            found += piece
    except (TimeoutError, OSError):
        pass
    return found


def test_events_arrive_when_they_are_sent(client):
    began, seen = time.monotonic(), []
    for chunk in client.chat.completions.create(
        model="mock-slow-200", messages=MESSAGES, stream=True
    ):
        seen.append(time.monotonic() - began)
        assert chunk.id
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert len(seen) > 4
    assert sum(gap > 0.1 for gap in gaps) >= 4  # none was held back to come with the next


def test_client_that_leaves_closes_the_upstream(client, upstream):
    stream = client.chat.completions.create(model="mock-slow-200", messages=MESSAGES, stream=True)
    next(iter(stream))
    stream.close()
    assert upstream.requests[-1].connection.closed.wait(3)


@pytest.mark.parametrize(
    "data, status, code",
    [
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"),
        ("GET /" + "x" * 9000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri_too_long"),
        (
            GET + "".join(f"X-{n}: {'x' * 8000}\r\n" for n in range(5)) + "\r\n",
            431,
            "headers_too_large",
        ),
        (POST + "Content-Length: 999999999\r\n\r\n", 413, "request_too_large"),
        (GET.replace("GET", "TRACE") + "\r\n", 405, "method_not_allowed"),
        (GET.replace("1.1", "3.0") + "\r\n", 400, "bad_request"),
        (GET.replace("/v1/models", "/%zz") + "\r\n", 400, "bad_request"),
        (POST + "Transfer-Encoding: xchunked\r\n\r\n", 501, "bad_request"),
        *[
            (GET.replace("/v1/models", f"/.errors/{name}") + "\r\n", 404, "unknown_url")
            for name in OWN_PATHS
        ],
    ],
)
def test_what_nginx_refuses_has_the_shape_of_every_error(nginx, data, status, code):
    refused(raw(nginx, data.encode(), silence=1), status, code)


def refused(answer, status, code):
    """Assert that an answer is an error of OpenAI's shape that need not be tried again."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert b"application/json" in head
    assert head.count(b"x-request-id: req_") == head.count(b"x-should-retry: false") == 1
    assert b"retry-after" not in head
    error = openai.types.shared.ErrorObject.model_validate_json(
        body.removeprefix(b'{"error":').removesuffix(b"}")
    )
    assert error.code == code


def test_the_gateways_own_errors_pass_untouched(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nope", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    assert caught.value.response.headers["x-gateway-error-source"] == "gateway"
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="mock-429", messages=MESSAGES)
    assert caught.value.response.headers["retry-after"]


def test_metrics_are_not_to_be_had(http, nginx):
    answer = http.get(f"https://localhost:{nginx.port}/metrics")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    "data",
    [
        GET + "\r\n",
        GET.replace("GET", "TRACE") + "\r\n",
        GET.replace("1.1", "3.0") + "\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /" + "x" * 9000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + "".join(f"X-{n}: {'x' * 8000}\r\n" for n in range(5)) + "\r\n",
        POST + "Content-Length: 2000000\r\n\r\n",
        POST + "Transfer-Encoding: xchunked\r\n\r\n",
    ],
)
def test_plain_http_is_refused_without_a_redirect_however_it_is_asked(nginx, data):
    with socket.create_connection(("127.0.0.1", nginx.plain_port), timeout=1) as sock:
        answer = told(sock, data.encode())
    refused(answer, 403, "bad_request")
    assert b"Use https." in answer and b"location:" not in answer.lower()


def test_no_gateway_at_all_is_503_with_a_delay(tmp_path):
    with Nginx(tmp_path, free_port()) as alone:
        context = ssl.create_default_context(cafile=alone.authority.path)
        with httpx.Client(verify=context) as http:
            answer = http.get(f"{alone.url}/models")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "server_overloaded"
    assert answer.headers["retry-after"] == "1" and answer.headers["x-should-retry"] == "true"


# Each is followed by bytes that would be a request of their own to whoever disagrees about where
# the body ends. The canary's path is one that only those bytes ask for.
CANARY = (
    "GET /v1/models/canary HTTP/1.1\r\nHost: localhost\r\n" + f"Authorization: Bearer {KEY}\r\n"
)
SMUGGLED = {
    "length and chunks": POST
    + f"Content-Length: {len(CANARY) + 9}\r\nTransfer-Encoding: chunked\r\n\r\n"
    + f"0\r\n\r\n{CANARY}\r\n",
    "two lengths": POST + f"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{{}}{CANARY}\r\n",
    "coding twice": POST
    + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    + f"0\r\n\r\n{CANARY}\r\n",
    "unknown coding": POST + f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{CANARY}\r\n",
    "space before the colon": POST + f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{CANARY}\r\n",
    "vertical tab": POST + f"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{CANARY}\r\n",
    "plus sign": POST + f"Content-Length: +2\r\n\r\n{{}}{CANARY}\r\n",
    "folded": POST + f"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{CANARY}\r\n",
    "old version": POST.replace("1.1", "1.0")
    + f"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{CANARY}\r\n",
    "chunk size in hex notation": POST
    + f"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{{}}\r\n0\r\n\r\n{CANARY}\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_no_request_is_hidden_in_anothers_body(nginx, gateway, name):
    """What follows may be answered as the client's own next request, or not at all."""
    before = len(gateway.lines())
    answer = raw(nginx, SMUGGLED[name].encode("latin-1"), silence=2)
    assert b"HTTP/1.1 50" not in answer.replace(b"HTTP/1.1 501 ", b""), answer[:500]
    if answer.count(b"HTTP/1.1 ") < 2:
        found = [line for line in gateway.lines()[before:] if "canary" in (line["path"] or "")]
        assert found == []


@pytest.mark.parametrize("header", ["SCRIPT_NAME: /v1", "X_FORWARDED_FOR: 1.2.3.4"])
def test_header_with_an_underscore_never_gets_through(nginx, header):
    answer = raw(nginx, f"{GET}{header}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")  # nginx leaves it out, and the path is what it was


@pytest.mark.parametrize("path", ["/v1//models", "//v1/models", "/v1/x/../../healthz/../v1/jobs"])
def test_path_reaches_the_gateway_as_it_was_sent(nginx, path):
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(nginx, asked.encode())
    assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 404 ")), answer[:200]
