"""The Response object has every key, whatever an upstream's has."""

import re
import time

import pytest

from gateway.translate import response

SKELETON = response.skeleton({"model": "m"})


def test_skeleton_is_a_response_in_progress_with_an_id_of_ours():
    found = response.skeleton({"model": "m", "input": "x", "stream": True})
    assert re.fullmatch("resp_[0-9a-f]{32}", found["id"]) and found["id"] != SKELETON["id"]
    assert (found["object"], found["status"], found["model"]) == ("response", "in_progress", "m")
    assert abs(found["created_at"] - time.time()) < 5
    assert "input" not in found and "stream" not in found


@pytest.mark.parametrize("name", response.ECHOED)
def test_null_in_a_request_counts_as_left_out(name):
    assert response.skeleton({"model": "m", name: None})[name] == SKELETON[name]


def test_skeleton_does_not_share_what_it_holds():
    one = response.skeleton({"model": "m"})
    one["text"]["format"], one["reasoning"]["effort"] = "changed", "changed"
    assert response.skeleton({"model": "m"})["text"] == {"format": {"type": "text"}}
    assert response.skeleton({"model": "m"})["reasoning"]["effort"] is None


def test_upstreams_values_count_and_nulls_do_not():
    found = {"status": "completed", "temperature": 0, "instructions": None, "more": 1}
    base = response.skeleton({"model": "m", "temperature": 0.5, "instructions": "x"})
    filled = response.fill(base, found)
    assert (filled["status"], filled["temperature"], filled["more"]) == ("completed", 0, 1)
    assert filled["instructions"] == "x" and set(filled) >= set(SKELETON)


def test_id_model_and_history_are_ours():
    theirs = {"id": "theirs", "model": "theirs", "object": "x", "store": True}
    filled = response.fill(SKELETON, {**theirs, "previous_response_id": "before"})
    for name in ("id", "model", "object", "store", "previous_response_id"):
        assert filled[name] == SKELETON[name]
    kept = response.fill(SKELETON, {**theirs, "previous_response_id": "before"}, keep_id=True)
    assert (kept["id"], kept["store"], kept["previous_response_id"]) == ("theirs", True, "before")
    assert kept["model"] == "m"


@pytest.mark.parametrize(
    "given, counts",
    [
        ({"input_tokens": 5, "output_tokens": 2}, (5, 0, 2, 0, 7)),
        ({"input_tokens": 5}, (5, 0, 0, 0, 5)),
        ({"input_tokens": 5, "output_tokens": 2, "total_tokens": 9}, (5, 0, 2, 0, 9)),
        ({"input_tokens": "5", "output_tokens": 2, "total_tokens": "x"}, (0, 0, 2, 0, 2)),
        ({"input_tokens": 5, "input_tokens_details": None}, (5, 0, 0, 0, 5)),
        ({"input_tokens": 5, "input_tokens_details": [1]}, (5, 0, 0, 0, 5)),
        ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 3}}, (5, 3, 0, 0, 5)),
    ],
)
def test_usage_has_all_its_keys_and_counts_that_make_sense(given, counts):
    found = response.fill(SKELETON, {"usage": given})["usage"]
    assert (
        found["input_tokens"],
        found["input_tokens_details"]["cached_tokens"],
        found["output_tokens"],
        found["output_tokens_details"]["reasoning_tokens"],
        found["total_tokens"],
    ) == counts


def test_more_that_a_usage_holds_is_kept():
    more = {"audio_tokens": 2, "cache_write_tokens": 3}
    given = {"input_tokens": 5, "cost": 1, "input_tokens_details": more}
    found = response.fill(SKELETON, {"usage": given})["usage"]
    assert found["cost"] == 1
    assert found["input_tokens_details"].items() >= {"audio_tokens": 2, "cached_tokens": 0}.items()


@pytest.mark.parametrize("usage", [None, 5, [], {}, {"input_tokens": "x"}])
def test_usage_that_cannot_be_read_is_null(usage):
    assert response.fill(SKELETON, {"usage": usage})["usage"] is None


def test_no_key_is_missing_that_the_sdk_needs():
    sdk = pytest.importorskip("openai.types.responses")
    needed = {name for name, field in sdk.Response.model_fields.items() if field.is_required()}
    assert needed and needed <= set(SKELETON)
    assert sdk.Response.model_validate(SKELETON).output_text == ""
