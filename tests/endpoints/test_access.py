import base64
import json

import pytest

from gateway.endpoints.access import is_ops
from tests.endpoints.refused import refused
from tests.serving import KEY

# The guide's own words: the same for a missing and for a wrong key, whatever is asked for.
GUIDE = {
    "error": {
        "message": "Invalid or missing API key",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
}
PUBLIC = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}


def test_every_rule_but_the_short_list_asks_for_a_key(app, stranger):
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:model>", "gpt-test")
        for method in rule.methods:
            for headers in ({}, {"Authorization": "Bearer sk-wrong"}):
                answer = stranger.open(path, method=method, headers=headers)
                assert (answer.status_code != 401) == (path in PUBLIC), (method, path)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nope", "/v1//models", "/V1/models",
                                  "//v1/models", "///v1/nope", "/v1/models/", "/v1/\x00",
                                  "/v1/x/../models"])  # fmt: skip
def test_unknown_path_below_v1_is_401_for_a_stranger_and_404_with_a_key(stranger, client, path):
    there = {"environ_overrides": {"PATH_INFO": path}}
    refused(client.get("/", **there), 404, "unknown_url")
    assert stranger.get("/", **there).json == GUIDE


@pytest.mark.parametrize("path", ["//healthz", "///readyz", "//docs", "//openapi.json", "//nope"])
def test_slashes_are_not_merged_where_no_key_is_asked_for(stranger, path):
    for method in ("GET", "POST", "OPTIONS"):
        answer = stranger.open("/", method=method, environ_overrides={"PATH_INFO": path})
        refused(answer, 404, "unknown_url")
    assert stranger.get("/healthz").status_code == 200


def test_slashes_of_the_metrics_are_not_merged_on_the_ops_listener(app, stranger):
    listener = app.extensions["gateway"].settings.server.ops_bind.rpartition(":")
    there = {"gateway.listener": (listener[0], int(listener[2]))}
    assert stranger.get("/metrics", environ_overrides=there).status_code == 200
    merged = stranger.get("/", environ_overrides={**there, "PATH_INFO": "//metrics"})
    refused(merged, 404, "unknown_url")


def test_answer_to_a_wrong_key_is_the_guide_s_to_the_byte(stranger):
    none = stranger.get("/v1/models")
    wrong = stranger.post("/v1/chat/completions", headers={"Authorization": f"Bearer {KEY}x"})

    assert none.json == wrong.json == GUIDE
    assert none.data == wrong.data == json.dumps(GUIDE, separators=(",", ":")).encode()
    for answer in (none, wrong):
        refused(answer, 401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "value", [f"bearer {KEY}", f"BEARER {KEY}", f"Bearer {KEY}", f"bEaReR    {KEY}"]
)
def test_scheme_may_be_in_any_case_and_followed_by_spaces(stranger, value):
    assert stranger.get("/v1/models", headers={"Authorization": value}).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Bearer ", KEY, f"Token {KEY}", f"Bearer\t{KEY}", f"Bearer {KEY} {KEY}",
        f"Bearer {KEY},Bearer {KEY}", f"Bearer x,Bearer {KEY}", f"Bearer {KEY},", f"Bearer ,{KEY}",
        f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", f"Bearer {KEY.upper()}", f'Bearer "{KEY}"',
        f"Basic {base64.b64encode(f'x:{KEY}'.encode()).decode()}", "Bearer \xe9\xff",
        "Bearer ' OR '1'='1", 'Bearer ";--', "Bearer sk-\x00", f"Bearer {'a' * 8192}",
        f"Bearer sk-{'0' * 12}-{'0' * 43}", f"Digest username={KEY}",
    ],
)  # fmt: skip
def test_whatever_is_no_bearer_key_is_401(stranger, value):
    answer = stranger.get("/v1/models", environ_base={"HTTP_AUTHORIZATION": value})

    assert (answer.status_code, answer.json) == (401, GUIDE)


@pytest.mark.parametrize(
    "how",
    [
        {"headers": {"X-Api-Key": KEY}},
        {"headers": {"api-key": KEY}},
        {"headers": {"Proxy-Authorization": f"Bearer {KEY}"}},
        {"headers": {"Cookie": f"key={KEY}; Authorization=Bearer {KEY}"}},
        {"query_string": {"api_key": KEY, "key": KEY, "Authorization": f"Bearer {KEY}"}},
        {"json": {"api_key": KEY}},
    ],
)
def test_key_anywhere_else_counts_for_nothing(stranger, how):
    assert stranger.post("/v1/chat/completions", **how).json == GUIDE


class Unread:
    """A body that nobody may read."""

    def read(self, *size):
        raise AssertionError("the body was read before the key was known")

    readline = readlines = __iter__ = read


def test_body_is_not_read_before_the_key_is_known(app):
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/v1/chat/completions", "SERVER_NAME": "x",
        "SERVER_PORT": "1", "wsgi.url_scheme": "http", "wsgi.input": Unread(),
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "99",
    }  # fmt: skip
    said = []
    answer = app(environ, lambda status, headers, *rest: said.append(status))
    body = b"".join(answer)
    answer.close()

    assert (said, json.loads(body)) == (["401 UNAUTHORIZED"], GUIDE)


def test_revoked_key_answers_like_a_wrong_one(app, stranger):
    keys = app.extensions["gateway"].keys
    key, secret = keys.create("mine")
    header = {"Authorization": f"Bearer {secret}"}
    assert stranger.get("/v1/models", headers=header).status_code == 200

    keys.revoke(key.id)
    keys.refresh()
    assert stranger.get("/v1/models", headers=header).json == GUIDE


def test_any_host_is_served(client, stranger):
    for host in ("a/?x", "a@b", "[::1", "a b", "é", "h" * 300, "a..b", "127.0.0.1:8001"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200
        assert stranger.get("/v1/models", headers={"Host": host}).json == GUIDE


@pytest.mark.parametrize(
    ("address", "bind", "expected"),
    [
        (("127.0.0.1", 8001), "127.0.0.1:8001", True),
        (("127.0.0.1", 8000), "127.0.0.1:8001", False),
        (("10.0.0.1", 8001), "127.0.0.1:8001", False),
        (("10.0.0.1", 8001), "0.0.0.0:8001", True),
        (("0.0.0.0", 8001), "0.0.0.0:8001", True),
        (("::1", 8001, 0, 0), "[::1]:8001", True),
        (("::1", 8001, 0, 0), "[::]:8001", True),
        (("127.0.0.1", 18001), "127.0.0.1:8001", False),
        ("/run/ops.sock", "unix:/run/ops.sock", True),
        ("/run/api.sock", "unix:/run/ops.sock", False),
        ("/run/api.sock", "127.0.0.1:8001", False),
        (("127.0.0.1", 8001), "unix:/run/ops.sock", False),
        (("127.0.0.1", 8001), "", False),
    ],
)
def test_ops_listener_is_told_by_the_accepting_socket(address, bind, expected):
    assert is_ops(address, bind) is expected
