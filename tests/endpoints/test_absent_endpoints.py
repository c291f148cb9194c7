"""Endpoints of OpenAI's that are not here are unknown URLs, not wrong methods of others."""

import pytest

from tests.endpoints.refused import refused

ID = "resp_" + "0" * 32
BODY = {"model": "gpt-test", "input": "hi"}


@pytest.mark.parametrize("name", ["input_tokens", "compact", "cancel", "response", "resp"])
def test_endpoint_that_is_missing_below_responses_is_an_unknown_url(client, name):
    path = f"/v1/responses/{name}"
    answer = client.post(path, json=BODY)
    error = refused(answer, 404, "unknown_url")
    assert error["message"] == f"Invalid URL (POST {path})"
    assert "allow" not in answer.headers


@pytest.mark.parametrize("id", [ID, "resp_x", "resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f6"])
def test_response_is_not_posted_to(client, id):
    answer = client.post(f"/v1/responses/{id}", json=BODY)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize("method", ["put", "patch", "options"])
@pytest.mark.parametrize("id", [ID, "input_tokens"])
def test_any_other_method_is_wrong_where_a_response_may_be(client, method, id):
    answer = getattr(client, method)(f"/v1/responses/{id}")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize("method", ["get", "delete"])
def test_name_of_an_absent_endpoint_is_no_response(client, method):
    error = refused(
        getattr(client, method)("/v1/responses/input_tokens"), 404, "response_not_found"
    )
    assert error["message"] == "Response with id 'input_tokens' not found."


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("jobs/job_x", "GET, HEAD"), ("jobs/x", "GET, HEAD"), ("models/x", "GET, HEAD")]
    + [(f"responses/{ID}/input_items", "GET, HEAD"), ("responses/x/input_items", "GET, HEAD")],
)
def test_what_is_only_read_is_not_posted_to(client, path, allowed):
    answer = client.post(f"/v1/{path}", json=BODY)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_absent_endpoint_is_not_told_of_without_a_key(stranger):
    refused(stranger.post("/v1/responses/compact", json=BODY), 401, "invalid_api_key")
