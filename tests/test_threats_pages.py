"""What a browser may be shown: pages of ours, in which nothing that was sent is an element."""

import contextlib
import html.parser
import json

import pytest

from gateway import config, create_app, database
from gateway.metrics import tally
from tests.corpora.naughty_strings import INJECTIONS, NAUGHTY
from tests.endpoints.storing import client_of
from tests.serving import KEY, ROOT, write_config
from tests.upstream import ScriptedUpstream

MORE = """
[[model]]
id = "<b>*"
upstreams = [{ name = "mock", model = "echo" }]

[retry]
attempts = 0
"""
PAGES = ["/docs", "/openapi.json"]
EVIL = [text for text in NAUGHTY if set("<>\"'&") & set(text)]
MARK = "<svg onload=alert(1)>"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with ScriptedUpstream(keep=5) as upstream:
        path = write_config(tmp_path_factory.mktemp("app"), upstream.url, more=MORE)
        settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
        database.upgrade(settings.server.database_url)
        found = create_app(settings)
        yield found
        found.extensions["gateway"].close()


@pytest.fixture
def client(app):
    return client_of(app)


@pytest.fixture
def ops(app):
    """Where requests come from that the ops listener has accepted."""
    host, _, port = app.extensions["gateway"].settings.server.ops_bind.rpartition(":")
    return {"gateway.listener": (host, int(port))}


class Elements(html.parser.HTMLParser):
    """The elements that a browser would make of a text."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)

    handle_startendtag = handle_starttag


def pages(client):
    return {path: client.get(path).data for path in PAGES}


def test_strings_that_would_be_elements_are_tried():
    assert len(EVIL) > 20
    assert {tag for text in EVIL for tag in Elements(text).found} >= {"script", "img"}


def test_no_request_changes_a_page(client):
    before = pages(client)
    for text in EVIL:
        with contextlib.suppress(ValueError):  # a header's value may hold no line break
            client.get("/docs", headers={"User-Agent": text, "Referer": text, "Host": text})
        client.post("/v1/chat/completions", json={"model": text, "messages": []})
        for path in PAGES:
            answer = client.get(path, query_string={text: text})
            assert answer.data == before[path]
    assert pages(client) == before


def test_every_other_answer_is_json_and_says_so(client):
    for text in [*EVIL, MARK]:
        answers = [
            client.get("/", environ_overrides={"PATH_INFO": path})
            for path in (f"/{text}", f"/v1/{text}", f"/v1/models/{text}", f"/docs/{text}",
                         f"/v1/jobs/{text}", f"/v1/responses/{text}")
        ]  # fmt: skip
        body = {"model": text, "messages": [{"role": text, "content": "x"}]}
        answers.append(client.post("/v1/chat/completions", json=body))
        answers.append(client.post("/v1/chat/completions", json={**body, "model": "gpt-test"}))
        answers.append(client.get("/v1/jobs", query_string={"after": text}))
        answers.append(client.open("/v1/models", method="X" + "".join(filter(str.isalpha, text))))
        for answer in answers:
            assert answer.status_code in (400, 404, 405), answer.data
            assert answer.headers["content-type"] == "application/json"
            assert list(json.loads(answer.data)) == ["error"]


def test_what_is_quoted_is_in_the_body_alone(client):
    answer = client.get(f"/v1/{MARK}")
    assert MARK in answer.json["error"]["message"]
    assert "svg" not in str(answer.headers)


def test_metrics_hold_nothing_that_a_client_or_an_operator_has_named(app, client, ops):
    keys = app.extensions["gateway"].keys
    for text in EVIL:
        if text.isprintable() and text.strip() == text and len(text) <= 100:
            _, secret = keys.create(text, rpm=0)
            limited = client_of(app, secret)
            refused = limited.post("/v1/chat/completions", json={"model": "gpt-test"})
            assert refused.status_code == 429
            assert text not in refused.text or len(text) < 3
        client.post("/v1/chat/completions", json={"model": text, "messages": []})
        client.get("/", environ_overrides={"PATH_INFO": f"/v1/{text}"})
    said = {"model": f"<b>{MARK}", "messages": [{"role": "user", "content": "x"}]}
    assert client.post("/v1/chat/completions", json=said).status_code == 200
    tally.flush()
    answer = client.get("/metrics", environ_overrides=ops)

    assert answer.headers["content-type"].startswith("text/plain;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 'model="<b>*"' in answer.text  # what the operator has written is there
    assert Elements(answer.text.replace('"<b>*"', '""')).found == []
    for text in [MARK, *(text for text in INJECTIONS if len(text) > 8)]:
        assert text not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_pages_may_not_be_framed_sniffed_or_told_apart_from_what_they_are(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name, _ in headers if name.lower().startswith("access-control")]
    assert "set-cookie" not in headers
    if path == "/docs":
        policy = headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'"} <= {*policy}
        assert "frame-ancestors 'none'" in policy


def test_dashboard_shows_no_text_as_html():
    found = json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())
    assert {panel["type"] for panel in found["panels"]} <= {"row", "stat", "timeseries"}
    written = json.dumps(found)
    assert Elements(written).found == [] and "javascript:" not in written
    for path in (ROOT / "deploy").rglob("*"):
        if path.is_file():
            assert "disable_sanitize_html" not in path.read_text(), path
