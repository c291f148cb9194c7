"""Naughty strings wherever a client may put one: each is taken as it is, or refused in our words.

Never a 5xx, never a line of the log that is no JSON, and never a change to what was said.
"""

import json
from contextlib import closing
from urllib.parse import quote

import pytest

from tests.corpora.naughty_strings import NAUGHTY
from tests.live.faults import assert_no_traceback
from tests.live.front import shared_gateway, shared_upstream  # noqa: F401
from tests.live.persistent import AUTH, Persistent
from tests.serving import KEY

pytestmark = pytest.mark.live

GUIDE = {
    "message": "Invalid or missing API key",
    "type": "invalid_request_error",
    "param": None,
    "code": "invalid_api_key",
}
# What a header's value may be made of; gunicorn refuses the rest with 400.
VISIBLE = {chr(code) for code in range(32, 127)} | {"\t"}


@pytest.fixture
def client(gateway):
    began = gateway.log_path.stat().st_size
    with closing(Persistent(gateway.port)) as found:
        yield found
        last = found.get(b"/v1/models").headers["x-request-id"]
    gateway.wait_lines(request_id=last)
    log = gateway.log_path.read_bytes()[began:]
    assert_no_traceback(log)
    for line in log.rpartition(b"\n")[0].split(b"\n"):
        assert json.loads(line)["level"] != "error", line
    assert KEY.encode() not in log


def chat(**fields):
    found = {"model": "gpt-test", "messages": [{"role": "user", "content": "x"}], **fields}
    return json.dumps(found, ensure_ascii=False).encode()


def header(name, text):
    return name + b": " + text.encode() + b"\r\n"


def one_line(text):
    """Tell whether a string stays in the header that it is put into."""
    return not {"\r", "\n"} & set(text)


def well_formed(text):
    """Tell whether a string is one that HTTP lets stand in a header, whole."""
    return text == text.strip(" \t") and set(text) <= VISIBLE


LONG = 1000  # what is longer, and quoted, makes a request line that is refused as too long
LINES = [text for text in NAUGHTY if one_line(text)]


def test_no_string_is_a_key(client):
    for text in LINES:
        reply = client.get(b"/v1/models", header(b"Authorization", f"Bearer {text}"))
        assert reply.status in (400, 401), text
        assert reply.code == ("invalid_api_key" if reply.status == 401 else "bad_request"), text
        assert reply.status == 400 or reply.json == {"error": GUIDE}, text
        assert reply.status == 401 or not well_formed(text), text


def test_no_string_behind_a_key_makes_it_another(client):
    for text in filter(str.strip, LINES):
        reply = client.get(b"/v1/models", header(b"Authorization", f"Bearer {KEY}{text}"))
        assert reply.status in (400, 401), text


def test_no_string_is_a_model(client):
    for text in NAUGHTY:
        reply = client.post(chat(model=text))
        told = (404, "model_not_found") if text else (400, "missing_required_parameter")
        assert (reply.status, reply.code) == told, text
        assert len(reply.body) < 2000, text
        if len(text) > LONG:
            continue
        reply = client.get(b"/v1/models/" + quote(text, safe="").encode())
        assert (reply.status, reply.code) in ((404, "model_not_found"), (404, "unknown_url")), text


def test_every_string_is_said_to_the_upstream_as_it_is(client, upstream):
    for text in NAUGHTY:
        body = json.loads(chat())
        body |= {"user": text[:64], "messages": [{"role": "user", "content": text}]}
        body |= {"metadata": {"note": text[:512]}, "stop": [text], text or "empty": text}
        for ascii in (True, False):
            reply = client.post(json.dumps(body, ensure_ascii=ascii).encode())
            assert reply.status == 200, (text, reply.body)
            sent = upstream.requests[-1].json
            assert {**sent, "model": "gpt-test"} == body, text


def test_every_string_is_kept_in_a_response_as_it_is(client):
    for text in NAUGHTY:
        body = {"model": "gpt-test", "input": text, "metadata": {"note": text[:512]}}
        body |= {"instructions": text}
        made = client.post(json.dumps(body).encode(), b"/v1/responses")
        assert made.status == 200, (text, made.body)
        path = b"/v1/responses/" + made.json["id"].encode()
        found = client.get(path).json
        assert (found["metadata"], found["instructions"]) == ({"note": text[:512]}, text)
        items = client.get(path + b"/input_items").json["data"]
        assert items[0]["content"][0]["text"] == text


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"POST"])
def test_no_string_is_the_id_of_anything(client, method):
    for text in (text for text in NAUGHTY if len(text) <= LONG):
        name = quote(text, safe="").encode()
        for before, after in ((b"/v1/jobs/", b"/cancel"), (b"/v1/responses/", b"/cancel")):
            for path in (before + name, before + name + after, before + name + b"/input_items"):
                reply = client.send(method + b" " + path, AUTH + b"Content-Length: 0\r\n")
                if not name and reply.status == 405:
                    continue  # the list's own path
                assert reply.status in (404, 405), (method, path, reply.body)
                assert reply.code.endswith(("not_found", "unknown_url", "not_allowed"))


def test_no_string_in_a_query_is_more_than_refused(client):
    for text in NAUGHTY:
        for name in (b"after", b"limit", b"order", b"wait", b"x"):
            query = b"/v1/jobs?" + name + b"=" + quote(text, safe="").encode()
            reply = client.get(query)
            told = (414,) if len(text) > LONG else (200, 400, 404)
            assert reply.status in told, (query, reply.body)


def test_string_names_a_call_or_is_refused(client):
    for text in LINES:
        reply = client.post(chat(), headers=header(b"Idempotency-Key", text))
        if well_formed(text) and 0 < len(text) <= 255:
            assert reply.status == 200, (text, reply.body)
        else:
            assert reply.status in (200, 400), (text, reply.body)
            assert reply.status == 200 or reply.code in ("bad_request", "invalid_value"), text


def test_string_is_the_clients_own_id_or_is_dropped(client, gateway):
    sent = {}
    for text in LINES:
        reply = client.get(b"/v1/models", AUTH + header(b"X-Client-Request-Id", text))
        assert reply.status in (200, 400), text
        sent[reply.headers["x-request-id"]] = text
    gateway.wait_lines(request_id=reply.headers["x-request-id"])
    found = {line["request_id"]: line["client_request_id"] for line in gateway.lines()}
    told = {found[id] for id in sent}
    assert all(found[id] in (text, None) for id, text in sent.items())
    assert "job_" in told and None in told
    assert not [name for name in told if name and not name.isascii()]


def test_string_that_holds_a_line_break_gives_no_header_to_the_answer(client):
    for text in NAUGHTY:
        if one_line(text):
            continue
        for name in (b"X-Client-Request-Id", b"Idempotency-Key", b"User-Agent"):
            with closing(Persistent(client.port)) as own:
                reply = own.get(b"/v1/models", AUTH + header(name, text))
            assert reply.status in (200, 400), text
            assert "set-cookie" not in reply.headers
