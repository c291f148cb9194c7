"""Bodies that are no JSON, or not what an endpoint takes, against real gunicorn, by the hundred."""

import json
from contextlib import closing

import pytest

from tests.corpora.json_values import MAYBE, NO, TAKEN, YES
from tests.live.faults import assert_no_traceback
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.persistent import Persistent
from tests.schemas.bodies import BAD, SCHEMAS
from tests.schemas.test_bodies import STEERED
from tests.schemas.test_strict_json import REFUSED

pytestmark = pytest.mark.live

PATHS = dict(
    zip(SCHEMAS, (b"/v1/chat/completions", b"/v1/responses", b"/v1/embeddings"), strict=True)
)
MESSAGES = b'"messages": [{"role": "user", "content": "Say hi"}]'


@pytest.fixture
def client(gateway):
    began = gateway.log_path.stat().st_size
    with closing(Persistent(gateway.port)) as found:
        yield found
        assert found.get(b"/v1/models").status == 200
    assert_no_traceback(gateway.log_path.read_bytes()[began:])


def around(value):
    """Return a chat whose unknown parameter `x` is a JSON value."""
    return b'{"model": "gpt-test", ' + MESSAGES + b', "x": ' + value + b"}"


def refused(reply, status, code):
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.json["error"]["type"] == "invalid_request_error"
    return reply.json["error"]


def test_json_reaches_the_upstream_as_it_was_meant(client, upstream):
    for name, value in [*YES.items(), *[(name, MAYBE[name]) for name in TAKEN]]:
        assert client.post(around(value)).status == 200, name
        assert upstream.requests[-1].json["x"] == json.loads(value), name


def test_what_is_no_json_or_read_differently_by_others_is_refused(client, upstream):
    seen = upstream.received
    refusable = [name for name in MAYBE if name not in TAKEN]
    for value in [*NO.values(), *[MAYBE[name] for name in refusable]]:
        refused(client.post(around(value)), 400, "invalid_json")
    for body in (*NO.values(), *YES.values()):
        if body != YES["empty object"] and not body.startswith(b"{"):
            refused(client.post(body), 400, "invalid_json")
    assert upstream.received == seen


def test_hostile_documents_are_refused(client, upstream):
    seen = upstream.received
    for path in PATHS.values():
        for body in REFUSED:
            if len(body) <= 1024 * 1024:
                refused(client.post(body, path), 400, "invalid_json")
    assert upstream.received == seen


def test_every_wrong_field_is_told_on_its_endpoint(client, upstream):
    seen = upstream.received
    for schema, body, code, param, message in BAD + STEERED:
        body = {**body, "model": "gpt-test"}
        error = refused(client.post(json.dumps(body).encode(), PATHS[schema]), 400, code)
        assert (error["param"], error["message"]) == (param, message)
    assert upstream.received == seen


def said(**fields):
    return {"model": "gpt-test", "messages": [{"role": "user", "content": "x"}], **fields}


def asked(**fields):
    return {"model": "gpt-test", "input": "x", **fields}


CHAT, RESPONSES, EMBEDDINGS = PATHS.values()
# The path, the body, and the status, code and parameter of its error.
FIELDS = {
    "no model": (CHAT, {}, 400, "missing_required_parameter", "model"),
    "empty model": (CHAT, said(model=""), 400, "missing_required_parameter", "model"),
    "null for a model": (CHAT, said(model=None), 400, "missing_required_parameter", "model"),
    "number for a model": (CHAT, said(model=5), 400, "invalid_type", "model"),
    "unknown model": (CHAT, said(model="nope"), 404, "model_not_found", "model"),
    "long model": (CHAT, said(model="m" * 300), 404, "model_not_found", "model"),
    "path for a model": (CHAT, said(model="../../x"), 404, "model_not_found", "model"),
    "line break in a model": (CHAT, said(model="a\nb"), 404, "model_not_found", "model"),
    "model before anything else": (CHAT, {"n": "x"}, 400, "missing_required_parameter", "model"),
    "messages for a response": (
        RESPONSES, said(), 400, "invalid_value", "input",
    ),
    "no input": (EMBEDDINGS, {"model": "gpt-test"}, 400, "missing_required_parameter", "input"),
    "turn that was never": (
        RESPONSES, asked(previous_response_id="resp_" + "0" * 32),
        404, "response_not_found", "previous_response_id",
    ),
    "turn that is no id": (
        RESPONSES, asked(previous_response_id="../x\u0000"),
        404, "response_not_found", "previous_response_id",
    ),
    "model of another endpoint": (
        RESPONSES, asked(model="whole-only", input=5), 400, "invalid_type", "input",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_what_only_the_whole_gateway_can_know_is_told(client, name):
    path, body, status, code, param = FIELDS[name]
    error = refused(client.post(json.dumps(body).encode(), path), status, code)

    assert error["param"] == param


def test_places_in_a_body_are_never_fetched(client, upstream):
    """A picture is for the upstream to look at: nobody comes to the address that names it."""
    seen = upstream.received
    for url in (f"{upstream.url}/picture", "file:///etc/passwd", "http://169.254.169.254/x"):
        part = {"type": "image_url", "image_url": {"url": url}}
        body = said(messages=[{"role": "user", "content": [part]}])
        assert client.post(json.dumps(body).encode()).status == 200
        assert upstream.requests[-1].json["messages"] == body["messages"]
    assert upstream.received == seen + 3
