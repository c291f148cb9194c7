"""What a key may use, as its holder sees it."""

import pytest

from tests.endpoints.refused import refused

BODIES = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Say hi"}]}),
    "responses": ("/v1/responses", {"input": "Say hi"}),
    "embeddings": ("/v1/embeddings", {"input": "Say hi"}),
}
OURS = ("x-request-id", "openai-processing-ms")


@pytest.fixture
def keys(app):
    return app.extensions["gateway"].keys


@pytest.fixture
def holder(app, keys):
    """Return a function that gives a client with a new key of these bounds."""

    def make(**bounds):
        found = app.test_client()
        found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {keys.create('mine', **bounds)[1]}"
        return found

    return make


def ask(client, endpoint, model="gpt-test", **more):
    path, body = BODIES[endpoint]
    return client.post(path, json={"model": model, **body, **more})


def listed(client):
    return [model["id"] for model in client.get("/v1/models").json["data"]]


def seen(answer):
    kept = [(name, value) for name, value in answer.headers if name.lower() not in OURS]
    return answer.status_code, sorted(kept), answer.data


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (None, ["embed-only", "gpt-test", "team/llm-a", "whole-only"]),
        (("gpt-test", "team/llm-a"), ["gpt-test", "team/llm-a"]),
        (("team/*",), ["team/llm-a"]),
        (("*",), ["embed-only", "gpt-test", "team/llm-a", "whole-only"]),
        (("gpt-*", "gpt-test", "whole-only*"), ["gpt-test"]),
        (("mock-b", "mock-a/b", "gpt-test"), ["gpt-test", "mock-a/b", "mock-b"]),
        (("mock-*", "mock-"), []),
        (("nope", "nope/*"), []),
    ],
)
def test_list_holds_what_the_key_may_use(holder, models, expected):
    client = holder(models=models)

    assert listed(client) == expected
    for id in expected:
        found = client.get(f"/v1/models/{id}").json
        assert (found["id"], found["object"]) == (id, "model")


@pytest.mark.parametrize("id", ["gpt-test", "team/llm-a", "mock-b", "nope", "team/", "mock-" * 90])
def test_model_that_is_not_allowed_is_one_that_does_not_exist(holder, client, id):
    limited = holder(models=("whole-only", "mock-a"))
    mine = limited.get("/", environ_overrides={"PATH_INFO": f"/v1/models/{id}"})
    missing = client.get("/", environ_overrides={"PATH_INFO": "/v1/models/none/such"})

    error = refused(mine, 404, "model_not_found", "model")
    assert error["message"].split("`")[1] == id[:200]
    assert seen(mine)[1] == sorted(
        (name, str(len(mine.data)) if name == "Content-Length" else value)
        for name, value in seen(missing)[1]
    )


@pytest.mark.parametrize("endpoint", BODIES)
@pytest.mark.parametrize("more", [{}, {"stream": "yes"}, {"messages": 5, "input": None}])
def test_call_answers_the_same_for_a_model_not_allowed_and_one_unknown(
    holder, lines, upstream, endpoint, more
):
    limited, free = holder(models=("team/*",)), holder()
    before = upstream.received
    mine = ask(limited, endpoint, "gpt-test", **more)
    unknown = ask(free, endpoint, "gpt-none", **more)

    assert seen(mine)[:2] == seen(unknown)[:2]
    assert mine.data == unknown.data.replace(b"gpt-none", b"gpt-test")
    refused(mine, 404, "model_not_found", "model")
    assert upstream.received == before
    mine.close(), unknown.close()
    first, second = ({**line, **dict.fromkeys(("request_id", "key", "total_ms"))} for line in lines)
    assert first == second and first["model"] is None


def test_what_is_not_allowed_is_not_even_looked_up(holder, app, monkeypatch):
    asked = []
    catalogue = app.extensions["gateway"].catalogue
    monkeypatch.setattr(type(catalogue), "find", lambda self, model: asked.append(model))

    refused(ask(holder(models=("a",)), "chat"), 404, "model_not_found", "model")
    assert asked == []


@pytest.mark.parametrize("body", ["{", '{"model": 5}', "{}", '{"model": ""}'])
def test_order_of_checks_before_the_model_stays(holder, client, body):
    how = {"data": body, "content_type": "application/json"}
    mine = holder(models=("a",)).post(BODIES["chat"][0], **how)

    assert mine.status_code == 400
    assert mine.data == client.post(BODIES["chat"][0], **how).data


@pytest.mark.parametrize(
    ("models", "model"),
    [(("gpt-test",), "gpt-test"), (("team/*",), "team/llm-a"), (("mock-*",), "mock-echo"),
     (("*",), "gpt-test"), (("mock-x/y",), "mock-x/y")],
)  # fmt: skip
def test_model_that_is_allowed_reaches_its_upstream(holder, upstream, models, model):
    before = upstream.received
    ask(holder(models=models), "chat", model)
    assert upstream.received == before + 1


@pytest.mark.parametrize("allowed", BODIES)
def test_key_may_use_its_endpoints_alone(holder, allowed):
    client = holder(endpoints=(allowed,))

    for endpoint in BODIES:
        answer = ask(client, endpoint)
        if endpoint == allowed:
            assert answer.status_code == 200
        else:
            refused(answer, 403, "endpoint_not_allowed")
            assert answer.headers["x-should-retry"] == "false"
    assert listed(client)[0] == "embed-only"


def test_stored_responses_belong_to_their_endpoint(holder):
    client = holder(endpoints=("chat",))

    for method, path in [("get", ""), ("delete", ""), ("get", "/input_items"), ("post", "/cancel")]:
        answer = getattr(client, method)(f"/v1/responses/resp_{'0' * 32}{path}")
        assert refused(answer, 403, "endpoint_not_allowed")["type"] == "permission_error"


class Unread:
    """A body that nobody may read."""

    def read(self, *size):
        raise AssertionError("the body was read before the endpoint was known to be allowed")

    readline = readlines = __iter__ = read


@pytest.mark.parametrize("model", ["gpt-test", "nope"])
def test_endpoint_is_refused_before_the_body_is_read(holder, model):
    client = holder(endpoints=("chat",), models=(model,))
    environ = {"wsgi.input": Unread(), "CONTENT_LENGTH": "99"}

    refused(client.post("/v1/embeddings", environ_overrides=environ), 403, "endpoint_not_allowed")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/v1/chat/completions", 405),
        ("post", "/v1/nope", 404),
        ("delete", "/v1/embeddings", 405),
    ],
)
def test_method_and_path_come_before_the_endpoint(holder, method, path, status):
    assert getattr(holder(endpoints=("responses",)), method)(path).status_code == status


def test_metadata_and_bounds_go_to_no_client(holder, upstream):
    models, endpoints = ("gpt-test", "zebra-model"), ("chat", "responses")
    client = holder(metadata={"zebra": "quagga"}, models=models, endpoints=endpoints)
    answers = [client.get("/v1/models"), ask(client, "chat"), ask(client, "embeddings"),
               ask(client, "responses"), ask(client, "chat", "nope")]  # fmt: skip

    for answer in answers:
        for hidden in ("zebra", "quagga"):
            assert hidden not in answer.text and hidden not in str(answer.headers)
    assert "quagga" not in str(upstream.requests[-1].fields)


def test_expired_key_and_an_old_secret_answer_like_a_wrong_one(keys, stranger):
    def got(secret):
        return seen(stranger.get("/v1/models", headers={"Authorization": f"Bearer {secret}"}))

    wrong = got("sk-wrong")
    assert got(keys.create("mine", expires_at=1.0)[1]) == wrong and wrong[0] == 401
    key, old = keys.create("mine")
    new = keys.rotate(key.id)[1]
    assert (got(old), got(new)[0]) == (wrong, 200)


def test_change_is_felt_after_a_refresh(keys, stranger):
    key, secret = keys.create("mine", models=("gpt-test",))
    stranger.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    assert listed(stranger) == ["gpt-test"]

    keys.update(key.id, models=("team/*",), endpoints=("responses",))
    keys.refresh()
    assert listed(stranger) == ["team/llm-a"]
    refused(ask(stranger, "chat"), 403, "endpoint_not_allowed")
