"""Routing through real gunicorn: what goes on to another upstream, and what the client sees."""

import time

import pytest

from gateway import mock
from tests.live.faults import assert_broken, assert_complete, assert_error
from tests.upstream import ScriptedUpstream, black_hole, refused_url

pytestmark = pytest.mark.live

TIMEOUTS = "first_token = 1\ntotal = 1\nconnect = 0.5"
MORE = """
[[upstream]]
name = "b"
base_url = "$OTHER"
max_in_flight = 1

[[upstream]]
name = "twin"
base_url = "$URL"
max_in_flight = 1

[[upstream]]
name = "refused"
base_url = "$REFUSED"

[[upstream]]
name = "black-hole"
base_url = "$HOLE"

[[model]]
id = "first-*"
upstreams = [{ name = "mock", model = "mock-*" }, { name = "b", model = "echo", priority = 1 }]

[[model]]
id = "second-*"
upstreams = [{ name = "twin", model = "mock-*" }, { name = "b", model = "echo", priority = 1 }]

[[model]]
id = "at-refused"
upstreams = [{ name = "refused", model = "echo" }, { name = "b", model = "echo", priority = 1 }]

[[model]]
id = "at-black-hole"
upstreams = [{ name = "black-hole", model = "echo" }, { name = "b", model = "echo", priority = 1 }]

[[model]]
id = "both-*"
upstreams = [{ name = "mock", model = "mock-*" }, { name = "b", model = "mock-*", priority = 1 }]

[[model]]
id = "even"
upstreams = [{ name = "mock", model = "echo" }, { name = "b", model = "echo" }]

[[model]]
id = "falling-*"
upstreams = [{ name = "mock", model = "mock-*" }]
fallbacks = ["spare"]

[[model]]
id = "late-mock"
upstreams = [{ name = "mock", model = "late-mock" }]

[[model]]
id = "spare"
upstreams = [{ name = "b", model = "echo" }]
"""
# A fault that goes on to the next upstream, and how x-gateway-attempts names it.
MOVES_ON = [
    ("close", "reset"),
    ("reset", "reset"),
    ("reset-in-head", "reset"),
    ("close-in-head", "bad"),
    ("garbage", "bad"),
    ("bad-chunk-after-0", "bad"),
    ("bad-json-after-0", "bad"),
    ("huge-head", "bad"),
    ("gzip-bomb", "bad"),
    ("html", "bad"),
    ("empty", "bad"),
    ("truncated", "reset"),
    ("307", "307"),
    ("401", "401"),
    ("402", "402"),
    ("403", "403"),
    ("408", "408"),
    ("429", "429"),
    ("500-html", "500"),
    ("502", "502"),
    ("503", "503"),
    ("504", "504"),
    ("529", "529"),
]
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def other():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def site(open_site, other):
    with refused_url() as refused, black_hole() as hole:
        places = {"$OTHER": other.url, "$REFUSED": refused, "$HOLE": hole}
        more = MORE
        for name, url in places.items():
            more = more.replace(name, url)
        yield open_site(timeouts=TIMEOUTS, upstream="max_in_flight = 1", more=more)


def assert_answered_by(answer, upstream, model, attempts=None):
    assert answer.headers["x-gateway-upstream"] == upstream
    assert answer.headers["x-gateway-model"] == model
    assert answer.headers.get("x-gateway-attempts") == attempts


@either
@pytest.mark.parametrize("fault, outcome", MOVES_ON)
def test_fault_before_the_first_event_moves_on(site, fault, outcome, stream):
    rank, name = ("second", "twin") if stream else ("first", "mock")
    attempts = f"{name}:{outcome},b:200"
    with site.settles("ok", released=not stream, status=200, attempts=attempts, upstream="b"):
        answer = site.ask(f"{rank}-{fault}", stream=stream)
    assert_complete(answer, stream)
    assert_answered_by(answer, "b", "echo", attempts)


@either
@pytest.mark.parametrize("place", ["refused", "black-hole"])
def test_upstream_that_cannot_be_reached_is_passed_by(site, place, stream):
    with site.settles("ok", status=200, attempts=f"{place}:connect,b:200"):
        answer = site.ask(f"at-{place}", stream=stream)
    assert_complete(answer, stream)
    assert answer.took < 1


@either
@pytest.mark.parametrize("fault, status", [("hang", 504), ("400", 400), ("context-length", 400)])
def test_late_upstream_and_refused_request_stay_where_they_are(site, other, fault, status, stream):
    seen = other.received
    with site.settles(status=status, upstream="mock"):
        assert site.ask(f"first-{fault}", stream=stream).status == status
    assert other.received == seen


@pytest.mark.parametrize("fault", ["cut-after-3", "error-after-3", "bad-json-after-3"])
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_stream_never_moves_on_after_its_first_event(site, other, fault, endpoint):
    seen = other.received
    with site.settles(status=200, upstream="mock"):
        answer = site.ask(f"first-{fault}", endpoint=endpoint, stream=True)
    code = "upstream_reset" if fault == "cut-after-3" else "upstream_bad_response"
    if (fault, endpoint) == ("error-after-3", "responses"):
        code = "server_error"
    assert_broken(answer, endpoint, code, events=3)
    assert other.received == seen


@either
def test_failed_call_is_made_again_where_it_is_the_only_upstream(site, stream):
    site.upstream.enqueue(mock.fault("mock-500"))
    with site.settles("ok", status=200, attempts="mock:500,mock:200"):
        answer = site.ask(stream=stream)
    assert_complete(answer, stream)
    assert_answered_by(answer, "mock", "upstream-model", "mock:500,mock:200")


def test_failed_call_is_not_made_again_past_the_clients_own_deadline(site):
    site.upstream.enqueue(mock.fault("mock-429-2"))
    with site.settles(status=429, attempts="mock:429"):
        answer = site.ask("late-mock", headers={"X-Stainless-Read-Timeout": "1"})
    assert_error(answer, 429, "rate_limit_exceeded", retry=True)
    assert answer.took < 1


@either
def test_error_tells_which_upstreams_were_tried(site, stream):
    with site.settles(status=502, code="upstream_bad_response"):
        answer = site.ask(f"both-{520 + stream}", stream=stream)
    assert_error(answer, 502, "upstream_bad_response", retry=True)
    tried = answer.headers["x-gateway-attempts"].split(",")
    assert tried[:2] == [f"mock:{520 + stream}", f"b:{520 + stream}"]
    assert len(tried) <= 4


@either
def test_limited_upstream_is_passed_by_until_its_time_has_come(site, stream):
    model = f"first-429-{1 + stream}"
    site.ask(model)
    seen = site.upstream.received
    with site.settles("ok", status=200, attempts="b:200"):
        answer = site.ask(model, stream=stream)
        assert site.upstream.received == seen
    assert_answered_by(answer, "b", "echo")


def test_limited_upstream_is_asked_again_when_its_time_has_come(site):
    assert site.ask("first-429-1").headers["x-gateway-upstream"] == "b"
    time.sleep(1.1)
    assert site.ask("first-429-1").headers["x-gateway-attempts"] == "mock:429,b:200"


def test_upstream_that_failed_3_times_in_a_row_is_passed_by(site):
    for _ in range(3):
        assert site.ask("first-501").headers["x-gateway-attempts"] == "mock:501,b:200"
    seen = site.upstream.received
    with site.settles("ok", status=200, attempts="b:200"):
        answers = [site.ask("first-501") for _ in range(5)]
        assert site.upstream.received == seen
    assert [answer.status for answer in answers] == [200] * 5


def test_last_candidate_is_tried_however_often_it_has_failed(site):
    seen = site.upstream.received
    for _ in range(8):
        assert site.ask("mock-501").status == 502
    assert site.upstream.received >= seen + 8


def test_higher_priority_takes_all_while_it_is_well(site, other):
    seen = other.received
    answers = [site.ask("first-late-1", text=f"conversation {n}") for n in range(10)]
    assert {answer.headers["x-gateway-upstream"] for answer in answers} == {"mock"}
    assert other.received == seen


@either
def test_fallback_model_answers_under_the_name_that_was_asked_for(site, stream):
    status = 530 + stream
    model = f"falling-{status}"
    with site.settles("ok", status=200, model=model, upstream="b"):
        answer = site.ask(model, stream=stream)
    assert_complete(answer, stream)
    assert_answered_by(answer, "b", "echo", f"mock:{status},b:200")
    said = answer.events[0] if stream else answer.json
    assert said["model"] == model


def turns(number):
    """Return the growing histories of a conversation."""
    messages = [{"role": "system", "content": "Be brief."}]
    for turn in range(4):
        messages = [*messages, {"role": "user", "content": f"question {number}.{turn}"}]
        yield messages
        messages = [*messages, {"role": "assistant", "content": f"answer {turn}"}]


@either
def test_conversation_stays_at_one_upstream_and_many_spread(site, stream):
    homes = []
    for number in range(16):
        answers = [site.ask("even", messages=m, stream=stream) for m in turns(number)]
        (home,) = {answer.headers["x-gateway-upstream"] for answer in answers}
        homes.append(home)
    assert 3 <= homes.count("mock") <= 13


def test_prompt_cache_key_names_the_conversation(site):
    for number in range(8):
        key = f"key-{number}"
        answers = [site.ask("even", prompt_cache_key=key, text=f"text {n}") for n in range(3)]
        assert len({answer.headers["x-gateway-upstream"] for answer in answers}) == 1
