"""What attackers of other gateways have used: steering, routes, headers, hashes."""

import re
import sqlite3
from contextlib import closing

import pytest

from gateway import create_app
from gateway.config.shape import Settings
from gateway.schemas import STEERING
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.limited import new_key
from tests.live.raw import AUTH, JSON, ask, chat, connected, post, request
from tests.serving import KEY

GET = "GET /v1/models HTTP/1.1"
ROUTES = {
    "/v1/chat/completions": {"POST"},
    "/v1/embeddings": {"POST"},
    "/v1/responses": {"POST"},
    "/v1/responses/<id>": {"GET", "DELETE"},
    "/v1/responses/<id>/cancel": {"POST"},
    "/v1/responses/<id>/input_items": {"GET"},
    "/v1/jobs": {"GET"},
    "/v1/jobs/<id>": {"GET"},
    "/v1/jobs/<id>/cancel": {"POST"},
    "/v1/models": {"GET"},
    "/v1/models/<path:model>": {"GET"},
    "/healthz": {"GET"},
    "/readyz": {"GET"},
    "/metrics": {"GET"},
    "/openapi.json": {"GET"},
    "/docs": {"GET"},
}
OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
ODD_HEADERS = "".join(
    f"{line}\r\n"
    for line in (
        "Cookie: a=b",
        "Proxy-Authorization: Basic eA==",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Host: elsewhere.example",
        "Forwarded: for=10.0.0.1",
        "X-Real-Ip: 10.0.0.1",
        "X-Portkey-Custom-Host: http://elsewhere.example",
        "X-Api-Base: http://elsewhere.example",
        "OpenAI-Organization: org-x",
        "OpenAI-Project: proj-x",
        "User-Agent: odd/1",
        "Origin: https://elsewhere.example",
        "Referer: https://elsewhere.example",
        "Accept-Language: de",
        "Accept-Encoding: gzip",
        "Te: trailers",
        "Idempotency-Key: outbound",
        "X-Client-Request-Id: outbound",
    )
)


@pytest.fixture(scope="module")
def rules():
    settings = Settings()
    return list(create_app(settings).url_map.iter_rules())


def test_there_are_no_routes_but_these_and_none_that_administers(rules):
    found = {}
    for rule in rules:
        path = re.sub(r"<(?!path)[^>]*>", "<id>", rule.rule)
        found.setdefault(path, set()).update(rule.methods - {"HEAD"})
    assert found == ROUTES


MUTATING = {"POST", "PUT", "PATCH", "DELETE"}


def test_no_route_that_changes_anything_is_open_or_at_operators_alone(rules):
    changing = {rule.rule for rule in rules if rule.methods & MUTATING}
    assert changing and not [path for path in changing if not path.startswith("/v1/")]
    for word in ("config", "admin", "keys", "usage", "reload", "prompts", "test", "debug"):
        assert not [rule.rule for rule in rules if word in rule.rule.lower()], word


@pytest.mark.live
def test_every_route_asks_for_a_key_whatever_its_host_and_path_say(gateway):
    headers = ("", "X-HTTP-Method-Override: GET\r\n", "X-Original-URL: /healthz\r\n")
    hosts = ("Host: gateway\r\n", "Host: a/?x=\r\n", "Host: a@b\r\n", "Host: [::1\r\n")
    for path in set(ROUTES) - OPEN:
        path = path.replace("<path:model>", "gpt-test").replace("<id>", "x")
        for method in ("GET", "POST", "DELETE", "PUT"):
            for number, auth in enumerate(("", "Authorization: Bearer sk-wrong\r\n")):
                for place, host in enumerate(hosts):
                    more = headers[(number + place) % len(headers)]
                    line = f"{method} {path} HTTP/1.1"
                    reply = ask(gateway.port, request(line, more, auth=auth, host=host))
                    assert (reply.status, reply.code) == (401, "invalid_api_key"), (line, host)


@pytest.mark.live
@pytest.mark.parametrize("name", sorted(STEERING))
def test_nothing_in_a_request_says_where_it_goes(gateway, upstream, name):
    seen = upstream.received
    body = chat(**{name: "http://127.0.0.2:1/v1"})
    reply = ask(gateway.port, post(body))
    assert (reply.status, reply.code) == (400, "unknown_parameter")
    assert upstream.received == seen
    query = f"/v1/chat/completions?{name}=http://127.0.0.2:1/v1"
    header = f"X-{name.replace('_', '-')}: http://127.0.0.2:1/v1\r\n"
    reply = ask(gateway.port, post(chat(), query, JSON + header))
    assert reply.status == 200
    assert upstream.received == seen + 1
    assert "127.0.0.2" not in repr((upstream.requests[-1].path, upstream.requests[-1].headers))


@pytest.mark.live
def test_an_upstream_gets_these_headers_alone(gateway, upstream):
    assert ask(gateway.port, post(chat(), headers=JSON + ODD_HEADERS)).status == 200
    sent = upstream.requests[-1].headers
    assert set(sent) == {
        "host", "authorization", "content-type", "content-length", "accept", "accept-encoding",
        "user-agent",
    }  # fmt: skip
    assert sent["authorization"] == "Bearer sk-upstream-secret"
    assert "odd" not in sent["user-agent"]
    assert "outbound" not in sent.values() and KEY not in repr(sent)


@pytest.mark.live
def test_what_the_database_holds_of_a_key_is_no_key(gateway):
    key, secret = new_key(gateway)
    with closing(sqlite3.connect(gateway.folder / "gateway.db")) as database:
        row = database.execute("select * from keys where name = 'limited'").fetchone()
    assert not [value for value in row if isinstance(value, str) and secret[3:] in value]
    assert ask(gateway.port, request(GET, auth=f"Authorization: Bearer {secret}\r\n")).status == 200
    for value in [value for value in row if isinstance(value, str) and value]:
        for told in (value, f"sk-{value}"):
            reply = ask(gateway.port, request(GET, auth=f"Authorization: Bearer {told}\r\n"))
            assert reply.status in (400, 401), told


@pytest.mark.live
def test_connect_and_websockets_lead_nowhere(gateway):
    for data in (
        request("CONNECT elsewhere.example:443 HTTP/1.1"),
        request(GET, "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n"),
    ):
        with connected(gateway.port) as sock:
            sock.sendall(data)
            head = sock.recv(65536)
        assert head.split()[1] in (b"200", b"400", b"404", b"405")
        assert b"101 " not in head[:20] and (b"200" not in head[:20] or b'"list"' in head)


@pytest.mark.live
def test_good_key_works(gateway):
    assert ask(gateway.port, request(GET, auth=AUTH)).status == 200
