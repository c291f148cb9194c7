"""Chat completions: passed on to the byte but for `model`, ended once, faults told."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import errors, sse
from gateway.mock import bodies
from gateway.tokens import Usage
from gateway.upstreams.dialects import chat
from tests.upstreams.calling import SECRET, events, pure

CHUNKS = bodies.chunks("Hello you there", model="upstream-model", include_usage=True)
USAGE = Usage(input=1, output=3)


TRANSCRIPT = Path(__file__).with_name("transcripts") / "llama-chat.sse"


def written(*chunks):
    return b"".join(sse.encode(orjson.dumps(chunk)) for chunk in chunks)


def relaying(include_usage=None, **fields):
    options = {} if include_usage is None else {"include_usage": include_usage}
    return chat.Relay(pure(stream_options=options, **fields))


def relayed(data, ended=True, **how):
    """Return the relay and what the client gets."""
    made = relaying(**how)
    out = made.take(data)
    if ended and not made.done:
        out += made.end()
    return made, out


def chunk(**fields):
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
    return {"id": "c", "model": "upstream-model", "choices": [choice], **fields}


FINISHED = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])


def test_upstream_is_always_asked_for_the_usage_of_a_stream():
    assert chat.body(pure(), "theirs")["stream_options"] == {"include_usage": True}
    call = pure(stream_options={"include_usage": False, "include_obfuscation": False})
    sent = chat.body(call, "theirs")
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert sent["model"] == "theirs" and call.payload["model"] == "asked-model"
    assert "stream_options" not in chat.body(pure(stream=False), "theirs")


@pytest.mark.parametrize("include_usage", [None, False, True])
def test_usage_chunk_is_taken_out_unless_it_was_asked_for(include_usage):
    made, out = relayed(written(*CHUNKS) + sse.DONE, include_usage=include_usage)
    wanted = CHUNKS if include_usage else CHUNKS[:-1]
    renamed = [{**chunk, "model": "asked-model"} for chunk in wanted]
    assert [data for _, data in events([out])] == [*renamed, "[DONE]"]
    assert made.usage == USAGE and made.done and made.events == len(CHUNKS) + 1


def test_usage_of_a_chunk_that_says_something_stays():
    said = chunk(usage={"prompt_tokens": 5, "completion_tokens": 2})
    made, out = relayed(written(said, FINISHED))
    assert b'"prompt_tokens":5' in out and made.usage == Usage(input=5, output=2)


def test_latest_usage_counts_and_nonsense_does_not_wipe_it_out():
    first, second = {"prompt_tokens": 5, "completion_tokens": 1}, {"completion_tokens": 7}
    chunks = [chunk(usage=first), chunk(usage=second), chunk(usage={"completion_tokens": -1})]
    assert relayed(written(*chunks, FINISHED))[0].usage == Usage(output=7)


def test_recorded_stream_of_llama_cpp_is_relayed():
    data = TRANSCRIPT.read_bytes()
    made, out = relayed(data)
    blocks = data.replace(b"/models/SmolLM2-135M-Instruct.gguf", b"asked-model").split(b"\n\n")
    assert out == b"\n\n".join(block for block in blocks if b'"usage":' not in block)
    assert made.usage == Usage(input=12, cached=11, output=6)


@given(st.lists(st.integers(1, 400), max_size=8))
@settings(deadline=None, database=None)
def test_it_does_not_matter_where_the_stream_is_cut(sizes):
    data = TRANSCRIPT.read_bytes()
    made, out, at = relaying(), b"", 0
    for size in [*sizes, len(data)]:
        out += b"" if made.done else made.take(data[at : at + size])
        at += size
    assert out == relayed(data)[1]


def test_end_without_done_is_clean_when_a_finish_reason_was_seen():
    made, out = relayed(written(chunk(), FINISHED))
    assert out.endswith(sse.DONE) and out.count(sse.DONE) == 1 and made.done


@pytest.mark.parametrize("data", [written(chunk()), written(chunk(), chunk())])
def test_end_without_done_and_finish_reason_is_a_reset(data):
    with pytest.raises(errors.UpstreamReset) as found:
        relayed(data)
    assert found.value.began


@pytest.mark.parametrize("data", [b"", b": ping\n\n", b"<html></html>", b"event: x\n\n"])
def test_end_without_any_event_is_a_bad_answer(data):
    with pytest.raises(errors.UpstreamBadResponse):
        relayed(data)


def test_done_without_any_event_is_a_bad_answer():
    with pytest.raises(errors.UpstreamBadResponse):
        relayed(sse.DONE)


@pytest.mark.parametrize(
    "done", [b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE] \n\n"]
)
def test_nothing_is_sent_behind_done(done):
    made, out = relayed(written(FINISHED) + done + written(chunk()) + done)
    assert out.endswith(sse.DONE) and out.count(b"data: ") == 2


ERROR = {"message": "It broke.", "type": "server_error", "param": "messages", "code": "broken"}
BROKEN = [
    b"data: {\n\n",
    b"data: \n\n",
    b"data: 42\n\n",
    b"data: []\n\n",
    b"data: null\n\n",
    b"data: NaN\n\n",
    b'data: {"choices":[],"x":NaN}\n\n',
    b'data: {"choices":[],"x":Infinity}\n\n',
    b'data: {"choices":[],"x":1e400}\n\n',
    b'data: {"choices":[],"x":"\xff"}\n\n',
    b'data: {"choices":[],"x":"\\ud800"}\n\n',
    b'data: {"choices":[],"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n\n",
    b"data: <html>\n\n",
    b"data: {}\n\n",
    b'data: {"choices":null}\n\n',
    b'data: {"choices":{}}\n\n',
    b'event: error\ndata: {"choices":"x"}\n\n',
]


@pytest.mark.parametrize("data", BROKEN)
def test_event_that_cannot_be_read_is_a_bad_answer(data):
    with pytest.raises(errors.UpstreamBadResponse):
        relayed(data)


@pytest.mark.parametrize("data", BROKEN + [written({"error": ERROR})])
def test_events_before_a_fault_are_delivered_with_it_held_back(data):
    made = relaying()
    out = made.take(written(chunk(), chunk()) + data + written(chunk()))
    assert out.count(b"data: ") == 2 and made.events == 2
    assert isinstance(made.error, errors.UpstreamError) and not made.done


def test_fault_behind_events_that_are_left_out_is_raised():
    with pytest.raises(errors.UpstreamBadResponse):
        relayed(written(CHUNKS[-1]) + b"data: {\n\n")


@pytest.mark.parametrize(
    "error, message, param, code",
    [
        (ERROR, "It broke.", "messages", "broken"),
        ({"message": "It broke."}, "It broke.", None, "upstream_bad_response"),
        ("It broke.", "It broke.", None, "upstream_bad_response"),
        (
            {"code": 5, "param": {}},
            "The upstream reported an error.",
            None,
            "upstream_bad_response",
        ),
        ({"message": f"Bad {SECRET}"}, "The upstream reported an error.", None, None),
        (["x"], "The upstream reported an error.", None, None),
    ],
)
def test_error_event_is_told_in_our_shape(error, message, param, code):
    made = relaying()
    made.call.secrets = (SECRET,)
    with pytest.raises(errors.UpstreamError) as found:
        made.take(written({"error": error}))
    assert found.value.body()["error"] == {
        "message": message,
        "type": "upstream_error",
        "param": param,
        "code": code or "upstream_bad_response",
    }
    assert found.value.status == 502 and found.value.began


@pytest.mark.parametrize(
    "code, kind",
    [
        (429, errors.RateLimited),
        (503, errors.NoHealthyUpstream),
        (400, errors.UpstreamRefused),
        (401, errors.UpstreamAuthFailed),
        (500, errors.UpstreamBadResponse),
    ],
)
def test_error_event_with_a_status_means_what_the_status_does(code, kind):
    with pytest.raises(kind) as found:
        relaying().take(written({"error": {"code": code, "message": "It broke."}}))
    assert found.value.began and found.value.source == "upstream"


def test_unfinished_event_at_the_end_is_discarded():
    with pytest.raises(errors.UpstreamReset):
        relayed(written(chunk()) + written(FINISHED)[:-1])


def test_failure_is_one_event_and_no_done():
    made = relaying()
    out = made.fail(errors.UpstreamTimeout("idle"))
    [(_, data)] = events([out])
    assert data["error"]["param"] == "idle" and made.done


TOOLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize("include_usage", [None, True])
def test_whole_answer_to_a_streamed_call_becomes_one_chunk(include_usage):
    body = bodies.completion("Hello you", model="upstream-model", n=2)
    body["choices"][1]["message"]["tool_calls"] = TOOLS
    del body["choices"][1]["index"]
    made = relaying(include_usage)
    found = [data for _, data in events([made.whole(orjson.dumps(body))])]
    first = found[0]
    assert first["object"] == "chat.completion.chunk" and first["model"] == "asked-model"
    assert first["id"] == body["id"] and first["created"] == body["created"]
    assert [choice["index"] for choice in first["choices"]] == [0, 1]
    assert all("message" not in choice for choice in first["choices"])
    assert first["choices"][0]["delta"]["content"] == "Hello you"
    assert first["choices"][1]["delta"]["tool_calls"] == [{"index": 0, **TOOLS[0]}]
    assert found[-1] == "[DONE]"
    if include_usage:
        assert first["usage"] is None
        assert found[1]["choices"] == [] and found[1]["usage"] == body["usage"]
    else:
        assert "usage" not in first and len(found) == 2
    assert made.done and made.events == 1 and made.usage == Usage(input=1, output=4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"choices":{}}',
        b'{"choices":[null]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{},"x":' + b"[" * 500 + b"]" * 500 + b"}]}",
    ],
)
def test_whole_answer_that_cannot_be_read_is_a_bad_answer(body):
    made = relaying()
    with pytest.raises(errors.UpstreamBadResponse):
        made.whole(body)
    assert not made.done
    if b"[[" not in body and b"[n" not in body and b'"message"' not in body:
        with pytest.raises(errors.UpstreamBadResponse):
            chat.whole(made.call, body)


def test_error_in_place_of_a_whole_answer_is_told():
    with pytest.raises(errors.UpstreamError, match="It broke."):
        relaying().whole(orjson.dumps({"error": ERROR}))
