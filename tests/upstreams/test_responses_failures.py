"""Responses streams that fail: told as errors while that can be, ended as a failure later."""

import pytest

from gateway import errors, sse
from tests.upstreams.calling import SECRET, events
from tests.upstreams.responding import BARE, GOOD, KEYS, check, kinds, relayed, relaying, written


def test_stream_that_ends_too_early_is_a_reset():
    made, _ = relayed(*GOOD[:-1])
    with pytest.raises(errors.UpstreamReset) as found:
        made.end()
    assert found.value.began


def test_done_before_the_end_is_a_reset():
    for data in (sse.DONE, b"data: [DONE] \n\n"):
        made, _ = relayed(*GOOD[:-1])
        with pytest.raises(errors.UpstreamReset):
            made.take(data)


def test_stream_without_any_event_is_a_bad_answer():
    with pytest.raises(errors.UpstreamBadResponse):
        relaying().end()


FAILED = {
    "type": "response.failed",
    "response": {**BARE, "status": "failed", "error": {"code": "rate_limit_exceeded"}},
}


def failed(message):
    error = {"code": "server_error", "message": message}
    return {**FAILED, "response": {**FAILED["response"], "error": error}}


def test_response_that_fails_before_it_began_is_an_error_that_another_upstream_may_mend():
    with pytest.raises(errors.UpstreamError, match="It broke.") as found:
        relayed(failed("It broke."))
    assert found.value.code == "server_error" and found.value.status == 502


def test_response_that_fails_later_ends_the_stream():
    _, found = relayed(*GOOD[:4], failed("It broke."))
    check(found)
    assert found[-2][1]["response"]["error"] == {"code": "server_error", "message": "It broke."}


@pytest.mark.parametrize("message", [f"Bad key {SECRET}", None, 5])
def test_failure_tells_no_secret_and_always_something(message):
    _, found = relayed(GOOD[0], failed(message))
    assert found[-2][1]["response"]["error"]["message"] == "The upstream reported an error."


ERROR = {"code": "server_error", "message": "It broke.", "param": None}


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", **ERROR, "sequence_number": 2},
        {"type": "error", "error": {"type": "server_error", **ERROR}, "sequence_number": 2},
        {"type": "error", **ERROR, "error": {"type": "server_error", **ERROR}},
    ],
)
def test_error_event_is_told_whether_it_is_flat_or_nested(error):
    with pytest.raises(errors.UpstreamError, match="It broke.") as found:
        relayed(error)
    assert found.value.code == "server_error"
    made, out = relayed(*GOOD[:3], error)
    assert len(out) == 3 and made.error.message == "It broke."


@pytest.mark.parametrize(
    "data", [b'event: error\ndata: {"message":"It broke."}\n\n', b'data: {"error":"It broke."}\n\n']
)
def test_error_without_a_type_is_told(data):
    with pytest.raises(errors.UpstreamError, match="It broke."):
        relaying().take(data)


BROKEN = [
    b"data: {\n\n",
    b"data: []\n\n",
    b"data: {}\n\n",
    b'data: {"type":5}\n\n',
    b'data: {"type":["a"]}\n\n',
    b'data: {"type":"response.x\\ndata: {}\\n\\n"}\n\n',
    b'data: {"type":"response.\\u2028"}\n\n',
    b'event: \xff\xfe\x00\ndata: {"type":""}\n\n',
    b'data: {"type":"response.created"}\n\n',
    b'data: {"type":"response.created","response":[]}\n\n',
    b'data: {"type":"response.completed","response":null}\n\n',
    b'data: {"type":"response.x","x":' + b"[" * 500 + b"]" * 500 + b"}\n\n",
]


@pytest.mark.parametrize("data", BROKEN)
def test_event_that_cannot_be_read_is_a_bad_answer(data):
    with pytest.raises(errors.UpstreamBadResponse):
        relaying().take(data)
    made = relaying()
    assert made.take(written(GOOD[0], GOOD[1]) + data)
    assert isinstance(made.error, errors.UpstreamBadResponse)


ODD = [
    {"type": "response.output_item.added"},
    {"type": "response.output_item.added", "item": []},
    {"type": "response.output_item.added", "item": {"id": 5, "type": []}},
    {"type": "response.output_item.added", "item": {"id": "a"}, "output_index": "x"},
    {"type": "response.output_item.done", "item": {"id": "b"}},
    {"type": "response.output_item.done", "item": None},
    {"type": "response.content_part.added", "item_id": [], "content_index": "x", "part": 5},
    {"type": "response.content_part.added", "item_id": "zz", "content_index": True},
    {"type": "response.output_text.delta", "item_id": {"a": 1}, "output_index": [1]},
    {"type": "response.completed", "response": {"output": {}, "usage": [1], "id": 5}},
    {
        "type": "response.completed",
        "response": {"output": [1, None], "usage": {"input_tokens": ""}},
    },
    {"type": "response.completed", "response": {"usage": {"input_tokens": "5"}, "error": "x"}},
    {"type": "response.failed", "response": {"error": "x"}},
]


@pytest.mark.parametrize("odd", ODD)
def test_no_odd_event_is_more_than_an_event(odd):
    made = relaying()
    out = made.take(written(GOOD[0], GOOD[1], odd, odd) + written(GOOD[-1]))
    check(events([out]))


@pytest.mark.parametrize("before", [0, 1, 2, 5])
def test_failure_of_ours_ends_the_stream_as_one_of_theirs_would(before):
    made = relaying()
    out = made.take(written(*GOOD[:before])) if before else b""
    out += made.fail(errors.UpstreamTimeout("idle"))
    found = events([out])
    assert kinds(found)[0] == "response.created" and made.done
    assert [event["sequence_number"] for _, event in found[:-1]] == list(range(len(found) - 1))
    assert found[-1] == ("", "[DONE]")
    kind, event = found[-2]
    assert kind == "response.failed" and set(event["response"]) >= KEYS
    assert event["response"]["status"] == "failed"
    assert event["response"]["error"] == {
        "code": "upstream_timeout",
        "message": "The upstream took too long to answer (idle timeout).",
    }
    assert event["response"]["id"] == found[0][1]["response"]["id"]
