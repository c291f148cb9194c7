"""Which upstreams can take a call, in which order, and what the router keeps."""

from dataclasses import replace

import pytest

from gateway import errors
from gateway.routing import router as routing
from tests.routing.fakes import (
    ANSWER,
    STREAM,
    Clock,
    Upstream,
    answered,
    asked,
    call,
    model,
    router,
    streamed,
)


def test_priorities_come_first_and_weights_decide_within_one():
    ups = [Upstream(name) for name in "abcd"]
    models = [model("m", ("c", 1, 1), ("a", 1, 2), ("d", 3, 0), ("b", 1, 0))]
    desk = router(*ups, models=models)
    first = []
    for number in range(200):
        made = call(Clock(), messages=[{"role": "user", "content": f"{number}"}])
        names = [target.upstream.name for target in desk.candidates(made, "key_1")]
        assert set(names[:2]) == {"b", "d"} and names[2:] == ["c", "a"]
        first.append(names[0])
    assert 120 < first.count("d") < 180


def test_upstream_that_does_not_speak_the_endpoint_is_left_out():
    silent, speaking = Upstream("a", endpoints=("chat",)), Upstream("b")
    assert asked(router(silent, speaking), endpoint="embeddings", input="x")[1] is ANSWER
    assert (len(silent.calls), len(speaking.calls)) == (0, 1)


@pytest.mark.parametrize(
    "endpoint, path",
    [("responses", "/v1/responses"), ("embeddings", "/v1/embeddings"), ("chat", "/v1/chat")],
)
def test_endpoint_that_no_upstream_speaks_is_the_client_s_mistake(endpoint, path):
    error = asked(router(Upstream("a", endpoints=())), endpoint=endpoint)[1]
    assert (error.status, error.code, error.param) == (400, "endpoint_not_supported", "model")
    assert path in error.message


def test_upstream_that_cannot_stream_is_left_out_of_streams_alone():
    ups = Upstream("a", streams=False), Upstream("b")
    desk = router(*ups)
    assert streamed(desk)[1] == STREAM
    assert (len(ups[0].calls), len(ups[1].calls)) == (0, 1)
    asked(desk)
    assert len(ups[0].calls) == 1


def test_model_that_no_upstream_can_stream_says_so():
    error = streamed(router(Upstream("a", streams=False)))[2]
    assert (error.status, error.code, error.param) == (400, "stream_not_supported", "stream")


def test_upstream_that_refuses_to_stream_leaves_it_to_another():
    made, blocks, error = streamed(
        router(Upstream("a", errors.StreamNotSupported("m")), Upstream("b"))
    )
    assert (blocks, error) == (STREAM, None)
    error = streamed(router(Upstream("a", always=errors.StreamNotSupported("m"))))[2]
    assert error.code == "stream_not_supported"


@pytest.mark.parametrize("given", [{"previous_response_id": "r"}, {"conversation": {"id": "c"}}])
def test_history_of_an_upstream_s_own_goes_to_stateful_ones(given):
    ups = Upstream("a"), Upstream("b", stateful=True)
    asked(router(*ups), endpoint="responses", input="x", **given)
    assert (len(ups[0].calls), len(ups[1].calls)) == (0, 1)


def test_fallbacks_come_after_all_upstreams_of_the_model_in_their_order():
    ups = [Upstream(name, always=answered(500)) for name in "abcd"]
    models = [
        model("m", ("b", 1, 5), ("a", 1, 0), fallbacks=("second", "third")),
        model("third", "d"),
        model("second", ("c", 1, 3), ("a", 1, 9)),
    ]
    made, _ = asked(router(*ups, models=models, upstreams=9, attempts=0))
    assert made.attempts == ["a:500", "b:500", "c:500", "a:500", "d:500"]
    assert [model for up in ups for _, model in up.calls] == ["m", "second", "m", "second", "third"]


def test_fallback_that_is_not_there_is_left_out():
    ups = Upstream("a", always=answered(500)), Upstream("b")
    models = [model("m", "a", fallbacks=("nope", "n")), model("n", "b")]
    made, answer = asked(router(*ups, models=models))
    assert answer is ANSWER and made.attempts == ["a:500", "b:200"]


def test_target_that_a_fallback_repeats_is_tried_once():
    ups = Upstream("a", always=answered(500)), Upstream("b", always=answered(500))
    same = replace(model("n", "b", "a"), targets=model("m", "b", "a").targets)
    models = [model("m", "a", fallbacks=("n",)), same]
    made, _ = asked(router(*ups, models=models, attempts=0))
    assert made.attempts == ["a:500", "b:500"]


def test_unknown_model_is_not_found():
    assert asked(router(Upstream("a")), model="nope")[1].code == "model_not_found"


def test_upstreams_share_a_conversation_out_only_above_their_share():
    ups = Upstream("a"), Upstream("b")
    desk = router(*ups, models=[model("m", "a", "b")])
    for _ in range(20):
        asked(desk)
    assert sorted(len(up.calls) for up in ups) == [0, 20]


def test_made_up_names_behind_a_wildcard_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(routing, "KEPT", 50)
    desk = router(Upstream("a"), models=[model("x/*", "a"), model("m", "a")])
    known = desk.breaker_of("a", "m")
    for number in range(200):
        asked(desk, model=f"x/{number}")
        assert desk.breaker_of("a", "m") is known  # what is in use stays
    assert len(desk.breakers) == len(desk.budgets) == 50
