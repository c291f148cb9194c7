"""Counts that make no sense, from an upstream that is broken or lies: nobody gains by them."""

import json

import pytest

from gateway import mock, tokens
from gateway.prices import LARGEST
from gateway.tables import usage as table
from tests.application import shared_app, shared_upstream  # noqa: F401
from tests.raw_client import events

MORE = """
[[upstream]]
name = "speaks-chat"
base_url = "URL"
endpoints = ["chat"]

[[model]]
id = "priced"
upstreams = [{ name = "mock", model = "echo" }]
price = { input = 1, output = 4 }

[[model]]
id = "translated"
upstreams = [{ name = "speaks-chat", model = "echo" }]
price = { input = 1, output = 4 }

[retry]
attempts = 0
"""
LIMITS = {"tpm": 1_000_000, "budget": 10**12, "period": "total", "concurrency": 1}
RESERVED = 300  # tokens, of which the answers use fewer

# Endpoint, model, whether it is streamed.
WAYS = {
    "chat": ("chat/completions", "priced", False),
    "chat, streamed": ("chat/completions", "priced", True),
    "responses": ("responses", "priced", False),
    "responses, streamed": ("responses", "priced", True),
    "responses over chat": ("responses", "translated", False),
    "responses over chat, streamed": ("responses", "translated", True),
    "embeddings": ("embeddings", "priced", False),
}
# A count, as JSON, that nobody can have counted.
SENSELESS = [
    "-1", "-1000000000", '"5"', '""', "5.0", "0.5", "1e30", "1e308", "true", "null", "[]", "[5]",
    "{}", str(2**40 + 1), str(2**63), str(2**64), "9" * 400 + "e-300",
]  # fmt: skip
# What stands in the place of the whole object, as JSON; None for nothing at all.
SHAPELESS = ["null", "[]", "{}", '"x"', "5", "true", '[{"prompt_tokens": 1}]', None]
NO_JSON = ["NaN", "Infinity", "-Infinity", "1e309", "-1e309", "01", "+1"]
MARK = "MARK-OF-USAGE"


class Tenant:
    """A client whose tokens and money are bounded."""

    def __init__(self, app):
        self.services = app.extensions["gateway"]
        self.key, secret = self.services.keys.create("bounded", **LIMITS)
        self.client = app.test_client()
        self.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"

    def ask(self, way, **more):
        path, model, stream = WAYS[way]
        bound = {"chat/completions": "max_tokens", "responses": "max_output_tokens"}.get(path)
        said = [{"role": "user", "content": "one two"}] if bound == "max_tokens" else "one two"
        body = {"model": model, "messages" if bound == "max_tokens" else "input": said}
        body |= {bound: RESERVED} if bound else {}
        body |= {"stream": True} if stream else {}
        answer = self.client.post(f"/v1/{path}", json={**body, **more})
        answer.get_data()
        return answer

    def counted(self):
        """Return the tokens and the nano-USD that are counted against the limits."""
        store, key = self.services.limits.store, self.key
        tokens = LIMITS["tpm"] - store.look(f"tpm:{key.id}", LIMITS["tpm"], 60).remaining
        name = f"budget:{key.id}:0"
        (taken,) = store.each([("take", name, LIMITS["budget"], 1)])
        store.each([("settle", name, taken)])
        return tokens, LIMITS["budget"] - taken.left - taken.amount

    def rows(self):
        self.services.recorder.flush()
        query = table.select().where(table.c.key == self.key.id).order_by(table.c.id)
        return self.services.database.read(lambda c: c.execute(query).all())


@pytest.fixture
def tenant(app):
    return Tenant(app)


def answering(way, usage):
    """Return an answer whose usage is some JSON, whatever that is worth."""
    path, model, stream = WAYS[way]
    over_chat = path == "chat/completions" or model == "translated"
    if stream:
        made = mock.bodies.chunks("one two", include_usage=True)
        found = made if over_chat else mock.bodies.response_events("one two")
        written = [mock.sse(put(event), event.get("type")) for event in found]
        return mock.stream([replaced(data, usage) for data in written], done=over_chat)
    if path == "embeddings":
        found = mock.bodies.embeddings(["one two"])
    elif over_chat:
        found = mock.bodies.completion("one two")
    else:
        found = mock.bodies.response("one two")
    return mock.whole(replaced(json.dumps(put(found)).encode(), usage))


def put(found):
    """Put a mark where an object, or the response in it, has its usage."""
    if found.get("usage"):
        return {**found, "usage": MARK}
    if (found.get("response") or {}).get("usage"):
        return {**found, "response": {**found["response"], "usage": MARK}}
    return found


def replaced(data, usage):
    if usage is None:
        return data.replace(b'"usage"', b'"nothing"')
    return data.replace(b'"%s"' % MARK.encode(), usage.encode())


def of(way, count):
    """Return a usage object all of whose counts are the same JSON."""
    path, model, _ = WAYS[way]
    chat = path != "responses" or model == "translated"
    prompt, said = ("prompt", "completion") if chat else ("input", "output")
    return (
        f'{{"{prompt}_tokens": {count}, "{said}_tokens": {count}, "total_tokens": {count}, '
        f'"{prompt}_tokens_details": {{"cached_tokens": {count}}}, '
        f'"{said}_tokens_details": {{"reasoning_tokens": {count}}}}}'
    )


def settled(tenant, calls):
    """Assert that what is counted is what the rows say, neither less than nothing."""
    rows = tenant.rows()
    assert len(rows) == calls
    for row in rows:
        counts = (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens)
        assert all(type(count) is int and 0 <= count <= tokens.LARGEST for count in counts), row
        assert row.cached_tokens <= row.input_tokens
        assert row.reasoning_tokens <= row.output_tokens
        assert 0 <= row.cost <= LARGEST
    used = sum(row.input_tokens + row.output_tokens for row in rows)
    assert tenant.counted() == (used, sum(row.cost for row in rows))
    return rows


def usage_told(way, answer):
    """Return the usage that a client was told of, once it is known to be the whole answer."""
    assert answer.status_code == 200, answer.data
    if not WAYS[way][2]:
        return answer.json.get("usage")
    *found, done = events(answer.data)
    assert done == "[DONE]" and not [event for event in found if event.get("error")]
    last = found[-1]
    if WAYS[way][0] == "responses":
        assert last["type"] == "response.completed"
        return last["response"]["usage"]
    return last.get("usage")


@pytest.mark.parametrize("way", WAYS)
def test_counts_that_make_no_sense_are_estimated(tenant, upstream, way):
    told = [of(way, count) for count in SENSELESS] + SHAPELESS
    for number, usage in enumerate(told, 1):
        upstream.enqueue(answering(way, usage))
        answer = tenant.ask(way)
        found = usage_told(way, answer)
        row = settled(tenant, number)[-1]
        assert (row.status, row.end, row.usage_source) == (200, "ok", "estimated"), usage
        assert 0 < row.input_tokens + row.output_tokens < RESERVED, usage
        assert row.cost > 0
        if WAYS[way][0] == "responses":
            assert found is None, usage  # what is no count is not told as one
        elif not WAYS[way][2] and usage is not None:
            assert found == json.loads(usage)  # a chat's JSON stays the upstream's


@pytest.mark.parametrize("way", [way for way in WAYS if way != "embeddings"])
def test_a_count_that_makes_sense_counts_beside_one_that_does_not(tenant, upstream, way):
    wrong = of(way, -7)
    first = next(name for name in ("prompt_tokens", "input_tokens") if name in wrong)
    usage = wrong.replace(f'"{first}": -7', f'"{first}": 11')
    upstream.enqueue(answering(way, usage))
    tenant.ask(way)

    (row,) = settled(tenant, 1)
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (11, 0, "upstream")
    assert row.cost == 11_000


@pytest.mark.parametrize("way", WAYS)
def test_parts_are_never_more_than_the_whole(tenant, upstream, way):
    usage = of(way, 9).replace('_tokens": 9}', '_tokens": 999999}')
    assert "999999" in usage
    upstream.enqueue(answering(way, usage))
    tenant.ask(way)

    (row,) = settled(tenant, 1)
    assert (row.input_tokens, row.cached_tokens) == (9, 9)
    assert (row.output_tokens, row.reasoning_tokens) == (9, 9)


@pytest.mark.parametrize("way", WAYS)
def test_usage_that_is_no_json_makes_a_bad_answer(tenant, upstream, way):
    for number, count in enumerate(NO_JSON, 1):
        upstream.enqueue(answering(way, of(way, count)))
        answer = tenant.ask(way)
        row = tenant.rows()[-1]
        assert (len(tenant.rows()), row.code) == (number, "upstream_bad_response"), count
        if WAYS[way][2]:
            assert answer.status_code == 200
            assert b"upstream_bad_response" in answer.data and b"Traceback" not in answer.data
            settled(tenant, number)
            assert row.cost > 0, count
        else:
            assert answer.status_code == 502
            assert answer.json["error"]["code"] == "upstream_bad_response"


@pytest.mark.parametrize("way", ["chat", "chat, streamed", "responses"])
def test_huge_counts_that_could_be_true_end_the_limits_and_break_nothing(tenant, upstream, way):
    upstream.enqueue(answering(way, of(way, 2**40)))
    tenant.ask(way)
    (row,) = tenant.rows()
    assert (row.input_tokens, row.cost) == (2**40, LARGEST)

    answer = tenant.ask(way)
    assert answer.status_code == 429
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"


@pytest.mark.parametrize("count", ["-5", '"5"', "[5]", "1e30"])
@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings"])
def test_job_ends_well_whatever_its_usage_is(tenant, upstream, path, count):
    way = next(name for name, (found, *_) in WAYS.items() if found == path)
    services, client = tenant.services, tenant.client
    body = {"model": "priced", "messages": [{"role": "user", "content": "x"}]}
    body = body if path == "chat/completions" else {"model": "priced", "input": "x"}
    made = client.post(f"/v1/{path}", json=body, headers={"Prefer": "respond-async"})
    assert made.status_code == 202
    streamed = {"chat": "chat, streamed", "responses": "responses, streamed"}.get(way, way)
    upstream.enqueue(answering(streamed, of(way, count)))
    services.running(services.jobs.claim("w")).run()

    job = client.get(f"/v1/jobs/{made.json['id']}")
    assert (job.status_code, job.json["status"]) == (200, "completed"), job.data
    assert client.get("/v1/jobs").status_code == 200
    (row,) = settled(tenant, 1)
    assert row.usage_source == "estimated"
