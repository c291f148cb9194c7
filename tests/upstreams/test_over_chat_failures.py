"""What goes wrong with a chat ends its response as a fault of a native one does."""

import orjson
import pytest

from gateway import errors, sse
from gateway.tokens import Usage
from gateway.upstreams.dialects import over_chat
from tests.translate.chats import CHATS, chunk
from tests.translate.folding import fold
from tests.translate.published import faults
from tests.upstreams.calling import SECRET, events, pure
from tests.upstreams.responding import kinds, without
from tests.upstreams.speaking import HELLO, check_all, inner, relaying, written

ERROR = {"error": {"message": f"It broke, {SECRET}.", "type": "server_error", "code": "oops"}}


@pytest.mark.parametrize("done", [b"", sse.DONE])
def test_end_behind_a_finish_reason_is_clean(done):
    made = relaying()
    out = made.take(written(*HELLO) + done)
    found = events([out if done else out + made.end()])
    check_all(found)
    assert made.usage == Usage(20, 12, 9, 4)


def test_end_without_a_finish_reason_is_a_reset():
    made = relaying()
    made.take(written(*HELLO[:3]))
    with pytest.raises(errors.UpstreamReset) as found:
        made.end()
    assert found.value.began


@pytest.mark.parametrize("data", [b"", sse.DONE, b": ping\n\n"])
def test_stream_without_a_chunk_is_a_bad_answer(data):
    made = relaying()
    with pytest.raises(errors.UpstreamBadResponse):
        made.take(data)
        made.end()


BAD = [b"data: {\n\n", b"data: []\n\n", b'data: {"choices":{}}\n\n', b"data: <html>\n\n"]
BAD += [written(chunk({"content": 5})), written(chunk({"tool_calls": [{"id": 5}]}))]
BAD += [written(chunk(reason="error")), written(ERROR)]


@pytest.mark.parametrize("data", BAD)
def test_fault_before_the_first_chunk_is_an_error_that_another_upstream_may_mend(data):
    made = relaying()
    with pytest.raises(errors.UpstreamError) as found:
        made.take(data)
    assert found.value.status == 502 and SECRET not in found.value.message
    assert made.sequence == 0


@pytest.mark.parametrize("data", BAD)
@pytest.mark.parametrize("name", ["reasoning, text and a call", "text", "custom call"])
def test_fault_in_the_middle_ends_the_stream_as_failed_with_what_had_come(name, data):
    made = relaying()
    out = made.take(written(*CHATS[name][0][:-2]) + data)
    assert made.error is not None and not made.done
    out += made.fail(made.error)
    found = events([out])
    check_all(found)
    kind, event = found[-2]
    assert kind == "response.failed" and event["response"]["error"]["code"] == made.error.code
    items, _ = fold(inner(found))
    assert [without(item, "status") for item in items] == [
        without(item, "status") for item in event["response"]["output"]
    ]
    assert event["response"]["output"][-1]["status"] == "incomplete"
    assert made.done and SECRET not in str(found)


def test_failure_before_anything_came_is_created_and_failed():
    made = relaying()
    found = events([made.fail(errors.UpstreamTimeout("first_token"))])
    assert kinds(found) == ["response.created", "response.failed", ""]
    assert [fault for _, event in found[:-1] for fault in faults(event)] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"choices":{}}', b'{"choices":[]}'])
def test_whole_answer_that_cannot_be_read_is_a_bad_answer(body):
    with pytest.raises(errors.UpstreamBadResponse):
        relaying().whole(body)
    with pytest.raises(errors.UpstreamBadResponse):
        over_chat.whole(pure("responses", stream=False), body)


@pytest.mark.parametrize("choice", [5, {}, {"message": None}, {"message": {"content": []}}])
def test_choice_that_cannot_be_read_is_a_bad_answer(choice):
    test_whole_answer_that_cannot_be_read_is_a_bad_answer(orjson.dumps({"choices": [choice]}))


def test_whole_answer_that_is_an_error_is_one():
    with pytest.raises(errors.UpstreamBadResponse):
        over_chat.whole(pure("responses", stream=False), orjson.dumps(ERROR))
    with pytest.raises(errors.UpstreamError, match="The upstream reported"):
        relaying().whole(orjson.dumps(ERROR))
