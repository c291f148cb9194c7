"""Failures and answers that are none, under status 200: they mean what a status would have said."""

import orjson
import pytest

from gateway import errors, sse
from gateway.mock import bodies
from gateway.routing import retry
from gateway.upstreams import faults
from gateway.upstreams.dialects import chat, embeddings, over_chat, responses
from tests.upstreams.calling import SECRET, events, pure

SAID = "This model's maximum context length is 8192 tokens."
CHUNK = bodies.chunks("Hello", model="upstream-model")[0]


def made(endpoint, **fields):
    call = pure(endpoint, **fields)
    call.secrets = (SECRET,)
    return call


def data(found):
    return sse.encode(orjson.dumps(found))


def failed(error):
    return {"type": "response.failed", "response": {"status": "failed", "error": error}}


def whole(dialect, endpoint):
    return lambda found: dialect.whole(made(endpoint, stream=False), orjson.dumps(found))


def to_streamed(dialect, endpoint):
    return lambda found: dialect.Relay(made(endpoint)).whole(orjson.dumps(found))


def event(dialect, endpoint, around=lambda error: {"error": error}):
    return lambda error: dialect.Relay(made(endpoint)).take(data(around(error)))


def within(way):
    return lambda error: way({"error": error})


CHATS = {
    "chat": whole(chat, "chat"),
    "translated": whole(over_chat, "responses"),
    "chat to a streamed call": to_streamed(chat, "chat"),
    "translated to a streamed call": to_streamed(over_chat, "responses"),
}
# Every way in which an upstream may put an error in the place of an answer.
WHOLE = {name: within(way) for name, way in CHATS.items()}
WHOLE["embeddings"] = within(whole(embeddings, "embeddings"))
WHOLE["response"] = within(whole(responses, "responses"))
WHOLE["response to a streamed call"] = within(to_streamed(responses, "responses"))
FIRST = {
    "first chunk": event(chat, "chat"),
    "first chunk, translated": event(over_chat, "responses"),
    "error": event(responses, "responses", lambda error: {"type": "error", "error": error}),
    "response.failed": event(responses, "responses", failed),
}
WHOLE_WAY = pytest.mark.parametrize("way", WHOLE.values(), ids=WHOLE)
ANY_WAY = pytest.mark.parametrize("way", [*WHOLE.values(), *FIRST.values()], ids=[*WHOLE, *FIRST])


def raised(way, error):
    with pytest.raises(errors.GatewayError) as found:
        way(error)
    assert found.value.source == "upstream"
    return found.value


REFUSED = "invalid_request_error"
MEANINGS = [
    # code, type: status, code and hint that the client gets; whether it speaks against the upstream
    ("context_length_exceeded", REFUSED, 400, "context_length_exceeded", False, False),
    ("context_length_exceeded", None, 400, "context_length_exceeded", False, False),
    ("invalid_prompt", "error", 400, "invalid_prompt", False, False),
    ("string_above_max_length", "server_error", 400, "string_above_max_length", False, False),
    ("anything", REFUSED, 400, "anything", False, False),
    (None, REFUSED, 400, "bad_request", False, False),
    (None, "exceed_context_size_error", 400, "context_length_exceeded", False, False),
    (400, REFUSED, 400, "bad_request", False, False),
    (422, None, 422, "bad_request", False, False),
    ("model_not_found", REFUSED, 404, "model_not_found", False, False),
    ("rate_limit_exceeded", "tokens", 429, "rate_limit_exceeded", True, False),
    (None, "rate_limit_error", 429, "rate_limit_exceeded", True, False),
    (429, None, 429, "rate_limit_exceeded", True, False),
    ("invalid_api_key", REFUSED, 502, "upstream_auth_failed", False, True),
    (None, "authentication_error", 502, "upstream_auth_failed", False, True),
    (None, "permission_error", 502, "upstream_auth_failed", False, True),
    (401, REFUSED, 502, "upstream_auth_failed", False, True),
    ("insufficient_quota", "insufficient_quota", 502, "upstream_auth_failed", False, True),
    ("rate_limit_exceeded", "insufficient_quota", 502, "upstream_auth_failed", False, True),
    (429, "insufficient_quota", 502, "upstream_auth_failed", False, True),
    ("billing_hard_limit_reached", REFUSED, 502, "upstream_auth_failed", False, True),
    (None, "overloaded_error", 503, "no_healthy_upstream", True, True),
    ("server_is_overloaded", "server_error", 503, "no_healthy_upstream", True, True),
    ("slow_down", None, 503, "no_healthy_upstream", True, True),
    (500, "server_error", 502, "upstream_bad_response", True, True),
    (None, "server_error", 502, "upstream_bad_response", True, True),
]


@ANY_WAY
@pytest.mark.parametrize(("code", "kind", "status", "ours", "hint", "fault"), MEANINGS)
def test_error_under_200_means_what_its_status_would(way, code, kind, status, ours, hint, fault):
    found = raised(way, {"message": SAID, "type": kind, "param": None, "code": code})
    assert (found.status, found.code, found.retry) == (status, ours, hint)
    assert retry.is_fault(found) == fault
    assert retry.verdict(found) == (retry.STOP if 400 <= status < 429 else retry.NEXT)
    assert SAID not in str(found.body()) or ours != "upstream_auth_failed"


@ANY_WAY
@pytest.mark.parametrize("kind", [REFUSED, "error", "server_error", None])
def test_refusal_under_200_is_told_in_its_own_words(way, kind):
    code = "context_length_exceeded"
    found = raised(way, {"message": SAID, "type": kind, "param": "messages", "code": code})
    told = {"message": SAID, "type": REFUSED, "param": "messages", "code": code}
    assert found.body() == {"error": told}


@ANY_WAY
def test_refusal_of_streaming_under_200_is_told_as_such(way):
    found = raised(way, {"message": "No.", "type": REFUSED, "param": "stream", "code": None})
    assert isinstance(found, errors.StreamNotSupported)


@WHOLE_WAY
@pytest.mark.parametrize("code", ["server_error", "broken", "400", 40303, True, None, 3.5])
def test_whole_answer_that_is_some_other_error_has_our_code_and_their_message(way, code):
    found = raised(way, {"message": "It broke.", "type": "server_error", "code": code})
    told = {"message": "It broke.", "type": "upstream_error", "param": None}
    assert found.body() == {"error": {**told, "code": "upstream_bad_response"}}
    assert found.retry and retry.verdict(found) == retry.NEXT and retry.is_fault(found)


ODD = ["It broke.", ["x"], [{}], 5, -1.5, True, {"a": 1}, {"message": ["x"]}, {"message": None}]
ODD += [{"code": code} for code in (True, 2**63, -(2**63), ["x"], {"a": []}, 3.5, "", "\n")]
ODD += [{"type": kind} for kind in (True, 400, ["x"], {"a": []}, "", "\x00")]


@ANY_WAY
@pytest.mark.parametrize("error", ODD, ids=repr)
def test_error_of_an_odd_shape_is_still_an_error_of_the_upstream(way, error):
    found = raised(way, error)
    assert found.status == 502 and found.message and retry.is_fault(found)
    assert all(isinstance(found.body()["error"][name], str) for name in ("message", "code"))


@pytest.mark.parametrize("function", [faults.in_stream, faults.in_place])
@pytest.mark.parametrize("error", [*ODD, {"code": 10**30}, None, False, 0, "", [], {}], ids=repr)
def test_nothing_that_stands_for_an_error_raises_another(function, error):
    assert function(error, "m", (SECRET,)).status == 502


@pytest.mark.parametrize("error", [None, False, 0, "", [], {}], ids=repr)
@WHOLE_WAY
def test_empty_error_without_an_answer_cannot_be_read(way, error):
    found = raised(way, error)
    assert isinstance(found, errors.UpstreamBadResponse)
    assert found.message == errors.UpstreamBadResponse.message


@ANY_WAY
@pytest.mark.parametrize("code", ["context_length_exceeded", "rate_limit_exceeded", "slow_down", 5])
@pytest.mark.parametrize("name", ["message", "type", "param", "code"])
def test_error_under_200_tells_no_secret(way, code, name):
    error = {"message": SAID, "type": REFUSED, "param": "messages", "code": code}
    found = raised(way, {**error, name: f"Bad {SECRET}!"})
    assert SECRET not in str(found.body()) + str(found)


@ANY_WAY
@pytest.mark.parametrize("code", ["invalid_prompt", "rate_limit_exceeded", "slow_down", "x"])
def test_message_under_200_is_cut_to_what_a_client_can_bear(way, code):
    assert len(raised(way, {"message": "x" * 100_000, "code": code}).message) == 4000


@pytest.mark.parametrize(
    ("code", "status", "ours", "fault"),
    [
        ("context_length_exceeded", 400, "context_length_exceeded", False),
        ("rate_limit_exceeded", 429, "rate_limit_exceeded", False),
        ("server_is_overloaded", 503, "no_healthy_upstream", True),
        ("broken", 502, "broken", True),
    ],
)
@pytest.mark.parametrize("translated", [False, True])
def test_error_in_the_middle_keeps_its_message_and_a_refusal_is_no_fault(
    translated, code, status, ours, fault
):
    relay = over_chat.Relay(made("responses")) if translated else chat.Relay(made("chat"))
    out = relay.take(data(CHUNK) + data({"error": {"message": "It broke.", "code": code}}))
    error = relay.error
    assert out and (error.status, error.code, error.message) == (status, ours, "It broke.")
    assert retry.is_fault(error) == fault
    out += relay.fail(error)
    ended = events([out])[-2 if translated else -1][1]
    told = ended["response"]["error"] if translated else ended["error"]
    assert (told["code"], told["message"]) == (ours, "It broke.")


def test_native_response_that_fails_in_the_middle_keeps_its_words():
    begun = bodies.response_events("Hello", model="upstream-model")[:3]
    error = {"code": "rate_limit_exceeded", "message": "Too much."}
    relay = responses.Relay(made("responses"))
    found = events([b"".join(relay.take(data(event)) for event in [*begun, failed(error)])])
    assert found[-2][1]["response"]["error"] == error


@pytest.mark.parametrize("choices", [[], {}, None, "x", 1])
@pytest.mark.parametrize("way", CHATS.values(), ids=CHATS)
def test_whole_chat_without_a_choice_is_no_answer(way, choices):
    assert isinstance(raised(way, {"choices": choices}), errors.UpstreamBadResponse)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 1, "completion_tokens": 2}])
def test_chunk_without_a_choice_stays_legal(usage):
    relay = chat.Relay(made("chat", stream_options={"include_usage": True}))
    assert relay.take(data({**CHUNK, "choices": [], "usage": usage})) and relay.error is None


@pytest.mark.parametrize("found", [1, 2])
def test_fewer_choices_than_were_asked_for_are_left_alone(found):
    answer = orjson.dumps(bodies.completion("Hello", n=found))
    assert chat.whole(made("chat", stream=False, n=3), answer)[1]


def embedded(given, rows):
    call = made("embeddings", stream=False, input=given)
    return embeddings.whole(call, orjson.dumps({"object": "list", "model": "x", "data": rows}))


VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, 1]}
PACKED = {**VECTOR, "embedding": "AAAAPw=="}
INPUTS = [("a", 1), (["a"], 1), (["a", "b"], 2), ([1, 2, 3], 1), ([5], 1), ([[1], [2, 3]], 2)]
INPUTS += [([[1, 2]], 1), (["a"] * 2048, 2048)]


@pytest.mark.parametrize(("given", "count"), INPUTS)
@pytest.mark.parametrize("row", [VECTOR, PACKED, {"embedding": [[0.5]]}])
def test_as_many_vectors_as_inputs_are_an_answer(given, count, row):
    body, usage = embedded(given, [row] * count)
    assert orjson.loads(body)["data"] == [row] * count and usage is None


@pytest.mark.parametrize(("given", "count"), INPUTS)
def test_more_or_fewer_vectors_than_inputs_are_no_answer(given, count):
    for other in {0, count - 1, count + 1}:
        with pytest.raises(errors.UpstreamBadResponse):
            embedded(given, [VECTOR] * other)


@pytest.mark.parametrize(
    "row",
    [None, 5, "x", [], [0.5], {}, *({"embedding": e} for e in (None, [], "", 5, True, {"a": 1}))],
)
def test_row_without_a_vector_is_no_answer(row):
    for rows in ([row], [VECTOR, row], [row, VECTOR]):
        with pytest.raises(errors.UpstreamBadResponse):
            embedded(["a"] * len(rows), rows)


@pytest.mark.parametrize("rows", [None, {}, "x", 1, {"embedding": [0.5]}])
def test_vectors_that_are_no_list_are_no_answer(rows):
    with pytest.raises(errors.UpstreamBadResponse):
        embedded("a", rows)
