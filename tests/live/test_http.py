"""HTTP as bytes against real gunicorn: paths, methods, hosts, listeners, connections."""

import http.client
import time

import pytest

from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.raw import AUTH, JSON, Reply, ask, chat, connected, post, request
from tests.raw_client import read_all
from tests.serving import KEY

pytestmark = pytest.mark.live

GET = "GET /v1/models HTTP/1.1"
INVALID_KEY = {
    "error": {
        "message": "Invalid or missing API key",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
}


@pytest.mark.parametrize(
    ("auth", "status", "closing"),
    [("", 401, b"Connection: close\r\n"), (AUTH, 413, b"")],
    ids=["no key", "key"],
)
def test_client_that_sends_a_long_body_slowly_can_still_read_why_it_is_refused(
    gateway, auth, status, closing
):
    data = post(b"x" * 12_000_000, auth=auth).replace(b"Connection: close\r\n", closing)
    with connected(gateway.port) as sock:
        for at in range(0, len(data), 1_000_000):
            sock.sendall(data[at : at + 1_000_000])
            time.sleep(0.2)
        found, end = read_all(sock)

    assert (Reply(found).status, end) == (status, "FIN")
    assert Reply(found).headers["connection"] == "close"


# What each path answers to GET with a key; without one, all below /v1 are 401.
PATHS = {
    "/v1/models": 200,
    "/v1/models?stream=true&x=%ff&x=2": 200,
    "/v1/models#f": 200,
    "/v1#/models": 404,
    "/v1/models%23f": 404,
    "/v1%2fmodels": 200,
    "/%76%31/models": 200,
    "http://elsewhere/v1/models": 200,
    "/v1/models/gpt-test": 200,
    "/v1/models/team/llm-a": 200,
    "/v1/models/team%2Fllm-a": 200,
    "/v1/models/nope": 404,
    "/v1/models/%20": 404,
    "/v1/models/": 404,
    "/v1/models//gpt-test": 404,
    "/v1/models%00": 404,
    "/v1/models;x": 404,
    "/v1": 404,
    "/v1/": 404,
    "/v1/nope": 404,
    "/v1/%ff": 404,
    "/v1/x/../models": 404,
    "/V1/MODELS": 404,
    "/v1//models": 404,
    "//v1/models": 404,
    "///v1/models": 404,
    "/v1/chat/completions": 405,
}


@pytest.mark.parametrize("path", PATHS)
def test_path_below_v1_answers_only_with_a_key_and_never_redirects(gateway, path):
    known = ask(gateway.port, request(f"GET {path} HTTP/1.1"))
    unknown = ask(gateway.port, request(f"GET {path} HTTP/1.1", auth=""))

    assert known.status == PATHS[path]
    assert (unknown.status, unknown.json) == (401, INVALID_KEY)
    assert "location" not in known.headers
    assert known.status == 200 or known.code


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-test?x=1", "/v1/nope"])
def test_fragment_is_no_part_of_what_is_asked_for(gateway, path):
    plain = ask(gateway.port, request(f"GET {path} HTTP/1.1"))
    for _ in range(2):  # a first line that was seen before is read in a way of its own
        reply = ask(gateway.port, request(f"GET {path}#/../admin?x HTTP/1.1"))

        assert (reply.status, reply.body) == (plain.status, plain.body)
        (line,) = gateway.wait_lines(request_id=reply.headers["x-request-id"])
        assert (line["path"], line["status"]) == (path.partition("?")[0], plain.status)


@pytest.mark.parametrize("path", ["/", "/nope", "/v2/models", "/metrics", "*"])
def test_path_outside_v1_is_an_unknown_url_for_everybody(gateway, path):
    for auth in ("", AUTH):
        method = "OPTIONS" if path == "*" else "GET"
        reply = ask(gateway.port, request(f"{method} {path} HTTP/1.1", auth=auth))
        assert (reply.status, reply.code) == (404, "unknown_url")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "DELETE", "PUT", "PATCH", "FOO"])
def test_other_methods_are_401_without_a_key_and_405_with_one(gateway, method):
    for path, allowed in [("/v1/models", "GET, HEAD"), ("/v1/chat/completions", "POST")]:
        reply = ask(gateway.port, request(f"{method} {path} HTTP/1.1"))
        assert (reply.status, reply.code) == (405, "method_not_allowed")
        assert reply.headers["allow"] == allowed
        assert reply.json["error"]["message"].startswith(f"Not allowed to {method} on {path}.")
        assert ask(gateway.port, request(f"{method} {path} HTTP/1.1", auth="")).status == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/models", 200), ("/healthz", 200), ("/v1/chat/completions", 405), ("/v1/nope", 404)],
)
def test_head_answers_without_a_body(gateway, path, status):
    reply = ask(gateway.port, request(f"HEAD {path} HTTP/1.1"))

    assert (reply.status, reply.body) == (status, b"")
    assert int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "host",
    ["Host:\r\n", "Host: a b\r\n", "Host: a/?x\r\n", "Host: a:99999\r\n", "Host: [::1\r\n",
     "Host: a@b\r\n", f"Host: {'h' * 1000}\r\n"],
)  # fmt: skip
def test_any_host_is_served_and_none_opens_a_door(gateway, host):
    assert ask(gateway.port, request(GET, host=host)).status == 200
    assert ask(gateway.port, request(GET, host=host, auth="")).status == 401


def test_http_1_0_needs_no_host(gateway):
    for auth, status in [(AUTH, 200), ("", 401)]:
        reply = ask(gateway.port, request("GET /v1/models HTTP/1.0", auth=auth, host=""))
        assert (reply.status, reply.end) == (status, "FIN")


def test_headers_that_would_move_the_path_or_method_are_ignored(gateway):
    for header in ("X-HTTP-Method-Override: DELETE", "X-Original-URL: /healthz",
                   "X-Rewrite-URL: /healthz", "X-Forwarded-Prefix: /healthz"):  # fmt: skip
        assert ask(gateway.port, post(chat(), headers=f"{JSON}{header}\r\n")).status == 200
        assert ask(gateway.port, post(chat(), headers=f"{JSON}{header}\r\n", auth="")).status == 401


def test_no_answer_speaks_of_other_origins(gateway):
    origin = "Origin: https://elsewhere.example\r\nAccess-Control-Request-Method: POST\r\n"
    for data in (
        request(GET, origin),
        request("OPTIONS /v1/models HTTP/1.1", origin),
        request("OPTIONS /v1/models HTTP/1.1", origin, auth=""),
        post(chat(stream=True), headers=JSON + origin),
    ):
        headers = ask(gateway.port, data).headers
        assert not [name for name in headers if name.startswith("access-control")]


def test_a_hundred_headers_are_served(gateway):
    # With Host, Authorization and Connection.
    more = "".join(f"X-{number}: a\r\n" for number in range(97))
    assert ask(gateway.port, request(GET, more)).status == 200


def test_get_with_a_body_ignores_it(gateway):
    assert ask(gateway.port, request(GET, f"{JSON}Content-Length: 5\r\n", b"{bad}")).status == 200


def test_requests_in_one_connection_are_answered_in_order(gateway):
    first = post(chat()).replace(b"Connection: close\r\n", b"")
    with connected(gateway.port) as sock:
        sock.sendall(first + request("GET /v1/models/gpt-test HTTP/1.1"))
        found, end = read_all(sock)
    first, second = split(found)

    assert Reply(first).json["object"] == "chat.completion"
    assert Reply(second).json["object"] == "model"
    assert end == "FIN"


def split(data):
    """Return two answers that came one behind the other."""
    at = data.index(b"HTTP/1.1 ", 9)
    return data[:at], data[at:]


def test_health_answers_on_both_listeners_without_a_key(gateway):
    for port in (gateway.port, gateway.ops_port):
        for path in ("/healthz", "/readyz"):
            reply = ask(port, request(f"GET {path} HTTP/1.1", auth=""))
            assert (reply.status, reply.json["status"]) == (200, "ok")
            assert reply.headers["x-request-id"].startswith("req_")


def test_metrics_are_on_the_ops_listener_alone(gateway):
    for auth in ("", AUTH):
        reply = ask(gateway.port, request("GET /metrics HTTP/1.1", auth=auth))
        assert (reply.status, reply.code) == (404, "unknown_url")
    reply = ask(gateway.ops_port, request("GET /metrics HTTP/1.1", auth=""))
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"gateway_requests_total" in reply.body


@pytest.mark.parametrize("host", ["Host: x\r\n", "Host: 127.0.0.1:8001\r\n"])
def test_listener_is_told_by_its_socket_and_not_by_the_host(gateway, host):
    ops = f"Host: 127.0.0.1:{gateway.ops_port}\r\n"
    assert ask(gateway.port, request("GET /metrics HTTP/1.1", host=ops)).status == 404
    assert ask(gateway.ops_port, request("GET /metrics HTTP/1.1", host=host)).status == 200


@pytest.mark.parametrize("auth", ["", AUTH], ids=["no key", "key"])
def test_ops_listener_has_no_api(gateway, auth):
    for data in (
        request(GET, auth=auth),
        request("GET /v1/nope HTTP/1.1", auth=auth),
        post(chat(), auth=auth),
    ):
        reply = ask(gateway.ops_port, data)
        assert (reply.status, reply.code) == (404, "unknown_url")


def test_keep_alive_serves_many_requests_through_errors(gateway):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    for path, status in [("/v1/models", 200), ("/v1/nope", 404), ("/v1/models", 200)] * 5:
        connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()
