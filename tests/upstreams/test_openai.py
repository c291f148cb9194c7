"""Calls to an upstream that answers: what it gets, and what comes back."""

import threading

import orjson
import pytest
import requests

from gateway import errors
from gateway.mock import bodies, fault, hang, json, reply, stream, whole
from gateway.tokens import Usage
from gateway.upstreams.base import PING
from tests.upstream import black_hole, refused_url
from tests.upstreams.calling import CALLED, SECRET, STREAMED, asked, events, timed, timed_out

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}


@pytest.mark.parametrize("endpoint", PATHS)
def test_whole_answer_comes_back_under_the_name_that_was_asked_for(calls, upstream, endpoint):
    answer = asked(calls, calls.upstream(upstream.url), "whole", endpoint)
    found = orjson.loads(answer.body)
    assert found["model"] == "asked-model" and answer.usage.input == 2
    [request] = upstream.requests
    assert (request.method, request.target) == ("POST", PATHS[endpoint])
    assert request.json["model"] == "upstream-model"


@STREAMED
def test_stream_comes_back_event_by_event(calls, upstream, endpoint):
    call = calls.call(endpoint, stream=True)
    blocks = list(calls.upstream(upstream.url).stream(call, "upstream-model"))
    found = events(blocks)
    assert found[-1] == ("", "[DONE]") and PING not in blocks
    assert call.relay.done and call.relay.usage == Usage(2, 0, 2, 0)
    assert call.upstream_seconds > 0 and call.sent == len(upstream.requests[0].body)


@CALLED
def test_bytes_count_as_sent_once_there_is_a_connection_to_send_them_by(calls, way):
    call = calls.call(stream=way == "stream")
    with black_hole() as url:
        mock = calls.upstream(url, {"connect": 0.2})
        with pytest.raises(errors.UpstreamTimeout):
            list(getattr(mock, way)(call, "upstream-model"))
    assert call.sent == 0


@CALLED
def test_bytes_count_as_sent_though_no_answer_came(calls, upstream, way):
    upstream.enqueue(hang(5))
    call = calls.call(stream=way == "stream")
    mock = calls.upstream(upstream.url, {"total": 0.3, "first_token": 0.3})
    with pytest.raises(errors.UpstreamTimeout):
        list(getattr(mock, way)(call, "upstream-model"))
    assert call.sent == len(upstream.requests[0].body)


@STREAMED
def test_each_event_is_given_when_it_comes(calls, upstream, endpoint):
    event = threading.Event()
    good = bodies.chunks() if endpoint == "chat" else bodies.response_events()

    def answer(request):
        head, first, *rest = stream(good)(request)
        yield from (head, first)
        assert event.wait(5)
        yield from rest

    upstream.enqueue(answer)
    blocks = calls.upstream(upstream.url).stream(calls.call(endpoint, stream=True), "m")
    assert len(events([next(blocks)])) == 1
    event.set()
    assert events(blocks)[-1] == ("", "[DONE]")


OWN = {
    "User-Agent": "klintero-gateway",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "Authorization": f"Bearer {SECRET}",
}


@CALLED
def test_nothing_else_than_these_headers_reaches_an_upstream(calls, upstream, way):
    mock = calls.upstream(upstream.url, headers={"X-Team": "a", "OpenAI-Organization": "org"})
    asked(calls, mock, way)
    [request] = upstream.requests
    accept = {"whole": "application/json", "stream": "text/event-stream"}[way]
    assert dict(request.raw_headers) == {
        **OWN,
        "Host": f"127.0.0.1:{upstream.port}",
        "Accept": accept,
        "Content-Length": str(len(request.body)),
        "X-Team": "a",
        "OpenAI-Organization": "org",
    }
    assert len(request.raw_headers) == 9


def test_request_could_be_sent_by_requests_itself(calls, upstream):
    upstream.always(whole(b"{}"))
    request = calls.upstream(upstream.url).request("POST", "/chat/completions", {"model": "m"})
    with requests.Session() as session:
        assert session.send(request).ok and session.send(request.copy()).ok
    assert [found.body for found in upstream.requests] == [b'{"model":"m"}'] * 2


def test_upstream_without_a_key_gets_none(calls, upstream):
    asked(calls, calls.upstream(upstream.url, api_key=""), "whole")
    assert "authorization" not in upstream.requests[0].headers


def test_configured_header_takes_the_place_of_our_own(calls, upstream):
    asked(calls, calls.upstream(upstream.url, headers={"user-agent": "theirs"}), "whole")
    found = [pair for pair in upstream.requests[0].raw_headers if pair[0].lower() == "user-agent"]
    assert found == [("user-agent", "theirs")]


def test_cookies_are_never_sent_back(calls, upstream):
    mock = calls.upstream(upstream.url)
    upstream.always(reply(headers={"set-cookie": "session=1; Path=/"}))
    for way in ("whole", "stream", "whole", "stream"):
        asked(calls, mock, way)
    assert not [request for request in upstream.requests if "cookie" in request.headers]


@CALLED
def test_environment_changes_nothing(calls, upstream, monkeypatch, tmp_path, way):
    (tmp_path / ".netrc").write_text("default login user password secret\n")
    with refused_url() as proxy:
        for name in ("HOME", "NETRC", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        asked(calls, calls.upstream(upstream.url, api_key=""), way)
    assert "authorization" not in upstream.requests[0].headers


def test_connection_is_kept_behind_a_whole_answer_and_a_stream(calls, upstream):
    mock = calls.upstream(upstream.url)

    def at_once(request):
        return [b"".join(stream(bodies.chunks())(request))]

    for way in ("whole", "stream", "stream", "whole"):
        upstream.enqueue(at_once if way == "stream" else reply())
        asked(calls, mock, way)
    assert upstream.connections == 1


def test_upstream_that_never_ends_behind_done_holds_up_nobody(calls, upstream):
    upstream.always(fault("mock-stall-after-done"))
    blocks, took = timed(asked, calls, calls.upstream(upstream.url), "stream")
    assert events(blocks)[-1] == ("", "[DONE]") and took < 1
    upstream.wait_idle()


def test_models_are_listed(calls, upstream):
    mock = calls.upstream(upstream.url)
    assert mock.models() == ["echo", "echo-embed"]
    [request] = upstream.requests
    assert (request.method, request.target, request.body) == ("GET", "/v1/models", b"")
    assert dict(request.raw_headers)["Authorization"] == f"Bearer {SECRET}"
    assert "content-length" not in request.headers


@pytest.mark.parametrize(
    "answer, kind",
    [
        (json({}), errors.UpstreamBadResponse),
        (json([]), errors.UpstreamBadResponse),
        (json({"data": {"a": 1}}), errors.UpstreamBadResponse),
        (json({"data": [{"name": "a"}]}), errors.UpstreamBadResponse),
        (json({"data": None}), errors.UpstreamBadResponse),
        (whole(b"<html>"), errors.UpstreamBadResponse),
        (whole(b""), errors.UpstreamBadResponse),
        (fault("mock-401"), errors.UpstreamAuthFailed),
        (fault("mock-404"), errors.UpstreamRefused),
        (fault("mock-500-html"), errors.UpstreamBadResponse),
        (fault("mock-301"), errors.UpstreamBadResponse),
        (fault("mock-close"), errors.UpstreamReset),
    ],
)
def test_list_of_models_that_cannot_be_had_is_an_error(calls, upstream, answer, kind):
    upstream.enqueue(answer)
    with pytest.raises(kind):
        calls.upstream(upstream.url).models()


def test_list_of_models_is_not_waited_for_long(calls, upstream):
    upstream.enqueue(hang())
    mock = calls.upstream(upstream.url, {"connect": 0.1})
    timed_out(mock.models, "total", 0.2)
