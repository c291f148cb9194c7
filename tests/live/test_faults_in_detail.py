"""The fault table's rows of upstreams that need more than their name: pacing, memory, delays."""

import socket
import time

import pytest

from gateway import mock
from gateway.mock import FIN, Bare, bad_streams, bodies
from tests.live.faults import SECRET, assert_broken, assert_complete, assert_error

pytestmark = pytest.mark.live

TIMEOUTS = "first_token = 1\ntotal = 1.5\nstream_total = 3"
MORE = """
[retry]
attempts = 0

[[upstream]]
name = "twin"
base_url = "$URL"
api_key = "sk-upstream-secret"
max_in_flight = 1

[[model]]
id = "twin-*"
upstreams = [{ name = "twin", model = "mock-*" }]

[[upstream]]
name = "narrow"
base_url = "$URL"
max_in_flight = 2

[[model]]
id = "narrow-*"
upstreams = [{ name = "narrow", model = "mock-*" }]
"""
CHUNKS = [mock.sse(chunk) for chunk in bodies.chunks("one two three four")]
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def site(open_site):
    return open_site(timeouts=TIMEOUTS, upstream="max_in_flight = 1", more=MORE)


@either
def test_kept_connection_that_was_closed_is_replaced_once(site, stream):
    with site.settles(end="ok", status=200, attempts="mock:200"):
        site.next_request_is_fine()  # which leaves a connection to be used again
        seen = site.upstream.received
        site.upstream.enqueue(mock.raw([FIN]))
        assert_complete(site.ask(stream=stream), stream)
        assert site.upstream.received == seen + 2
    with site.settles(status=502, attempts="mock:reset"):
        seen = site.upstream.received
        assert_error(site.ask("mock-close", stream=stream), 502, "upstream_reset", retry=True)
        assert site.upstream.received == seen + 2


def test_idle_connections_that_the_upstream_closed_are_not_used(site):
    with site.settles(end="ok", status=200):
        site.next_request_is_fine()
        seen = site.upstream.received
        site.upstream.hang_up()
        time.sleep(0.05)
        assert_complete(site.ask(), stream=False)
        assert site.upstream.received == seen + 1


def test_trickle_inside_an_event_does_not_reset_the_idle_timer(site):
    drops = [step for byte in CHUNKS[1] for step in (0.2, bytes([byte]))]
    with site.settles(status=200, code="upstream_timeout", output_tokens=1):
        site.upstream.enqueue(mock.stream([CHUNKS[0], *drops], done=False))
        answer = site.ask(stream=True)
    assert_broken(answer, "chat", "upstream_timeout", "idle")
    assert 0.9 < answer.took < 2


def test_bad_chunk_size_after_events_is_an_error_event(site):
    with site.settles(status=200, code="upstream_bad_response", output_tokens=3):
        site.upstream.enqueue(mock.stream([*CHUNKS[:3], 0.2, Bare(b"zz\r\n")], done=False))
        answer = site.ask(stream=True)
    assert_broken(answer, "chat", "upstream_bad_response", events=3)


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_error_event_of_the_upstream_is_passed_on_once(site, endpoint):
    code = "upstream_bad_response" if endpoint == "chat" else "server_error"
    with site.settles(status=200, code=code, output_tokens=3):
        answer = site.ask("mock-error-after-3", endpoint=endpoint, stream=True)
    assert_broken(answer, endpoint, code, events=3)
    assert answer.body.count(b"The mock failed.") == 1


@pytest.mark.parametrize("model", ["mock-long-line-after-3", "mock-long-event-after-3"])
def test_huge_event_costs_no_more_memory_than_the_largest_one(site, model):
    site.ask(model, stream=True)
    with site.memory_grows_less_than(40):
        assert_broken(site.ask(model, stream=True), "chat", "upstream_bad_response", events=3)
    assert site.upstream.requests[-1].sent < 40 << 20


@either
def test_gzip_bomb_costs_no_more_memory_than_the_largest_answer(site, stream):
    with site.memory_grows_less_than(40):
        assert_error(site.ask("mock-gzip-bomb", stream=stream), 502, "upstream_bad_response")


def test_compressed_stream_arrives_event_by_event(site):
    slowly = {"headers": {"content-encoding": "gzip"}, "delay": 0.1}
    with site.settles(end="ok", status=200, code=None):
        site.upstream.enqueue(bad_streams.changed(bad_streams.compressed, **slowly))
        with site.asking(stream=True) as (response, _):
            times = [time.monotonic() for line in response if line.startswith(b"data: {")]
    assert len(times) == 8
    assert all(0.05 < after - before < 0.5 for before, after in zip(times, times[1:], strict=False))


@either
@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirect_is_not_followed(site, status, stream):
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        elsewhere.setblocking(False)
        url = f"http://127.0.0.2:{elsewhere.getsockname()[1]}/v1/chat/completions"
        with site.settles(status=502):
            site.upstream.enqueue(mock.redirect(url, status))
            assert_error(site.ask(stream=stream), 502, "upstream_bad_response")
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@either
@pytest.mark.parametrize(
    "fault, least, most",
    [
        ("429", 6.5, 7),
        ("429-date", 3, 5),
        ("429-9999", 119, 120),
        ("429-0", 1, 1),
        ("429-garbage", 1, 1),
        ("429-bare", 1, 1),
    ],
)
def test_rate_limit_is_passed_on_with_a_delay_from_1_to_120(site, fault, least, most, stream):
    model = f"twin-{fault}" if stream else f"mock-{fault}"
    with site.settles(status=429, code="rate_limit_exceeded"):
        answer = site.ask(model, stream=stream)
    assert_error(answer, 429, "rate_limit_exceeded", retry=True)
    assert least * 1000 <= int(answer.headers["retry-after-ms"]) <= most * 1000
    assert least <= int(answer.headers["retry-after"]) <= most
    seen = site.upstream.received
    with site.settles(status=429, code="rate_limit_exceeded"):
        again = site.ask(model, stream=stream)
        assert site.upstream.received == seen  # it is not asked before the time has passed
    assert_error(again, 429, "rate_limit_exceeded", retry=True)
    assert 1000 <= int(again.headers["retry-after-ms"]) <= most * 1000


@pytest.mark.parametrize("fault", ["401", "402", "403", "quota"])
def test_refused_key_of_ours_is_not_the_clients_fault_and_never_shown(site, fault):
    with site.settles(status=502, code="upstream_auth_failed"):
        answer = site.ask(f"mock-{fault}")
    assert_error(answer, 502, "upstream_auth_failed", retry=False)
    assert "www-authenticate" not in answer.headers
    assert SECRET not in site.gateway.log_path.read_text()


@either
@pytest.mark.parametrize(
    "model, message, param, code",
    [
        ("mock-400", "The mock answers 400.", None, "mock"),
        ("mock-400-llama", "The mock refuses.", None, "bad_request"),
        ("mock-400-detail", None, None, "bad_request"),
        ("mock-400-text", None, None, "bad_request"),
        ("mock-context-length", None, "messages", "context_length_exceeded"),
    ],
)
def test_refusal_of_the_request_is_passed_on(site, model, message, param, code, stream):
    seen = site.upstream.received
    with site.settles(status=400, code=code):
        answer = site.ask(model, stream=stream)
        assert site.upstream.received == seen + 1
    assert_error(answer, 400, code, param, retry=False)
    assert answer.error["type"] == "invalid_request_error"
    assert message in (None, answer.error["message"])


@either
def test_full_upstream_is_waited_for_a_moment_and_then_refused(site, stream):
    def late():
        return site.ask("narrow-late-800", stream=stream)

    def third():
        time.sleep(0.1)
        return site.ask("narrow-late-800", stream=stream)

    with site.settles(end="ok", status=200):
        *busy, refused = site.at_once(late, late, third)
        site.ids.remove(refused.client_id)
    for answer in busy:
        assert_complete(answer, stream)
    assert_error(refused, 503, "server_overloaded", retry=True, source="gateway")
    assert refused.headers["retry-after"] == "1"
    assert 0.4 < refused.took < 1


def test_place_at_a_full_upstream_is_taken_as_soon_as_one_is_free(site):
    calls = [lambda: site.ask("narrow-late-300")] * 3
    with site.settles(end="ok", status=200):
        answers = site.at_once(*calls)
    assert [answer.status for answer in answers] == [200] * 3
    assert max(answer.took for answer in answers) > 0.55
