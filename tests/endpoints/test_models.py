import pytest

from tests.endpoints.refused import refused


def test_list_holds_every_named_model_and_no_wildcard(client):
    found = client.get("/v1/models").json

    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == [
        "embed-only", "gpt-test", "team/llm-a", "whole-only",
    ]  # fmt: skip
    for model in found["data"]:
        assert set(model) == {"id", "object", "created", "owned_by"}
        assert model["object"] == "model" and isinstance(model["created"], int)


@pytest.mark.parametrize("id", ["gpt-test", "team/llm-a", "mock-any-thing"])
def test_model_is_found_by_its_id_slashes_and_all(client, id):
    found = client.get(f"/v1/models/{id}").json
    assert (found["id"], found["object"]) == (id, "model")


def test_escaped_slash_is_a_slash(client):
    assert client.get("/v1/models/team%2Fllm-a").json["id"] == "team/llm-a"


@pytest.mark.parametrize("id", ["nope", "gpt-tes", "gpt-test/", "GPT-TEST", "team/", "mock-",
                                " ", "../models", "a\nb", "mock-\x00", "x" * 5000])  # fmt: skip
def test_unknown_model_is_not_found(client, id):
    answer = client.get("/", environ_overrides={"PATH_INFO": f"/v1/models/{id}"})

    assert answer.status_code == 404
    assert answer.json["error"]["code"] in ("model_not_found", "unknown_url")
    assert len(answer.data) < 6000


def test_unknown_model_gets_openai_s_words(client):
    error = refused(client.get("/v1/models/a/b"), 404, "model_not_found", "model")
    assert error["message"] == "The model `a/b` does not exist or you do not have access to it."


def test_upstreams_and_their_addresses_are_not_shown(client, upstream):
    answer = client.get("/v1/models")
    assert str(upstream.port) not in answer.text and "127.0.0.1" not in answer.text


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch", "options"])
def test_models_are_only_read(client, method):
    for path in ("/v1/models", "/v1/models/gpt-test"):
        answer = getattr(client, method)(path)
        refused(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD"
