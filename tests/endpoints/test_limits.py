import pytest

from gateway import config, create_app, database, mock
from gateway.metrics import tally
from tests.limits.counted import Broken
from tests.raw_client import events
from tests.serving import KEY, write_config

CHAT = "/v1/chat/completions"
PLENTY = {"rpm": 1000, "tpm": 1_000_000, "concurrency": 1000, "budget": 10**12, "period": "day"}
BOTH = {
    f"x-ratelimit-{part}-{kind}"
    for part in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
}

MORE = """
[[model]]
id = "priced"
upstreams = [{ name = "mock", model = "upstream-model" }]
price = { input = 1, output = 4 }

[[model]]
id = "mock-500"
upstreams = [{ name = "mock", model = "mock-500" }]
price = { input = 1, output = 4 }
fallbacks = ["dear"]

[[model]]
id = "dear"
upstreams = [{ name = "mock", model = "upstream-model" }]
price = { input = 1000, output = 4000 }

[retry]
attempts = 0
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory, upstream):
    path = write_config(
        tmp_path_factory.mktemp("app"),
        upstream.url,
        timeouts="connect = 20\ntotal = 60\n",
        more=MORE,
    )
    settings = config.load({"GATEWAY_API_KEYS": KEY}, path)
    database.upgrade(settings.server.database_url)
    found = create_app(settings)
    yield found
    found.extensions["gateway"].close()


@pytest.fixture
def limited(app):
    """Return a function that gives a client with a new key of these limits."""

    def make(**limits):
        key, secret = app.extensions["gateway"].keys.create("limited", **limits)
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        client.key = key
        return client

    return make


def ask(client, model="priced", **more):
    body = {"model": model, "messages": [{"role": "user", "content": "one two"}], **more}
    return client.post(CHAT, json=body)


def ratelimits(answer):
    return {n.lower(): v for n, v in answer.headers.items() if n.lower().startswith("x-ratelimit")}


def remaining(answer, kind="tokens"):
    return int(answer.headers[f"x-ratelimit-remaining-{kind}"])


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (ask, 200),
        (lambda c: ask(c, stream=True), 200),
        (lambda c: c.post(CHAT, data=b"{", content_type="application/json"), 400),
        (lambda c: ask(c, temperature="hot"), 400),
        (lambda c: ask(c, model="nobody-has-it"), 404),
        (lambda c: ask(c, model="mock-503"), 503),
        (lambda c: ask(c, model="mock-503", stream=True), 503),
        (lambda c: ask(c, model="mock-400"), 400),
        (lambda c: ask(c, model="mock-cut-after-3", stream=True), 200),
        (lambda c: c.post(CHAT, data=b"x", content_type="text/plain"), 415),
        (lambda c: c.post("/v1/embeddings", json={"model": "priced", "input": "x"}), 200),
        (lambda c: c.post("/v1/responses", json={"model": "priced", "input": "x"}), 200),
        (lambda c: c.get("/v1/models"), 200),
        (lambda c: c.get("/v1/models/nope"), 404),
        (lambda c: c.get("/v1/responses/resp_0"), 404),
        (lambda c: c.get("/v1/nope"), 404),
        (lambda c: c.get(CHAT), 405),
    ],
)
def test_every_answer_says_what_is_left_of_the_limits(limited, act, status):
    client = limited(**PLENTY)
    answer = act(client)
    answer.get_data()
    assert answer.status_code == status
    assert set(ratelimits(answer)) == BOTH
    assert all(len(answer.headers.getlist(name)) == 1 for name in BOTH)
    counted = answer.request.method == "POST"
    assert remaining(answer, "requests") == (999 if counted else 1000)


def test_key_without_limits_hears_nothing_of_them(app, client):
    assert ratelimits(ask(client)) == {}
    assert ratelimits(client.get("/v1/models")) == {}
    assert ratelimits(app.test_client().get("/v1/models")) == {}


def test_only_limits_that_apply_are_told(limited):
    answer = ask(limited(tpm=5000))
    assert {name.rpartition("-")[2] for name in ratelimits(answer)} == {"tokens"}
    assert ratelimits(ask(limited(concurrency=5, budget=10**9, period="total"))) == {}


def test_request_above_the_limit_is_refused_before_its_body_is_read(limited, upstream):
    client = limited(rpm=2)
    assert [ask(client).status_code for _ in range(2)] == [200, 200]
    seen = upstream.received
    answer = client.post(CHAT, data=b"{", content_type="application/json")

    assert (answer.status_code, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert answer.json["error"]["type"] == "rate_limit_error"
    assert answer.json["error"]["param"] is None
    headers = answer.headers
    assert headers["x-should-retry"] == "true"
    assert headers["x-gateway-error-source"] == "gateway"
    assert 0 < int(headers["retry-after"]) <= 120
    milliseconds = int(headers["retry-after-ms"])
    assert int(headers["retry-after"]) * 1000 - 1000 < milliseconds <= 120_000
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert upstream.received == seen
    assert client.key.id in answer.json["error"]["message"]
    assert "sk-" not in answer.get_data(as_text=True)


def test_looking_costs_no_request(limited):
    client = limited(rpm=1)
    for _ in range(5):
        assert client.get("/v1/models").status_code == 200
    assert ask(client).status_code == 200
    assert client.get("/v1/models").status_code == 200
    assert ask(client).status_code == 429


def test_reserved_tokens_are_in_the_headers_and_settled_by_the_next_call(limited):
    client = limited(tpm=10_000)
    first = ask(client, max_tokens=1000)
    size = int(first.request.headers["content-length"])
    used = first.json["usage"]["total_tokens"]
    assert remaining(first) == 10_000 - 1000 - size // 4
    second = ask(client, max_tokens=1000)
    assert remaining(second) == 10_000 - used - 1000 - size // 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["priced", "mock-500"])
def test_what_a_call_used_is_what_its_row_says_streamed_or_whole(limited, stream, model, app):
    services = app.extensions["gateway"]
    client = limited(tpm=100_000, budget=10**9, period="total", concurrency=1)
    for _ in range(3):
        answer = ask(client, model, stream=stream, max_tokens=50)
        assert answer.status_code == 200, answer.data
        answer.get_data()
    services.recorder.flush()
    spent = services.spent([client.key.id], 0)[client.key.id]
    price = 1 if model == "priced" else 1000
    assert spent == 3 * price * (2 * 1000 + 2 * 4000)  # "one two" is asked and said
    left = services.limits.store.look(f"tpm:{client.key.id}", 100_000, 60).remaining
    assert left == 100_000 - 3 * 4
    name = f"budget:{client.key.id}:0"
    (taken,) = services.limits.store.each([("take", name, 10**9, 1)])
    assert taken.left == 10**9 - spent - 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["mock-503", "mock-reset", "mock-400"])
def test_call_that_failed_has_used_nothing(limited, model, stream, app):
    client = limited(tpm=1000, concurrency=1)
    for _ in range(5):
        assert ask(client, model, stream=stream, max_tokens=800).status_code >= 400
    assert remaining(client.get("/v1/models")) == 1000


@pytest.mark.parametrize("stream", [False, True])
def test_answer_that_nobody_counted_costs_its_estimate(limited, stream, upstream, app):
    client = limited(tpm=1000)
    body = mock.bodies.completion(model="upstream-model")
    del body["usage"]
    upstream.enqueue(mock.json(body))
    answer = ask(client, stream=stream, max_tokens=300)
    assert answer.status_code == 200
    answer.get_data()
    assert remaining(client.get("/v1/models")) < 1000


def test_embeddings_that_nobody_counted_cost_their_estimate(limited, upstream):
    client = limited(tpm=1000, budget=10**9, period="total")
    body = mock.bodies.embeddings(["x"])
    del body["usage"]
    upstream.enqueue(mock.json(body))
    answer = client.post("/v1/embeddings", json={"model": "priced", "input": "x" * 400})
    assert answer.status_code == 200
    size = int(answer.request.headers["content-length"])
    assert remaining(answer) == 1000 - size // 4
    assert abs(remaining(client.get("/v1/models")) - remaining(answer)) < 10


def test_stream_left_in_the_middle_gives_its_place_back_and_is_counted(limited):
    client = limited(concurrency=1, tpm=10_000)
    for _ in range(5):
        answer = ask(client, "mock-stall-after-3", stream=True, max_tokens=3000)
        assert answer.status_code == 200
        next(iter(answer.response))
        answer.close()
    left = remaining(client.get("/v1/models"))
    assert 9000 < left < 10_000


def test_call_in_progress_holds_its_place(limited):
    client = limited(concurrency=1)
    first = ask(client, stream=True)
    answer = ask(client)
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "concurrency_limit_exceeded")
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["retry-after"] == "1"
    assert events(first.data)[-1] == "[DONE]"
    first.close()
    assert ask(client).status_code == 200


def test_body_that_is_refused_holds_nothing_but_its_request(limited):
    client = limited(rpm=10, tpm=1000, concurrency=1, budget=10**9, period="day")
    for _ in range(3):
        assert ask(client, temperature="hot").status_code == 400
    answer = client.get("/v1/models")
    assert (remaining(answer, "requests"), remaining(answer)) == (7, 1000)
    assert ask(client).status_code == 200


def test_budget_that_is_spent_is_told_as_openai_tells_it(limited, upstream):
    client = limited(budget=100_000, period="month")
    first = ask(client, max_tokens=1)
    assert first.status_code == 200, first.data
    upstream.enqueue(mock.json({**mock.bodies.completion(), "usage": {
        "prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}}))  # fmt: skip
    second = ask(client, max_tokens=1)
    assert second.status_code == 200, second.data
    answer = ask(client, max_tokens=1)
    assert answer.status_code == 429, answer.data
    error = answer.json["error"]
    assert (answer.status_code, error["type"], error["code"], error["param"]) == (
        429, "insufficient_quota", "insufficient_quota", None,
    )  # fmt: skip
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers and "retry-after-ms" not in answer.headers
    assert ask(client, model="gpt-test").status_code == 200  # it has no price


def test_budget_raised_works_at_once(limited, app):
    client = limited(budget=10, period="day")
    assert ask(client).status_code == 429
    services = app.extensions["gateway"]
    services.keys.update(client.key.id, budget=10**9)
    services.keys.refresh()
    assert ask(client).status_code == 200


def test_store_that_fails_lets_every_call_through(limited, app, monkeypatch):
    client = limited(rpm=1, tpm=200, concurrency=1, budget=10**9, period="day")
    monkeypatch.setattr(app.extensions["gateway"].limits.store, "store", Broken())
    for _ in range(3):
        answer = ask(client, max_tokens=1)
        assert (answer.status_code, ratelimits(answer)) == (200, {})


def test_refusals_are_counted_by_kind(limited):
    tally.limited.clear()
    ask(limited(rpm=1000, tpm=1))
    ask(limited(budget=1, period="day"))
    client = limited(rpm=1)
    ask(client), ask(client)
    assert tally.limited == {"tokens": 1, "budget": 1, "requests": 1}
    tally.limited.clear()
